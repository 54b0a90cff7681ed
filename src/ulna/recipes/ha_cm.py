"""HA-CM (arXiv 2409.17951) and its baseline of random masks."""

from __future__ import annotations

from typing import Any

from ulna.batch import Augmentation
from ulna.encoders import SegmentTransformer
from ulna.models import Recipe, Training
from ulna.preprocessing import Shifted
from ulna.pretext import HACM
from ulna.recipes.gl_transformer import WHOLE_CLIPS
from ulna.recipes.paper_size import NTU, PKU_MMD, paper_size

# Trains in minutes on two CPU cores.
SMALL = SegmentTransformer.Config(embed_dim=64, num_heads=4, depth=4, pos_embed_scale=0.3)
SMALL_PRETEXT = HACM.Config(mask_ratio=0.75, decoder_depth=2)
RANDOM = SMALL_PRETEXT.replace(hierarchy="random", temporal="random")
CROP_AND_ROTATE = Augmentation(time_scale=0.0, shear=0.0, crop=0.5, rotate=0.3)


def small_training(*, epochs: int) -> Training:
    """Return the optimisation of recipes for two CPU cores."""
    return Training(
        epochs=epochs,
        batch_size=16,
        learning_rate=1e-3,
        weight_decay=0.05,
        schedule="cosine",
        warmup=0.05,
        precision="bf16-mixed",
    )


def small(
    name: str,
    *,
    split: str,
    max_frames: int,
    epochs: int,
    pooling: str = "blocks",
    pretext: HACM.Config = SMALL_PRETEXT,
    **preprocessor: Any,
) -> Recipe:
    """Return a recipe for two CPU cores, whose choices were made on a development split (results/ha_cm.md).

    The input is that of GL-Transformer, where the body's translation is a token of its own, and masked tokens cannot be
    inferred from the common translation of all others. A clip is rotated once to face the viewer. A quarter of the
    tokens stays visible: 28 of 112 on NW-UCLA, where the paper has 42 of 432.
    """
    return Recipe(
        name=name,
        preprocessor=WHOLE_CLIPS.replace(max_frames=max_frames, **preprocessor),
        encoder=SMALL,
        pretext=pretext,
        split=split,
        pooling=pooling,
        augmentation=CROP_AND_ROTATE,
        training=small_training(epochs=epochs),
    )


def sample() -> Recipe:
    """The sample inside the package, whose dataset `ulna quickstart` writes.

    Linear 73.3 ± 1.6, random init 74.0 ± 1.8: 257 clips show that the pipeline works, no more. Three models of one
    minute on one core of two.

    ulna pretrain ha_cm/sample --data quickstart/dataset --out MODEL
    """
    return small("ha_cm/sample", split="recordings", max_frames=30, epochs=30)


def nw_ucla() -> Recipe:
    """NW-UCLA at a quarter of the paper's width.

    Linear 82.3 ± 0.4 (random init 83.8); with `--pooling mean`, the paper's, 69.8 ± 0.9 (random init 55.5). Three
    models of 11 to 14 minutes on one core of two.

    ulna pretrain ha_cm/nw_ucla --data DATASET --out MODEL
    """
    return small("ha_cm/nw_ucla", split="xview", max_frames=24, epochs=150)


def nw_ucla_random() -> Recipe:
    """NW-UCLA with random masks.

    Linear 81.6 ± 1.4; with `--pooling mean` 68.8 ± 2.9. Three models of 11 to 14 minutes on one core of two.

    ulna pretrain ha_cm/nw_ucla_random --data DATASET --out MODEL
    """
    return small("ha_cm/nw_ucla_random", split="xview", max_frames=24, epochs=150, pretext=RANDOM)


def utd_mhad() -> Recipe:
    """UTD-MHAD, trained on odd subjects.

    Linear 89.8 ± 0.4 (random init 79.8); with `--pooling mean`, the paper's, 86.8 ± 2.3 (random init 53.2). Three
    models of 13 minutes on one core of two.

    ulna pretrain ha_cm/utd_mhad --data DATASET --out MODEL
    """
    return small("ha_cm/utd_mhad", split="xsub", max_frames=36, epochs=300)


def utd_mhad_random() -> Recipe:
    """UTD-MHAD with random masks.

    Linear 86.6 ± 2.9; with `--pooling mean` 87.7 ± 3.7. Three models of 11 to 13 minutes on one core of two.

    ulna pretrain ha_cm/utd_mhad_random --data DATASET --out MODEL
    """
    return small("ha_cm/utd_mhad_random", split="xsub", max_frames=36, epochs=300, pretext=RANDOM)


def sbu() -> Recipe:
    """SBU, fold 1 of 5 (--split for the others).

    Linear 81.2 over all folds, one model each (random init 76.6); with `--pooling mean`, the paper's, 66.7 (56.0). Two
    minutes per model on one core of two.

    ulna pretrain ha_cm/sbu --data DATASET --out MODEL --split fold1
    """
    return small("ha_cm/sbu", split="fold1", max_frames=24, epochs=100, persons="together")


def _paper(name: str, split: str) -> Recipe:
    """Return the released setting of NTU RGB+D 60, cross-subject, for all splits."""
    return Recipe(
        name=name,
        preprocessor=Shifted.Config(centre="spine_mid", max_frames=72),
        encoder=SegmentTransformer.Config(),
        pretext=HACM.Config(),
        split=split,
        augmentation=CROP_AND_ROTATE,
        training=Training(
            epochs=400,
            batch_size=64,
            learning_rate=1e-3,
            weight_decay=0.05,
            decay_vectors=False,
            beta2=0.95,
            schedule="cosine",
            warmup=0.05,
            lr_floor=0.5,
            precision="bf16-mixed",
        ),
    )


RECIPES = (
    sample, nw_ucla, nw_ucla_random, utd_mhad, utd_mhad_random, sbu,
    *paper_size("ha_cm", [*NTU, *PKU_MMD], _paper),
)  # fmt: skip
