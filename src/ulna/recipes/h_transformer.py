"""H-Transformer: flow prediction from the frames as they are, then a linear probe (Cheng et al., ICME 2021)."""

from __future__ import annotations

from typing import Any

from ulna.recipes.motion_transformer import TURNED, bert_training, flow_recipe, paper_training
from ulna.train.recipe import Recipe

SEEN = {"corrupt_input": False}
# A quarter of the paper's width: parts of 64. Chosen on NW-UCLA's xview-dev (20 epochs, one seed, linear): positions
# that start as sines of 0.03 and a learning rate of 5e-4 65.7; of 0.1 and 1e-3 55.0.
SMALL = {"name": "h_transformer", "width": 512, "positions_start": 0.03}


def _small(name: str, *, split: str, epochs: int, batch_size: int = 32, **encoder: Any) -> Recipe:
    return flow_recipe(
        f"h_transformer/{name}",
        split=split,
        encoder=SMALL | encoder,
        input=TURNED,
        pretext=SEEN,
        training=bert_training(epochs=epochs, learning_rate=5e-4, batch_size=batch_size),
    )


def _ntu(name: str, split: str, epochs: int) -> Recipe:
    return flow_recipe(
        f"h_transformer/{name}",
        split=split,
        encoder={"name": "h_transformer"},
        input={"persons": "first"},
        pretext=SEEN,
        training=paper_training(epochs),
    )


def sample() -> Recipe:
    """The sample inside the package, whose store `ulna quickstart` writes. Three minutes a run on one core of two.

    Linear 86.5 ± 1.0, three seeds; an untrained encoder has 81.9 ± 1.6.

    ulna pretrain h_transformer/sample --data quickstart/store --out RUN
    """
    return _small("sample", split="recordings", epochs=30, batch_size=16)


def nw_ucla() -> Recipe:
    """NW-UCLA at a quarter of the paper's width: linear 72.7 (untrained 60.3, the paper at full width 83.9).

    Three seeds, 13 minutes a run on one core; results/README.md.

    ulna pretrain h_transformer/nw_ucla --data STORE --out RUN
    """
    return _small("nw_ucla", split="xview", epochs=40)


def utd_mhad() -> Recipe:
    """UTD-MHAD, odd subjects train. Not measured by us.

    ulna pretrain h_transformer/utd_mhad --data STORE --out RUN
    """
    return _small("utd_mhad", split="xsub", epochs=40, batch_size=16)


def sbu() -> Recipe:
    """SBU, fold 1 of 5 (--split for the others): both persons in one token. Not measured by us.

    ulna pretrain h_transformer/sbu --data STORE --out RUN --split fold1
    """
    return _small("sbu", split="fold1", epochs=40, batch_size=16, persons="side")


def ntu60_xsub() -> Recipe:
    """NTU RGB+D 60, cross-subject, at the paper's size. Not measured by us."""
    return _ntu("ntu60_xsub", "xsub", 80)


def ntu60_xview() -> Recipe:
    """NTU RGB+D 60, cross-view, at the paper's size. Not measured by us."""
    return _ntu("ntu60_xview", "xview", 80)


def ntu120_xsub() -> Recipe:
    """NTU RGB+D 120, cross-subject, at the paper's size. Not measured by us."""
    return _ntu("ntu120_xsub", "xsub", 50)


def ntu120_xset() -> Recipe:
    """NTU RGB+D 120, cross-setup, at the paper's size. Not measured by us."""
    return _ntu("ntu120_xset", "xset", 50)
