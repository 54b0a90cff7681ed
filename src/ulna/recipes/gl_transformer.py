"""GL-Transformer with multi-interval displacement prediction (Kim et al., ECCV 2022)."""

from __future__ import annotations

from typing import Any

from ulna.data import Augmentation
from ulna.inputs.disentangled import Persons
from ulna.train.recipe import Recipe, Training, compose

# Clips turned once and kept whole, with their gaps filled.
WHOLE_CLIPS = {"name": "disentangled", "facing": "clip", "gaps": "fill", "long_clips": "resample"}


def _recipe(name: str, *, max_frames: int, split: str, encoder: dict[str, Any], training: Training) -> Recipe:
    """What all recipes of this file share: exact facing, intervals {1, 5, 10}, the paper's augmentation."""
    return compose(
        f"gl_transformer/{name}",
        input={"name": "disentangled", "max_frames": max_frames},
        encoder={"name": "gl_transformer", **encoder},
        pretext={"name": "displacement"},
        split=split,
        training=training,
    )


# What two CPU cores train in minutes: batches smaller than the paper's 128 take more steps in the same time.
SMALL = {"width": 16, "num_heads": 4, "attention_dropout": 0.0}


def small_training(*, epochs: int, batch_size: int, lr_decay: float) -> Training:
    return Training(epochs=epochs, batch_size=batch_size, lr_decay=lr_decay, precision="bf16-mixed")


def sample() -> Recipe:
    """The sample inside the package, as `ulna quickstart` trains it.

    Linear evaluation 78.1 ± 2.8, an untrained encoder 76.0 ± 6.5, three runs of 0.9 minutes on two AMD EPYC cores.
    """
    training = Training(epochs=30, batch_size=16, learning_rate=1e-3, lr_decay=0.97, precision="bf16-mixed")
    encoder = {"width": 8, "num_heads": 4, "num_blocks": 2, "attention_dropout": 0.0}
    return _recipe("sample", max_frames=60, split="recordings", encoder=encoder, training=training)


def nw_ucla() -> Recipe:
    """NW-UCLA at the paper's width (T_max 50, D 48, 300 epochs). Not measured by us.

    ulna pretrain gl_transformer/nw_ucla --data STORE --out RUN
    """
    return _recipe("nw_ucla", max_frames=50, split="xview", encoder={}, training=Training(epochs=300))


def nw_ucla_small() -> Recipe:
    """NW-UCLA at a third of the paper's width, for two CPU cores.

    ulna pretrain gl_transformer/nw_ucla_small --data STORE --out RUN

    Linear evaluation 81.4 ± 2.4 (xview), 78.6 ± 2.4 (clean), three runs; 12 minutes on one AMD EPYC core.
    """
    training = small_training(epochs=40, batch_size=32, lr_decay=0.95)
    return _recipe("nw_ucla_small", max_frames=50, split="xview", encoder=SMALL, training=training)


def _past_the_paper(
    name: str,
    *,
    max_frames: int,
    split: str,
    training: Training,
    persons: Persons = "apart",
    positions_start: float = 0.0,
    hide: float = 0.0,
    mirror: float = 0.0,
) -> Recipe:
    """Joints only still, and small; each choice was measured on a development split (results/nw_ucla.md).

    A clip is turned once, not frame by frame; long clips are resampled, not cut; gaps are filled; the embedding is read
    from every block.
    """
    return compose(
        f"gl_transformer/{name}",
        input={**WHOLE_CLIPS, "persons": persons, "max_frames": max_frames},
        encoder={"name": "gl_transformer", **SMALL, "readout": "blocks", "positions_start": positions_start},
        pretext={"name": "displacement", "hide": hide},
        split=split,
        augmentation=Augmentation(mirror=mirror),
        training=training,
    )


def nw_ucla_best() -> Recipe:
    """NW-UCLA past the paper, for two CPU cores: half of the input is hidden, half of the clips are mirrored, training
    is four times as long as that of the small recipe, and positions start from sines.

    ulna pretrain gl_transformer/nw_ucla_best --data STORE --out RUN

    Linear evaluation 85.9 ± 0.7 (xview), 82.3 ± 0.8 (clean), three runs of 53 minutes on one AMD EPYC core; an
    untrained encoder 80.1 ± 1.4.
    """
    training = small_training(epochs=160, batch_size=32, lr_decay=0.9873)
    return _past_the_paper(
        "nw_ucla_best",
        max_frames=50,
        split="xview",
        training=training,
        positions_start=0.3,
        hide=0.5,
        mirror=0.5,
    )


def utd_mhad() -> Recipe:
    """UTD-MHAD, odd subjects train, for two CPU cores.

    ulna pretrain gl_transformer/utd_mhad --data STORE --out RUN

    Linear evaluation 86.7 ± 2.9, three runs of 16 minutes on one AMD EPYC core; an untrained encoder 79.3 ± 1.6.
    """
    training = small_training(epochs=60, batch_size=16, lr_decay=0.965)
    return _past_the_paper("utd_mhad", max_frames=125, split="xsub", training=training)


def sbu() -> Recipe:
    """SBU Kinect Interaction, fold 1 of 5 (--split for the others), for two CPU cores.

    ulna pretrain gl_transformer/sbu --data STORE --out RUN --split fold1

    Persons are moved and turned together. Over the five folds: linear evaluation 81.0 ± 0.5, fine-tuned 82.2 ± 2.6, an
    untrained encoder 80.5 ± 1.1; three runs of 6 to 9 minutes a fold on one AMD EPYC core.
    """
    training = small_training(epochs=60, batch_size=16, lr_decay=0.965)
    return _past_the_paper("sbu", max_frames=50, split="fold1", training=training, persons="together")


def _paper_size(name: str, split: str) -> Recipe:
    training = Training(epochs=120, precision="bf16-mixed")
    return _recipe(name, max_frames=300, split=split, encoder={}, training=training)


def ntu60_xsub() -> Recipe:
    """NTU RGB+D 60, cross-subject, at the paper's size (prepare with --bodies first). Not measured by us."""
    return _paper_size("ntu60_xsub", "xsub")


def ntu60_xview() -> Recipe:
    """NTU RGB+D 60, cross-view, at the paper's size (prepare with --bodies first). Not measured by us."""
    return _paper_size("ntu60_xview", "xview")


def ntu120_xsub() -> Recipe:
    """NTU RGB+D 120, cross-subject, at the paper's size (prepare with --bodies motion). Not measured by us."""
    return _paper_size("ntu120_xsub", "xsub")


def ntu120_xset() -> Recipe:
    """NTU RGB+D 120, cross-setup, at the paper's size (prepare with --bodies motion). Not measured by us."""
    return _paper_size("ntu120_xset", "xset")


def pku_mmd1_xsub() -> Recipe:
    """PKU-MMD I, cross-subject, at the paper's size for NTU. Not measured by us."""
    return _paper_size("pku_mmd1_xsub", "xsub")


def pku_mmd1_xview() -> Recipe:
    """PKU-MMD I, cross-view, at the paper's size for NTU. Not measured by us."""
    return _paper_size("pku_mmd1_xview", "xview")


def pku_mmd2_xsub() -> Recipe:
    """PKU-MMD II, cross-subject, at the paper's size for NTU. Not measured by us."""
    return _paper_size("pku_mmd2_xsub", "xsub")


def pku_mmd2_xview() -> Recipe:
    """PKU-MMD II, cross-view, at the paper's size for NTU. Not measured by us."""
    return _paper_size("pku_mmd2_xview", "xview")
