"""HA-CM (arXiv 2409.17951) and its baseline of random masks; MAMP (arXiv 2308.07092) from the same parts."""

from __future__ import annotations

from typing import Any

from ulna.data import Augmentation
from ulna.inputs.disentangled import Persons
from ulna.recipes.gl_transformer import WHOLE_CLIPS
from ulna.train.recipe import Recipe, Training, compose

# What two CPU cores train in minutes.
SMALL = {"width": 64, "num_heads": 4, "num_blocks": 4, "positions_start": 0.3, "readout": "blocks"}
RANDOM = {"hierarchy": "random", "temporal": "random"}


def small(
    name: str,
    *,
    split: str,
    max_frames: int,
    epochs: int,
    persons: Persons = "apart",
    encoder: dict[str, Any] | None = None,
    pretext: dict[str, Any] | None = None,
) -> Recipe:
    """What recipes for two cores share; input, length, batch, positions, how much is shown and the readout were chosen
    on a development split (results/ha_cm.md).

    The input is GL-Transformer's, where the body's translation is a token of its own and what is hidden cannot be read
    off the walk of all others; a clip is turned once to face the viewer, and half as many frames hold as much of it.
    A quarter of so few tokens is shown: 28 of 112 on NW-UCLA, where the paper has 42 of 432.
    """
    return compose(
        f"ha_cm/{name}",
        input={**WHOLE_CLIPS, "persons": persons, "max_frames": max_frames},
        encoder={"name": "segment_transformer", **SMALL, **(encoder or {})},
        pretext={"name": "cross_masking", "keep_ratio": 0.25, "decoder_blocks": 2, **(pretext or {})},
        split=split,
        augmentation=Augmentation(time=0.0, shear=0.0, crop=0.5, rotate=0.3),
        training=Training(
            epochs=epochs,
            batch_size=16,
            learning_rate=1e-3,
            weight_decay=0.05,
            schedule="cosine",
            warmup=0.05,
            precision="bf16-mixed",
        ),
    )


def _paper_size(name: str, split: str) -> Recipe:
    """The released setting of NTU RGB+D 60, cross-subject, for all; what differs is on the method's page."""
    return compose(
        f"ha_cm/{name}",
        input={"name": "shifted", "centre": "spine_mid", "max_frames": 72},
        encoder={"name": "segment_transformer"},
        pretext={"name": "cross_masking"},
        split=split,
        augmentation=Augmentation(time=0.0, shear=0.0, crop=0.5, rotate=0.3),
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


def sample() -> Recipe:
    """The sample inside the package, whose store `ulna quickstart` writes. One minute a run on one core of two.

    Linear 73.3 ± 1.6, three seeds; an untrained encoder has 74.0 ± 1.8: 257 clips show that the path works, no more.

    ulna pretrain ha_cm/sample --data quickstart/store --out RUN
    """
    return small("sample", split="recordings", max_frames=30, epochs=30)


def nw_ucla() -> Recipe:
    """NW-UCLA at a quarter of the paper's width. 12 to 14 minutes a run on one core of two.

    Linear 82.3 ± 0.4, three seeds (untrained encoder 83.8); `--readout mean`, the paper's, 69.8 ± 0.9 (untrained 55.5).

    ulna pretrain ha_cm/nw_ucla --data STORE --out RUN
    """
    return small("nw_ucla", split="xview", max_frames=24, epochs=150)


def nw_ucla_random() -> Recipe:
    """The same with random masks. 11 to 14 minutes a run on one core of two.

    Linear 81.6 ± 1.4, three seeds; `--readout mean` 68.8 ± 2.9.

    ulna pretrain ha_cm/nw_ucla_random --data STORE --out RUN
    """
    return small("nw_ucla_random", split="xview", max_frames=24, epochs=150, pretext=RANDOM)


def utd_mhad() -> Recipe:
    """UTD-MHAD, odd subjects train. 13 minutes a run on one core of two.

    Linear 89.8 ± 0.4, three seeds (untrained encoder 79.8); `--readout mean`, the paper's, 86.8 ± 2.3 (untrained 53.2).

    ulna pretrain ha_cm/utd_mhad --data STORE --out RUN
    """
    return small("utd_mhad", split="xsub", max_frames=36, epochs=300)


def utd_mhad_random() -> Recipe:
    """The same with random masks. 11 to 13 minutes a run on one core of two.

    Linear 86.6 ± 2.9, three seeds; `--readout mean` 87.7 ± 3.7.

    ulna pretrain ha_cm/utd_mhad_random --data STORE --out RUN
    """
    return small("utd_mhad_random", split="xsub", max_frames=36, epochs=300, pretext=RANDOM)


def sbu() -> Recipe:
    """SBU, fold 1 of 5 (--split for the others). Two minutes a run on one core of two.

    Linear 81.2 over all folds, one run in each (untrained encoder 76.6); `--readout mean`, the paper's, 66.7 (56.0).

    ulna pretrain ha_cm/sbu --data STORE --out RUN --split fold1
    """
    return small("sbu", split="fold1", max_frames=24, epochs=100, persons="together")


def ntu60_xsub() -> Recipe:
    """NTU RGB+D 60, cross-subject, at the paper's size. Not measured by us."""
    return _paper_size("ntu60_xsub", "xsub")


def ntu60_xview() -> Recipe:
    """NTU RGB+D 60, cross-view, at the paper's size. Not measured by us."""
    return _paper_size("ntu60_xview", "xview")


def ntu120_xsub() -> Recipe:
    """NTU RGB+D 120, cross-subject, at the paper's size. Not measured by us."""
    return _paper_size("ntu120_xsub", "xsub")


def ntu120_xset() -> Recipe:
    """NTU RGB+D 120, cross-setup, at the paper's size. Not measured by us."""
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
