"""Named tables for `ulna sweep`: which recipes they run, and the published numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ulna.recipes import published

LINEAR = ("linear",)
ALL = ("linear", "knn", "few-labels --share 0.05", "few-labels --share 0.1", "finetune", "scratch")
TURNED = "linear --augment 8 --turn 0.7"
_GL = "gl_transformer"


@dataclass(frozen=True)
class Row:
    """A line of a table: a recipe to run, or numbers that were published; both where the paper has the same row."""

    name: str
    recipe: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """`protocols` are what each recipe is judged by, `splits` on which (the recipe's own where empty).

    Several splits are folds: a clip is tested in one of them, and accuracies are over all of them together.
    """

    title: str
    rows: tuple[Row, ...]
    protocols: tuple[str, ...] = LINEAR
    splits: tuple[str, ...] = ()
    per_class: bool = False
    """A column for each class besides the total."""


def _ablation(name: str, recipe: str | None, xsub: float, xview: float) -> Row:
    numbers = {"paper, NTU-60 xsub": xsub, "paper, NTU-60 xview": xview}
    return Row(name, recipe and f"{_GL}/ablation/{recipe}", numbers)


def gl_table1() -> Table:
    """GL-Transformer's Table 1: what is predicted, from what, over which intervals. At a third of the paper's width."""
    return Table(
        "GL-Transformer, Table 1, on NW-UCLA at width 16",
        (
            _ablation("H-Transformer", None, 69.3, 72.8),
            _ablation("(1) direction, joints mixed", "mixed", 71.1, 73.5),
            _ablation("(2) direction, local only", "local", 74.2, 81.9),
            _ablation("(3) direction, local + global", "direction", 75.4, 82.8),
            _ablation("(4) + magnitude", "magnitude", 75.7, 82.9),
            _ablation("(5) intervals {1, 5}", "intervals_1_5", 75.9, 83.3),
            _ablation("(6) intervals {1, 5, 10}", "full", 76.3, 83.8),
            _ablation("(7) intervals {1, 5, 10, 15}", "intervals_1_5_10_15", 75.7, 83.4),
        ),
    )


def gl_table2_positions() -> Table:
    """GL-Transformer's Table 2, pos_embed embedding."""
    return Table(
        "GL-Transformer, Table 2, pos_embed embedding, on NW-UCLA at width 16",
        (
            _ablation("fixed", "positions_fixed", 75.5, 83.3),
            _ablation("trainable", "positions_once", 76.0, 83.6),
            _ablation("trainable, tight", "full", 76.3, 83.8),
        ),
    )


def gl_table2_persons() -> Table:
    """GL-Transformer's Table 2, person-to-person attention, on SBU's five folds, by class."""
    return Table(
        "GL-Transformer, Table 2, person-to-person attention, on SBU (paper: NTU-120 xsub)",
        (
            Row("off", f"{_GL}/ablation/persons_off", {"paper, one-person": 63.0, "paper, two-person": 71.6}),
            Row("on", f"{_GL}/ablation/persons_on", {"paper, one-person": 63.7, "paper, two-person": 73.5}),
        ),
        splits=tuple(f"fold{fold}" for fold in range(1, 6)),
        per_class=True,
    )


def gl_length() -> Table:
    """Natural speed against resampling every clip to a fixed length."""
    return Table(
        "GL-Transformer, natural speed against fixed length, on NW-UCLA at width 16",
        (Row("natural speed", f"{_GL}/ablation/full"), Row("fixed length, 50 frames", f"{_GL}/ablation/fixed_length")),
    )


FLOW = (
    "linear",
    *(f"{protocol} --share {share}" for share in (0.05, 0.1) for protocol in ("few-labels", "scratch")),
    "finetune",
    "scratch",
)


def motion_nw_ucla() -> Table:
    """Motion- and H-Transformer on NW-UCLA: flow prediction, then fine-tuning, against training from scratch."""
    rows = (
        Row("H-Transformer, published", None, {"linear": 83.9}),
        Row("Motion-Transformer", "motion_transformer/nw_ucla"),
        Row("H-Transformer", "h_transformer/nw_ucla"),
    )
    return Table("Motion- and H-Transformer on NW-UCLA, cross-view", rows, FLOW)


def motion_utd_mhad() -> Table:
    """Motion- and H-Transformer on UTD-MHAD: flow prediction, then fine-tuning, against training from scratch."""
    rows = (Row("Motion-Transformer", "motion_transformer/utd_mhad"), Row("H-Transformer", "h_transformer/utd_mhad"))
    return Table("Motion- and H-Transformer on UTD-MHAD", rows, FLOW)


def motion_objectives() -> Table:
    """What Motion-Transformer predicts, and from what, on NW-UCLA."""
    rows = (
        Row("octants, corrupted input", "motion_transformer/nw_ucla"),
        Row("octants, input as it is", "motion_transformer/ablation/seen"),
        Row("real-valued flow", "motion_transformer/ablation/flow"),
        Row("octants and real-valued flow", "motion_transformer/ablation/both"),
        Row("the pose itself (inpainting)", "motion_transformer/ablation/pose"),
        Row("displacements over 1, 5, 10 frames (MPDP)", "motion_transformer/ablation/displacement"),
    )
    return Table("Motion-Transformer, what is predicted, on NW-UCLA", rows)


def _ha_cm(*names: tuple[str, str]) -> tuple[Row, ...]:
    return tuple(Row(title, f"ha_cm/ablation/{name}") for title, name in names)


def ha_cm_grid() -> Table:
    """HA-CM's two criteria against weaker ones and against chance, on NW-UCLA."""
    rows = _ha_cm(
        *(
            (f"{h}, {t}", f"{h}_{t}")
            for h in ("hyperbolic", "graph", "random")
            for t in ("attention", "motion", "random")
        )
    )
    return Table("HA-CM, hierarchy and temporal criterion, on NW-UCLA", rows)


def ha_cm_switches() -> Table:
    """HA-CM with one thing changed, on NW-UCLA."""
    rows = _ha_cm(
        ("HA-CM", "hyperbolic_attention"),
        ("random masks", "random_random"),
        ("no cross-contrast", "no_contrast"),
        ("high scores hidden", "keep_low"),
        ("ranks for scores", "ranked"),
        ("curvature 0.1", "low_curvature"),
        ("scaled map", "scaled_map"),
        ("frozen attention", "frozen_attention"),
        ("no ball", "no_ball"),
        ("MAMP's masks", "mamp"),
    )
    return Table("HA-CM, one thing changed, on NW-UCLA", rows)


def ha_cm_nw_ucla() -> Table:
    """HA-CM and random masks beside GL- and Motion-Transformer, on NW-UCLA."""
    rows = tuple(
        Row(name, name)
        for name in ("ha_cm/nw_ucla", "ha_cm/nw_ucla_random", f"{_GL}/nw_ucla_small", "motion_transformer/nw_ucla")
    )
    return Table("HA-CM beside GL- and Motion-Transformer, on NW-UCLA", rows, ALL[:-1])


def ha_cm_utd_mhad() -> Table:
    """HA-CM and random masks beside GL- and Motion-Transformer, on UTD-MHAD."""
    rows = tuple(
        Row(name, name)
        for name in ("ha_cm/utd_mhad", "ha_cm/utd_mhad_random", f"{_GL}/utd_mhad", "motion_transformer/utd_mhad")
    )
    return Table("HA-CM beside GL- and Motion-Transformer, on UTD-MHAD", rows, ALL[:-1])


def _benchmark(
    title: str,
    numbers: published.Numbers,
    *ours: str,
    protocols: tuple[str, ...] = ALL,
    splits: tuple[str, ...] = (),
) -> Table:
    rows = [Row(name, None, own) for name, own in numbers.items()]
    return Table(title, (*rows, *(Row(recipe, recipe) for recipe in ours)), protocols, splits)


def nw_ucla() -> Table:
    """NW-UCLA, cross-view, beside the published numbers."""
    ours = (f"{_GL}/nw_ucla_small", f"{_GL}/nw_ucla_best")
    return _benchmark("NW-UCLA, cross-view", published.NW_UCLA, *ours, protocols=(*ALL, TURNED))


def utd_mhad() -> Table:
    """UTD-MHAD, odd subjects train, even test."""
    return _benchmark("UTD-MHAD", {}, f"{_GL}/utd_mhad")


def sbu() -> Table:
    """SBU Kinect Interaction, five folds."""
    return _benchmark("SBU", {}, f"{_GL}/sbu", splits=tuple(f"fold{fold}" for fold in range(1, 6)))


def ntu60_xsub() -> Table:
    """NTU RGB+D 60, cross-subject, beside the published numbers."""
    return _benchmark("NTU RGB+D 60, cross-subject", published.NTU60_XSUB, f"{_GL}/ntu60_xsub")


def ntu60_xview() -> Table:
    """NTU RGB+D 60, cross-view, beside the published numbers."""
    return _benchmark("NTU RGB+D 60, cross-view", published.NTU60_XVIEW, f"{_GL}/ntu60_xview")


def ntu120_xsub() -> Table:
    """NTU RGB+D 120, cross-subject, beside the published numbers."""
    return _benchmark("NTU RGB+D 120, cross-subject", published.NTU120_XSUB, f"{_GL}/ntu120_xsub")


def ntu120_xset() -> Table:
    """NTU RGB+D 120, cross-setup, beside the published numbers."""
    return _benchmark("NTU RGB+D 120, cross-setup", published.NTU120_XSET, f"{_GL}/ntu120_xset")


def pku_mmd2() -> Table:
    """PKU-MMD II, cross-subject, beside the published numbers."""
    return _benchmark("PKU-MMD II, cross-subject", published.PKU_MMD2, f"{_GL}/pku_mmd2_xsub")
