"""Named recipes, one file per method; grids of recipes as data; published numbers with their sources.

Every recipe that has a number in results/ was measured. Those of NTU RGB+D and PKU-MMD follow the papers' settings and
were not measured; their descriptions say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ulna.core import InputError, unknown_name
from ulna.models import Recipe
from ulna.recipes import any_body, benchmark, contrast, gl_transformer, h_transformer, ha_cm, motion_transformer, slim
from ulna.recipes.ablations import ABLATIONS
from ulna.recipes.grids import GRIDS, Grid, GridRow
from ulna.recipes.published import PublishedNumber, published_numbers

RECIPES: Mapping[str, Callable[[], Recipe]] = {
    recipe().name: recipe
    for recipe in (
        *gl_transformer.RECIPES, *motion_transformer.RECIPES, *h_transformer.RECIPES, *ha_cm.RECIPES,
        *contrast.RECIPES, *slim.RECIPES, *any_body.RECIPES, *ABLATIONS, *benchmark.RECIPES,
    )
}  # fmt: skip


def get_recipe(name: str) -> Recipe:
    """Return the recipe of a name; raises InputError, with the nearest known name, if there is none."""
    if name not in RECIPES:
        raise InputError(unknown_name("recipe", name, RECIPES))
    return RECIPES[name]()


__all__ = ["GRIDS", "RECIPES", "Grid", "GridRow", "PublishedNumber", "get_recipe", "published_numbers"]
