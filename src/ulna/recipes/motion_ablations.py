"""What Motion-Transformer predicts, and from what, on NW-UCLA, beside `motion_transformer/nw_ucla`, for two CPU cores.

`ulna sweep motion_transformer/objectives --data STORE --out FOLDER` runs all of them.
"""

from __future__ import annotations

from typing import Any

from ulna.recipes.motion_transformer import small
from ulna.train.recipe import Recipe


def _on_nw_ucla(ablation: str, **pretext: Any) -> Recipe:
    return small(f"ablation/{ablation}", split="xview", epochs=20, pretext=pretext)


def seen() -> Recipe:
    """Octants, nothing corrupted."""
    return _on_nw_ucla("seen", corrupt_input=False)


def flow() -> Recipe:
    """Real-valued flow at corrupted frames."""
    return _on_nw_ucla("flow", objective="flow")


def both() -> Recipe:
    """Octants and real-valued flow at corrupted frames."""
    return _on_nw_ucla("both", objective="both")


def pose() -> Recipe:
    """The frames themselves, corrupted in runs of four (inpainting)."""
    return _on_nw_ucla("pose", objective="pose", block=4)


def displacement() -> Recipe:
    """GL-Transformer's task instead: direction and length of displacements over 1, 5 and 10 frames."""
    return _on_nw_ucla("displacement", name="displacement")
