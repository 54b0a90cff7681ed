"""GL-Transformer with multi-interval displacement prediction."""

from __future__ import annotations

from ulna.data import Augmentation
from ulna.train.recipe import Recipe, Training, recipe


def nw_ucla_small() -> Recipe:
    """NW-UCLA at a third of the paper's width."""
    return recipe(
        "gl_transformer/nw_ucla_small",
        input={"name": "disentangled", "facing": "exact", "max_frames": 50},
        encoder={"name": "gl_transformer", "width": 16, "num_heads": 4, "attention_dropout": 0.0},
        pretext={"name": "displacement"},
        split="xview",
        augmentation=Augmentation(),
        training=Training(epochs=100, learning_rate=5e-4, precision="bf16-mixed"),
    )
