"""Floor 10: named recipes, one file per method."""

from ulna.core import NameTable

_GL = "ulna.recipes.gl_transformer"
RECIPES = NameTable(
    "recipe",
    {
        "gl_transformer/sample": f"{_GL}:sample",
        "gl_transformer/nw_ucla": f"{_GL}:nw_ucla",
        "gl_transformer/nw_ucla_small": f"{_GL}:nw_ucla_small",
        "gl_transformer/utd_mhad": f"{_GL}:utd_mhad",
        "gl_transformer/sbu": f"{_GL}:sbu",
        "gl_transformer/ntu60_xsub": f"{_GL}:ntu60_xsub",
        "gl_transformer/ntu60_xview": f"{_GL}:ntu60_xview",
        "gl_transformer/ntu120_xsub": f"{_GL}:ntu120_xsub",
        "gl_transformer/ntu120_xset": f"{_GL}:ntu120_xset",
    },
)
__all__ = ["RECIPES"]
