"""Floor 10: named recipes, one file per method."""

from ulna.core import NameTable


def _rows(prefix: str, file: str, names: str) -> dict[str, str]:
    return {f"{prefix}/{name}": f"ulna.recipes.{file}:{name}" for name in names.split()}


_EVERYWHERE = "sample nw_ucla utd_mhad sbu ntu60_xsub ntu60_xview ntu120_xsub ntu120_xset"
_PKU_MMD = "pku_mmd1_xsub pku_mmd1_xview pku_mmd2_xsub pku_mmd2_xview"
_ABLATIONS = """
    full mixed local direction magnitude intervals_1_5 intervals_1_5_10_15 positions_fixed positions_once fixed_length
    persons_on persons_off
"""
_HA_CM_ABLATIONS = """
    hyperbolic_attention hyperbolic_motion hyperbolic_random graph_attention graph_motion graph_random
    random_attention random_motion random_random no_contrast keep_low ranked
    low_curvature scaled_map frozen_attention no_ball mamp
"""
RECIPES = NameTable(
    "recipe",
    _rows("gl_transformer", "gl_transformer", f"{_EVERYWHERE} nw_ucla_small nw_ucla_best {_PKU_MMD}")
    | _rows("gl_transformer/ablation", "gl_ablations", _ABLATIONS)
    | _rows("motion_transformer", "motion_transformer", _EVERYWHERE)
    | _rows("motion_transformer/ablation", "motion_ablations", "seen flow both pose displacement")
    | _rows("h_transformer", "h_transformer", _EVERYWHERE)
    | _rows("ha_cm", "ha_cm", f"{_EVERYWHERE} nw_ucla_random utd_mhad_random {_PKU_MMD}")
    | _rows("ha_cm/ablation", "ha_cm_ablations", _HA_CM_ABLATIONS),
)
_TABLES = "ulna.recipes.tables"
TABLES = NameTable(
    "table",
    {
        "gl_transformer/table1": f"{_TABLES}:gl_table1",
        "gl_transformer/table2_positions": f"{_TABLES}:gl_table2_positions",
        "gl_transformer/table2_persons": f"{_TABLES}:gl_table2_persons",
        "gl_transformer/length": f"{_TABLES}:gl_length",
        "motion_transformer/nw_ucla": f"{_TABLES}:motion_nw_ucla",
        "motion_transformer/utd_mhad": f"{_TABLES}:motion_utd_mhad",
        "motion_transformer/objectives": f"{_TABLES}:motion_objectives",
        "ha_cm/grid": f"{_TABLES}:ha_cm_grid",
        "ha_cm/switches": f"{_TABLES}:ha_cm_switches",
        "ha_cm/nw_ucla": f"{_TABLES}:ha_cm_nw_ucla",
        "ha_cm/utd_mhad": f"{_TABLES}:ha_cm_utd_mhad",
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
