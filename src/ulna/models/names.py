"""Names of models: folders, and models on the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ulna.core import InputError, MissingError, shown
from ulna.dataset.description import hash_file
from ulna.models.folder import CARD, CONFIG, SEEN, WEIGHTS

HUB_FILES = (CONFIG, WEIGHTS, CARD, SEEN, "classifiers/*.safetensors")
_HUB = re.compile("hf:/{1,2}")  # a path has lost the second slash
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")


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
    """Return where a model is; a model on the Hugging Face Hub is downloaded once.

    Args:
        name: A folder, or "hf://OWNER/NAME@COMMIT" for a model on the hub.
        sha256: SHA-256 hash that the file of the weights must have.

    Raises:
        InputError: If a model on the hub is not pinned to a commit, or the hash differs.
        MissingError: If huggingface_hub is not installed.
    """
    text = Path(name).as_posix()
    is_hub = _HUB.match(text)
    source = ModelSource(_downloaded(text[is_hub.end() :]), True) if is_hub else ModelSource(Path(name))
    if sha256 is not None and (source.folder / WEIGHTS).is_file():
        found = hash_file(source.folder / WEIGHTS)
        if found != sha256:
            raise InputError(
                f"{source.folder / WEIGHTS}: expected SHA-256 {shown(sha256)}, found {found}. Do not use this file."
            )
    return source


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
