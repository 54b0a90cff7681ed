"""Motion-Transformer: flow prediction at hidden frames, then fine-tuning (Cheng et al., MMAsia 2020).

`ulna evaluate RUN --protocol finetune` (or few-labels) is what the paper does with a pretrained encoder, `--protocol
scratch` what it compares with.
"""

from __future__ import annotations

from typing import Any

from ulna.data import Augmentation
from ulna.train.recipe import Recipe, Training, compose

# What two CPU cores train in minutes. Chosen on NW-UCLA's xview-dev (20 epochs, one seed, linear): positions that start
# as sines 65.1 (as noise: 60.9), pre-norm at 1e-3 besides 67.5; the clip's facing 60.9 (the first frame's: 56.5). 60
# epochs with shear and resampling are no better: 63.3, and on 10 % of the labels 49.0 (20 epochs: 49.1).
SMALL = {"width": 256, "num_heads": 4, "norm": "pre", "positions_start": 0.1}
TURNED = {"facing": "clip"}


def flow_recipe(
    name: str,
    *,
    split: str,
    encoder: dict[str, Any],
    training: Training,
    input: dict[str, Any] | None = None,
    pretext: dict[str, Any] | None = None,
    augmentation: Augmentation | None = None,
) -> Recipe:
    """What recipes of flow prediction share."""
    return compose(
        name,
        input={"name": "min_max", **(input or {})},
        encoder=encoder,
        pretext={"name": "flow", **(pretext or {})},
        split=split,
        augmentation=augmentation or Augmentation(time=0.0, shear=0.0),
        training=training,
    )


def bert_training(*, epochs: int, learning_rate: float, batch_size: int = 32) -> Training:
    """BERT's schedule: linear warm-up over a tenth of the steps, linear to zero, gradients clipped."""
    return Training(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.01,
        schedule="linear",
        warmup=0.1,
        clip_norm=1.0,
        precision="bf16-mixed",
    )


def paper_training(epochs: int) -> Training:
    """As H-Transformer was released: 100,000 steps of 32 clips are some 80 epochs of NTU RGB+D 60."""
    return bert_training(epochs=epochs, learning_rate=1e-4)


def small(
    name: str,
    *,
    split: str,
    epochs: int,
    batch_size: int = 32,
    pretext: dict[str, Any] | None = None,
    **encoder: Any,
) -> Recipe:
    """For few clips on two cores."""
    return flow_recipe(
        f"motion_transformer/{name}",
        split=split,
        encoder={"name": "motion_transformer", **SMALL, **encoder},
        input=TURNED,
        pretext=pretext,
        training=bert_training(epochs=epochs, learning_rate=1e-3, batch_size=batch_size),
    )


def _ntu(name: str, split: str, epochs: int) -> Recipe:
    return flow_recipe(
        f"motion_transformer/{name}",
        split=split,
        encoder={"name": "motion_transformer"},
        input={"persons": "first"},
        training=paper_training(epochs),
    )


def sample() -> Recipe:
    """The sample inside the package, whose store `ulna quickstart` writes. Two minutes a run on one core of two.

    Linear 86.5 ± 1.8, three seeds; an untrained encoder has 87.5 ± 3.1: pretraining adds nothing there.

    ulna pretrain motion_transformer/sample --data quickstart/store --out RUN
    """
    return small("sample", split="recordings", epochs=30, batch_size=16)


def nw_ucla() -> Recipe:
    """NW-UCLA at half of our width for NTU: linear 68.6 (untrained 59.3), 5 % of the labels 51.7 (from scratch 47.6).

    Three seeds, four minutes a run on one core; results/README.md.

    ulna pretrain motion_transformer/nw_ucla --data STORE --out RUN
    """
    return small("nw_ucla", split="xview", epochs=20)


def utd_mhad() -> Recipe:
    """UTD-MHAD, odd subjects train: linear 82.5 (untrained 66.1), 5 % of the labels 59.3 (from scratch 43.2).

    Three seeds, six minutes a run on one core; results/README.md.

    ulna pretrain motion_transformer/utd_mhad --data STORE --out RUN
    """
    return small("utd_mhad", split="xsub", epochs=40, batch_size=16)


def sbu() -> Recipe:
    """SBU, fold 1 of 5 (--split for the others): both persons in one token. Not measured by us.

    ulna pretrain motion_transformer/sbu --data STORE --out RUN --split fold1
    """
    return small("sbu", split="fold1", epochs=40, batch_size=16, persons="side")


def ntu60_xsub() -> Recipe:
    """NTU RGB+D 60, cross-subject, first person only, as released. Not measured by us."""
    return _ntu("ntu60_xsub", "xsub", 80)


def ntu60_xview() -> Recipe:
    """NTU RGB+D 60, cross-view, first person only, as released. Not measured by us."""
    return _ntu("ntu60_xview", "xview", 80)


def ntu120_xsub() -> Recipe:
    """NTU RGB+D 120, cross-subject, first person only. Not measured by us."""
    return _ntu("ntu120_xsub", "xsub", 50)


def ntu120_xset() -> Recipe:
    """NTU RGB+D 120, cross-setup, first person only. Not measured by us."""
    return _ntu("ntu120_xset", "xset", 50)
