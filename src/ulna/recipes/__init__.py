"""Floor 10: named recipes, one file per method."""

from ulna.core import NameTable

_GL = "ulna.recipes.gl_transformer"
_ABLATIONS = "ulna.recipes.gl_ablations"
RECIPES = NameTable(
    "recipe",
    {
        "gl_transformer/sample": f"{_GL}:sample",
        "gl_transformer/nw_ucla": f"{_GL}:nw_ucla",
        "gl_transformer/nw_ucla_small": f"{_GL}:nw_ucla_small",
        "gl_transformer/nw_ucla_best": f"{_GL}:nw_ucla_best",
        "gl_transformer/utd_mhad": f"{_GL}:utd_mhad",
        "gl_transformer/sbu": f"{_GL}:sbu",
        "gl_transformer/ntu60_xsub": f"{_GL}:ntu60_xsub",
        "gl_transformer/ntu60_xview": f"{_GL}:ntu60_xview",
        "gl_transformer/ntu120_xsub": f"{_GL}:ntu120_xsub",
        "gl_transformer/ntu120_xset": f"{_GL}:ntu120_xset",
        "gl_transformer/pku_mmd1_xsub": f"{_GL}:pku_mmd1_xsub",
        "gl_transformer/pku_mmd1_xview": f"{_GL}:pku_mmd1_xview",
        "gl_transformer/pku_mmd2_xsub": f"{_GL}:pku_mmd2_xsub",
        "gl_transformer/pku_mmd2_xview": f"{_GL}:pku_mmd2_xview",
        "gl_transformer/ablation/full": f"{_ABLATIONS}:full",
        "gl_transformer/ablation/mixed": f"{_ABLATIONS}:mixed",
        "gl_transformer/ablation/local": f"{_ABLATIONS}:local",
        "gl_transformer/ablation/direction": f"{_ABLATIONS}:direction",
        "gl_transformer/ablation/magnitude": f"{_ABLATIONS}:magnitude",
        "gl_transformer/ablation/intervals_1_5": f"{_ABLATIONS}:intervals_1_5",
        "gl_transformer/ablation/intervals_1_5_10_15": f"{_ABLATIONS}:intervals_1_5_10_15",
        "gl_transformer/ablation/positions_fixed": f"{_ABLATIONS}:positions_fixed",
        "gl_transformer/ablation/positions_once": f"{_ABLATIONS}:positions_once",
        "gl_transformer/ablation/fixed_length": f"{_ABLATIONS}:fixed_length",
        "gl_transformer/ablation/persons_on": f"{_ABLATIONS}:persons_on",
        "gl_transformer/ablation/persons_off": f"{_ABLATIONS}:persons_off",
    },
)
_TABLES = "ulna.recipes.tables"
TABLES = NameTable(
    "table",
    {
        "gl_transformer/table1": f"{_TABLES}:gl_table1",
        "gl_transformer/table2_positions": f"{_TABLES}:gl_table2_positions",
        "gl_transformer/table2_persons": f"{_TABLES}:gl_table2_persons",
        "gl_transformer/length": f"{_TABLES}:gl_length",
        "nw_ucla": f"{_TABLES}:nw_ucla",
        "utd_mhad": f"{_TABLES}:utd_mhad",
        "sbu": f"{_TABLES}:sbu",
        "ntu60_xsub": f"{_TABLES}:ntu60_xsub",
        "ntu60_xview": f"{_TABLES}:ntu60_xview",
        "ntu120_xsub": f"{_TABLES}:ntu120_xsub",
        "ntu120_xset": f"{_TABLES}:ntu120_xset",
        "pku_mmd2": f"{_TABLES}:pku_mmd2",
    },
)
__all__ = ["RECIPES", "TABLES"]
