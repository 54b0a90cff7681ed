"""Grids of recipes, splits and protocols, as data: what `ulna sweep` runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

from ulna.core import Config


class GridRow(Config):
    """One row of a grid."""

    name: str
    """Name of the row in a table."""
    recipe: str
    """Name of the recipe."""


class Grid(Config):
    """Recipes that are pretrained and evaluated together."""

    title: str
    """Title of the table."""
    rows: tuple[GridRow, ...]
    """The recipes."""
    protocols: tuple[str, ...] = ("linear",)
    """Protocols, each with its options as on the command line."""
    splits: tuple[str, ...] = ()
    """Splits to pretrain and evaluate on; the recipe's own by default. Several splits are folds."""


def read_grids(text: str) -> dict[str, Grid]:
    """Return the grids that a TOML text describes."""
    return {name: Grid.from_json(values) for name, values in tomllib.loads(text).items()}


GRIDS: Mapping[str, Grid] = read_grids(files("ulna.recipes").joinpath("grids.toml").read_text(encoding="utf-8"))
