"""Opening the models that commands are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.core import InputError
from ulna.dataset import Dataset
from ulna.models import Model, load


def load_models(paths: Sequence[Path], device: str = "auto") -> list[Model]:
    """Open model folders; raises InputError if there are none or one is named twice."""
    if not paths:
        raise InputError("expected at least one model folder, found none")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("expected different models, found one of them twice")
    return [load(path, device=device) for path in paths]


def shown_split(model: Model, dataset: Dataset, split: str | None) -> str | None:
    """Return the split asked for, or the recipe's if the dataset has it."""
    return split or (model.recipe.split if model.recipe.split in dataset.splits else None)


def required_split(model: Model, dataset: Dataset, split: str | None) -> str:
    """Return the split asked for, or the recipe's; raises InputError if there is none."""
    chosen = split or model.recipe.split
    if chosen is None:
        raise InputError(
            f"expected --split, since the recipe names none; {dataset.path} has {', '.join(dataset.splits)}"
        )
    return chosen
