"""GL-Transformer's ablations (Tables 1 and 2 of the paper) at a third of its width, for two CPU cores.

On NW-UCLA, but for person-to-person attention, which needs two persons, on SBU. `ulna sweep gl_transformer/table1
--data STORE --out FOLDER` runs a whole table and writes it; results/ has ours.
"""

from __future__ import annotations

from typing import Any

from ulna.recipes.gl_transformer import SMALL, small_training
from ulna.train.recipe import Recipe, compose


def _on_nw_ucla(
    name: str,
    *,
    input: dict[str, Any] | None = None,
    encoder: dict[str, Any] | None = None,
    pretext: dict[str, Any] | None = None,
) -> Recipe:
    return compose(
        f"gl_transformer/ablation/{name}",
        input={"name": "disentangled", "max_frames": 50, **(input or {})},
        encoder={"name": "gl_transformer", **SMALL, **(encoder or {})},
        pretext={"name": "displacement", **(pretext or {})},
        split="xview",
        training=small_training(epochs=20, batch_size=32, lr_decay=0.9),
    )


def _on_sbu(name: str, *, person_to_person: bool) -> Recipe:
    return compose(
        f"gl_transformer/ablation/{name}",
        input={"name": "disentangled", "max_frames": 50},
        encoder={"name": "gl_transformer", **SMALL, "person_to_person": person_to_person},
        pretext={"name": "displacement"},
        split="fold1",
        training=small_training(epochs=25, batch_size=16, lr_decay=0.92),
    )


def full() -> Recipe:
    """Everything as the paper's last choice: Table 1 row (6), Table 2 "trainable tight", natural speed."""
    return _on_nw_ucla("full")


def mixed() -> Recipe:
    """Table 1 row (1): direction over one frame, positions not disentangled."""
    return _on_nw_ucla("mixed", input={"parts": "mixed"}, pretext={"magnitude": False, "intervals": (1,)})


def local() -> Recipe:
    """Table 1 row (2): direction over one frame, local motion only."""
    return _on_nw_ucla("local", input={"parts": "local"}, pretext={"magnitude": False, "intervals": (1,)})


def direction() -> Recipe:
    """Table 1 row (3): direction over one frame, local and global motion."""
    return _on_nw_ucla("direction", pretext={"magnitude": False, "intervals": (1,)})


def magnitude() -> Recipe:
    """Table 1 row (4): direction and magnitude over one frame."""
    return _on_nw_ucla("magnitude", pretext={"intervals": (1,)})


def intervals_1_5() -> Recipe:
    """Table 1 row (5)."""
    return _on_nw_ucla("intervals_1_5", pretext={"intervals": (1, 5)})


def intervals_1_5_10_15() -> Recipe:
    """Table 1 row (7)."""
    return _on_nw_ucla("intervals_1_5_10_15", pretext={"intervals": (1, 5, 10, 15)})


def positions_fixed() -> Recipe:
    """Table 2: sines and cosines instead of a trained positional embedding."""
    return _on_nw_ucla("positions_fixed", encoder={"positional": "fixed"})


def positions_once() -> Recipe:
    """Table 2: a trained positional embedding, added once before the first block."""
    return _on_nw_ucla("positions_once", encoder={"positional": "once"})


def fixed_length() -> Recipe:
    """Every clip resampled to 50 frames instead of natural speed."""
    return _on_nw_ucla("fixed_length", input={"num_frames": 50})


def persons_on() -> Recipe:
    """Table 2: persons attend to one another. On SBU, by folds (--split)."""
    return _on_sbu("persons_on", person_to_person=True)


def persons_off() -> Recipe:
    """Table 2: each person attends to itself alone. On SBU, by folds (--split)."""
    return _on_sbu("persons_off", person_to_person=False)
