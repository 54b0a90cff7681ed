"""Names of models: folders, models inside the package, and models on the Hugging Face Hub."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field
from safetensors import safe_open

from ulna.core import Config, InputError, MissingError, shown, unknown_name
from ulna.dataset.description import hash_file
from ulna.models.folder import CARD, CONFIG, SEEN, WEIGHTS

HUB_FILES = (CONFIG, WEIGHTS, CARD, SEEN, "classifiers/*.safetensors")
BUILT_IN = "ulna/"
BUILT_IN_FOLDER = "ulna.weights"
_HUB = re.compile("hf:/{1,2}")  # a path has lost the second slash
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")


class Accuracy(Config):
    """Accuracy on one dataset, in percent."""

    model: float
    """Of the model."""
    random_init: float
    """Of the same encoder with random weights."""
    raw_joints: float
    """Of the nearest neighbour on raw joints."""


class BuiltInModel(Config):
    """A model inside the package."""

    summary: str
    """What it is for."""
    pretrained_on: str
    """Data it was pretrained on."""
    licence: str
    """Licence of the weights."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 hash of the file of the weights."""
    measured: str
    """What the accuracies are."""
    accuracy: dict[str, Accuracy]
    """Accuracies by dataset: means over several models of the recipe, of which this is the first."""


@cache
def built_in_models() -> Mapping[str, BuiltInModel]:
    """Return the models inside the package by name."""
    table = tomllib.loads(files(BUILT_IN_FOLDER).joinpath("models.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: BuiltInModel.model_validate(entry) for name, entry in table.items()})


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Args:
        folder: Its folder.
        is_read_only: Whether nothing may be written into the folder.
    """

    folder: Path
    is_read_only: bool = False


def find_model(name: str | Path, *, sha256: str | None = None) -> ModelSource:
    """Return the location of a model; a model on the Hugging Face Hub is downloaded once.

    Args:
        name: A folder, "ulna/NAME" for a model inside the package (`ulna models` lists them), or
            "hf://OWNER/NAME@COMMIT" for a model on the hub. An existing folder takes precedence over the package.
        sha256: SHA-256 hash that the file of the weights must have.

    Raises:
        InputError: If the package has no model of that name, a model on the hub is not pinned to a commit, or the hash
            differs.
        MissingError: If huggingface_hub is not installed.
    """
    text = Path(name).as_posix()
    is_hub = _HUB.match(text)
    if is_hub:
        source = ModelSource(_downloaded(text[is_hub.end() :]), True)
    elif text.startswith(BUILT_IN) and not Path(name).exists():
        own = text.removeprefix(BUILT_IN)
        if own not in built_in_models():
            raise InputError(unknown_name("model inside the package", own, built_in_models()))
        source = ModelSource(built_in_folder(own), True)
        sha256 = sha256 or built_in_models()[own].sha256
    else:
        source = ModelSource(Path(name))
    if sha256 is not None and (source.folder / WEIGHTS).is_file():
        found = hash_file(source.folder / WEIGHTS)
        if found != sha256:
            raise InputError(
                f"{source.folder / WEIGHTS}: expected SHA-256 {shown(sha256)}, found {found}. Do not use this file."
            )
    return source


def built_in_folder(name: str) -> Path:
    """Return the folder of a model inside the package."""
    return Path(str(files(BUILT_IN_FOLDER).joinpath(name)))


def built_in_size(name: str) -> tuple[int, int]:
    """Return the number of parameters of a model inside the package, and the bytes of the file of its weights."""
    file = built_in_folder(name) / WEIGHTS
    with safe_open(file, framework="numpy") as weights:
        num_parameters = sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    return num_parameters, file.stat().st_size


def _downloaded(name: str) -> Path:
    """Return the folder of a model on the hub, at one commit; only data is downloaded, never code."""
    pinned = _HUB_NAME.fullmatch(name)
    if pinned is None:
        raise InputError(
            f"{shown(name)}: expected a model pinned to a commit, hf://OWNER/NAME@COMMIT with 40 hexadecimal digits. "
            "The page of the model lists its commits."
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingError(f"{name}: expected the package huggingface_hub. pip install 'ulna[hub]'") from None
    return Path(snapshot_download(pinned[1], revision=pinned[2], allow_patterns=list(HUB_FILES)))
