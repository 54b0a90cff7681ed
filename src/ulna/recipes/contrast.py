"""Contrast: SkeletonCLR and AimCLR, momentum contrast on a narrow ST-GCN."""

from __future__ import annotations

from ulna.batch import Augmentation
from ulna.encoders import STGCN
from ulna.models import Recipe, Training
from ulna.preprocessing import Disentangled
from ulna.pretext import MomentumContrast
from ulna.recipes.gl_transformer import WHOLE_CLIPS
from ulna.recipes.paper_size import NTU, paper_size

# Each person relative to their own centre joint, 50 frames.
PAPER_INPUT = Disentangled.Config(heading="released", parts="local", num_frames=50, max_frames=50)
# Two equal terms of weight 0.5 in the paper, since its attention-guided dropping is left out.
AIMCLR = MomentumContrast.Config(extreme=1.0, mining_after=0.5)
NO_AUGMENTATION = Augmentation(time_scale=0.0, shear=0.0)  # views are drawn by the task


def skeletonclr_nw_ucla() -> Recipe:
    """SkeletonCLR on NW-UCLA, for two CPU cores.

    ulna pretrain skeletonclr/nw_ucla --data DATASET --out MODEL
    """
    return Recipe(
        name="skeletonclr/nw_ucla",
        preprocessor=WHOLE_CLIPS.replace(max_frames=50),
        encoder=STGCN.Config(),
        pretext=MomentumContrast.Config(queue=512, momentum=0.99),
        split="xview",
        pooling="blocks",
        augmentation=NO_AUGMENTATION,
        training=Training(
            epochs=40, batch_size=64, learning_rate=1e-3, schedule="cosine", warmup=30, precision="bf16-mixed"
        ),
    )


def _paper(name: str, split: str, pretext: MomentumContrast.Config) -> Recipe:
    """Return a recipe with the published sizes and numbers of steps; docs/contrast.md lists the differences."""
    return Recipe(
        name=name,
        preprocessor=PAPER_INPUT,
        encoder=STGCN.Config(),
        pretext=pretext,
        split=split,
        augmentation=NO_AUGMENTATION,
        training=Training(
            epochs=300, batch_size=128, learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", precision="bf16-mixed"
        ),
    )


RECIPES = (
    skeletonclr_nw_ucla,
    *paper_size("skeletonclr", [*NTU], lambda name, split: _paper(name, split, MomentumContrast.Config())),
    *paper_size("aimclr", [*NTU], lambda name, split: _paper(name, split, AIMCLR)),
)
