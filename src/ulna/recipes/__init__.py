"""Floor 10: named recipes, one file per method."""

from ulna.core import NameTable

RECIPES = NameTable(
    "recipe",
    {"gl_transformer/nw_ucla_small": "ulna.recipes.gl_transformer:nw_ucla_small"},
)
__all__ = ["RECIPES"]
