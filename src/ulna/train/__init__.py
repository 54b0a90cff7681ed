"""Floor 7: recipes' types, the Lightning module, pretraining, runs."""

from typing import TYPE_CHECKING

from ulna.core import lazy_attributes

_PUBLIC = {
    "Recipe": "ulna.train.recipe:Recipe",
    "Run": "ulna.train.run:Run",
    "Training": "ulna.train.recipe:Training",
    "load": "ulna.train.run:load",
    "pretrain": "ulna.train.fit:pretrain",
    "compose": "ulna.train.recipe:compose",
}
__all__ = ["Recipe", "Run", "Training", "compose", "load", "pretrain"]

if TYPE_CHECKING:
    from ulna.train.fit import pretrain
    from ulna.train.recipe import Recipe, Training, compose
    from ulna.train.run import Run, load


__getattr__ = lazy_attributes(__name__, _PUBLIC)
