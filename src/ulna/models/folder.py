"""The files of a model's folder: configuration, weights, card, and the clips of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field, JsonValue
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ulna.core import Config, Count, InputError, NonNegative, Positive, Skeleton, read_config, write_text
from ulna.dataset import Dataset
from ulna.encoders import Encoder
from ulna.models.card import model_card
from ulna.models.provenance import Provenance
from ulna.models.recipe import Recipe
from ulna.preprocessing import Preprocessor
from ulna.pretext import Pretext

CONFIG, WEIGHTS, PRETEXT_WEIGHTS, CARD = "config.json", "model.safetensors", "pretext.safetensors", "README.md"
METRICS, RESULTS, FIGURES, SEEN = "metrics.csv", "results", "figures", "pretrained_on.parquet"
MONITORING = "monitoring.csv"
ADVICE = "Train the model again, or restore the file."


class PretrainingData(Config):
    """The clips a model was pretrained on."""

    fingerprint: str
    """Fingerprint of the dataset."""
    source: dict[str, JsonValue]
    """Format and options the dataset was prepared with."""
    num_clips: Count
    """Number of clips."""
    num_frames: Annotated[int, Field(ge=1, lt=2**48)]
    """Number of frames."""
    fps: Annotated[float, Field(gt=0)]
    """Median frames per second; clips of another rate are resampled to it."""
    dimensions: Literal[2, 3] = 3
    """3, or 2 for positions in an image."""
    weight: Positive | None = None
    """Sampling weight among several datasets; None takes every clip once per epoch."""


class StartingPoint(Config):
    """The model whose encoder a pretraining run started from."""

    recipe: Annotated[str, Field(max_length=200)]
    """Name of its recipe."""
    fingerprint: str
    """Fingerprint of the dataset it was pretrained on."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 hash of the file of its weights."""
    training_seconds: NonNegative
    """Duration of its training, including that of its own starting point."""


class ModelConfig(Config):
    """Content of config.json: everything a model is, except its weights."""

    version: Literal[1] = 1
    recipe: Recipe
    """What it was trained by."""
    skeleton: Skeleton
    """Skeleton of the encoder's input."""
    num_persons: Annotated[int, Field(ge=1, le=100)]
    """Number of persons of the encoder's input."""
    data: PretrainingData
    """What it was pretrained on."""
    more_data: tuple[PretrainingData, ...] = ()
    """Further datasets it was pretrained on."""
    provenance: Provenance
    """How and where it was trained."""
    start: StartingPoint | None = None
    """The model whose encoder it started from; None for random weights."""
    training_seconds: NonNegative | None = None
    """Duration of the training; None while unfinished."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """Number of optimiser steps."""

    @property
    def total_seconds(self) -> float:
        """Duration of the training, including that of the starting point."""
        earlier = 0.0 if self.start is None else self.start.training_seconds
        return (self.training_seconds or 0.0) + earlier

    @property
    def start_recipe(self) -> str:
        """Name of the recipe of the starting point; empty if the training started from random weights."""
        return "" if self.start is None else self.start.recipe

    @property
    def fingerprints(self) -> str:
        """Fingerprints of the datasets it was pretrained on, joined by "+"."""
        return "+".join(one.fingerprint for one in self.all_data)

    def build_preprocessor(self) -> Preprocessor:
        """Return the preprocessor of the encoder."""
        return self.recipe.build_preprocessor(
            self.skeleton, self.num_persons, dimensions=self.data.dimensions, fps=self.data.fps
        )

    @property
    def all_data(self) -> tuple[PretrainingData, ...]:
        """All datasets it was pretrained on."""
        return (self.data, *self.more_data)


def read_model_config(path: Path) -> ModelConfig:
    """Read a model's config.json, finished or not."""
    return read_config(path / CONFIG, ModelConfig, what="the configuration of a model", advice=ADVICE)


def write_model(
    folder: Path, config: ModelConfig, encoder: Encoder, pretext: Pretext | None = None, *, half: bool = False
) -> None:
    """Write configuration, weights and card of a model into a folder; `half` stores the encoder in half precision."""
    write_config(folder, config)
    state = encoder.state_dict()
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    _save_weights(folder / WEIGHTS, state)
    if pretext is not None:
        heads = pretext.heads()
        if heads:
            _save_weights(folder / PRETEXT_WEIGHTS, heads)
    write_text(folder / CARD, model_card(config, sum(p.numel() for p in encoder.parameters())))


def write_config(folder: Path, config: ModelConfig) -> None:
    """Write config.json."""
    write_text(folder / CONFIG, config.model_dump_json(indent=1))


def seen_clips(parts: Sequence[tuple[Dataset, np.ndarray]], start: Path | None = None) -> pa.Table:
    """Return ids and hashes of the clips that a model is pretrained on.

    Args:
        parts: Datasets with the indices of their clips.
        start: Folder of the model that it starts from, whose clips count too.

    Raises:
        InputError: If the list of clips in `start` is damaged.
    """
    seen = [dataset.table.select(["id", "hash"]).take(clips) for dataset, clips in parts]
    before = None if start is None else read_seen(start)
    return pa.concat_tables([own.cast(seen[0].schema) for own in (*seen, *([] if before is None else [before]))])


def write_seen(folder: Path, seen: pa.Table) -> None:
    """Write the list of clips that a model was pretrained on."""
    pq.write_table(seen, folder / SEEN)


def read_seen(folder: Path) -> pa.Table | None:
    """Return ids and hashes of the clips that a model was pretrained on, or None if it lists none.

    Raises:
        InputError: If the list is damaged.
    """
    file = folder / SEEN
    if not file.is_file():
        return None
    try:
        seen = pq.read_table(file).select(["id", "hash"])
        if any(column.type != pa.string() for column in seen.columns):
            raise KeyError("hash")
    except (OSError, KeyError, ValueError, pa.ArrowException):
        raise InputError(f"{file}: expected ids and hashes of clips, found a damaged file. {ADVICE}") from None
    return seen


def _save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors; those that several names share are copied, since the file format stores each separately."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in state.items():
        kept[name] = tensor.detach().cpu().contiguous()
        if kept[name].data_ptr() in seen:
            kept[name] = kept[name].clone()
        seen.add(kept[name].data_ptr())
    save_file(kept, path)
    path.chmod(0o666 & path.parent.stat().st_mode)  # safetensors makes its files private


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors, in float32; raises InputError if the file is damaged or a value is not finite."""
    try:
        weights = {
            name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()
        }
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(f"{path}: expected weights, found a damaged file ({error}). {ADVICE}") from None
    if not all(tensor.isfinite().all() for tensor in weights.values()):
        raise InputError(f"{path}: expected finite weights, found others. {ADVICE}")
    return weights


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load tensors into a module; raises InputError if names or shapes differ.

    Args:
        module: The module.
        weights: The tensors by name.
        path: Where they come from, for the message.
    """
    own, found = (
        {name: (value.shape, value.is_floating_point()) for name, value in state.items()}
        for state in (module.state_dict(), weights)
    )
    if own != found:
        name = next(name for name in [*own, *found] if own.get(name) != found.get(name))
        shapes = [tuple(shapes[name]) if name in shapes else "none" for shapes in (own, found)]
        raise InputError(f"{path}: expected weights {name} of shape {shapes[0]}, found {shapes[1]}. {ADVICE}")
    module.load_state_dict(weights)
