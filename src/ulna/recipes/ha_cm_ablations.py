"""HA-CM's criteria against one another and against random masks, on NW-UCLA, for two CPU cores.

`ulna sweep ha_cm/grid --data STORE --out FOLDER` runs the nine pairs, `ha_cm/switches` what changes one thing.
"""

from __future__ import annotations

from typing import Any

from ulna.recipes.ha_cm import small
from ulna.train.recipe import Recipe


def _on_nw_ucla(name: str, *, encoder: dict[str, Any] | None = None, **pretext: Any) -> Recipe:
    """Five minutes; a tenth is shown, and the mean of all tokens is judged, as in the paper.

    Joint by joint an untrained encoder is as good as one of five minutes.
    """
    encoder = {"readout": "mean", **(encoder or {})}
    pretext = {"keep_ratio": 0.1, **pretext}
    return small(f"ablation/{name}", split="xview", max_frames=24, epochs=60, encoder=encoder, pretext=pretext)


def hyperbolic_attention() -> Recipe:
    """HA-CM itself."""
    return _on_nw_ucla("hyperbolic_attention")


def hyperbolic_motion() -> Recipe:
    """Odd segments by hyperbolic hierarchy, even ones by motion."""
    return _on_nw_ucla("hyperbolic_motion", temporal="motion")


def hyperbolic_random() -> Recipe:
    """Odd segments by hyperbolic hierarchy, even ones at random."""
    return _on_nw_ucla("hyperbolic_random", temporal="random")


def graph_attention() -> Recipe:
    """Odd segments by bones from the torso, even ones by attention."""
    return _on_nw_ucla("graph_attention", hierarchy="graph")


def graph_motion() -> Recipe:
    """Odd segments by bones from the torso, even ones by motion."""
    return _on_nw_ucla("graph_motion", hierarchy="graph", temporal="motion")


def graph_random() -> Recipe:
    """Odd segments by bones from the torso, even ones at random."""
    return _on_nw_ucla("graph_random", hierarchy="graph", temporal="random")


def random_attention() -> Recipe:
    """Odd segments at random, even ones by attention."""
    return _on_nw_ucla("random_attention", hierarchy="random")


def random_motion() -> Recipe:
    """Odd segments at random, even ones by motion."""
    return _on_nw_ucla("random_motion", hierarchy="random", temporal="motion")


def random_random() -> Recipe:
    """The baseline: everything at random, at the same ratio."""
    return _on_nw_ucla("random_random", hierarchy="random", temporal="random")


def no_contrast() -> Recipe:
    """HA-CM without the cross-contrast loss."""
    return _on_nw_ucla("no_contrast", contrast=0.0)


def keep_low() -> Recipe:
    """HA-CM with high scores hidden, drawn as MAMP draws them."""
    return _on_nw_ucla("keep_low", keep="low")


def ranked() -> Recipe:
    """HA-CM whose scores decide: by ranks, half of what is shown is of the fifth with the highest scores."""
    return _on_nw_ucla("ranked", ranks="clip", temperature=0.3)


def low_curvature() -> Recipe:
    """HA-CM in a ball of curvature -0.1."""
    return _on_nw_ucla("low_curvature", encoder={"curvature": 0.1})


def scaled_map() -> Recipe:
    """HA-CM with tokens scaled by 0.25 before the ball, so that they do not all end at its edge."""
    return _on_nw_ucla("scaled_map", encoder={"ball_scale": 0.25})


def frozen_attention() -> Recipe:
    """HA-CM with random projections for attention, which never learn."""
    return _on_nw_ucla("frozen_attention", attention_source="frozen")


def no_ball() -> Recipe:
    """HA-CM with tokens as they are; distances alone are taken in the ball."""
    return _on_nw_ucla("no_ball", encoder={"ball": False})


def mamp() -> Recipe:
    """MAMP's masks (one group, what moves is hidden) on this encoder."""
    return _on_nw_ucla("mamp", groups=1, temporal="motion", keep="low", contrast=0.0)
