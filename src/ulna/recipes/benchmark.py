"""The benchmark: eleven methods on six data sets, with the same input, readout and minutes of training.

A recipe `bench/METHOD/DATA_SET` trains for a few minutes on one core of an AMD EPYC (Zen 5), the same for all methods.
The number of epochs follows from the measured cost of each method; nothing else depends on the data set but its split
and its length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ulna.batch import Augmentation
from ulna.encoders import STGCN, Encoder
from ulna.models import Recipe, Training
from ulna.pretext import MPDP, FeaturePrediction, Flow, MomentumContrast, Pretext, VICReg, WeightedSum
from ulna.recipes import gl_transformer, h_transformer, ha_cm, motion_transformer, slim
from ulna.recipes.contrast import NO_AUGMENTATION


@dataclass(frozen=True)
class BenchmarkData:
    """A data set of the benchmark.

    Args:
        title: Display name.
        splits: The split, or several folds.
        fingerprint: Fingerprint of the dataset.
        frames: Number of frames of the training part after preprocessing, in thousands.
        minutes: Minutes of training of every method, for each fold where there are several.
        preprocessor: Options that differ from the others'.
        persons: Number of persons.
    """

    title: str
    splits: tuple[str, ...]
    fingerprint: str
    frames: float
    minutes: float
    preprocessor: Mapping[str, Any]
    persons: int = 1


@dataclass(frozen=True)
class BenchmarkMethod:
    """A method of the benchmark.

    Args:
        title: Display name.
        encoder: The encoder.
        pretext: The pretext task.
        cost: Seconds of training per thousand frames of one person on one core.
        augmentation: Random changes of every clip.
        training: Optimisation; the epochs follow from the cost.
    """

    title: str
    encoder: Encoder.Config
    pretext: Pretext.Config
    cost: float
    augmentation: Augmentation
    training: Training


DATA_SETS: Mapping[str, BenchmarkData] = {
    "nw_ucla": BenchmarkData("NW-UCLA", ("xview",), "a6eae33c06696474", 35.2, 4.0, {"max_frames": 50}),
    "utd_mhad": BenchmarkData("UTD-MHAD", ("xsub",), "167ae7aeca172d15", 25.3, 4.0, {"max_frames": 60}),
    "sbu": BenchmarkData(
        "SBU",
        ("fold1", "fold2", "fold3", "fold4", "fold5"),
        "cf22333956fa54ef",
        5.4,
        1.0,
        {"max_frames": 50, "persons": "together"},
        persons=2,
    ),
    "ui_prmd": BenchmarkData("UI-PRMD", ("xsub",), "71b2981c5650c23f", 59.2, 4.0, {"max_frames": 60}),
    "msr_action3d": BenchmarkData("MSR-Action3D", ("xsub",), "c0613ecd42d61bd3", 11.1, 2.0, {"max_frames": 60}),
    "penn_action": BenchmarkData(
        "Penn Action (2-D)", ("official",), "1aeb63c6db06f9bb", 64.6, 4.0, {"max_frames": 60, "heading": "none"}
    ),
}

_GL = gl_transformer.FAST.replace(pos_embed_scale=0.3)
_MPDP = MPDP.Config(mask_ratio=0.5)
_MIRROR = Augmentation(mirror=0.5)
_MUON = gl_transformer.muon_training(epochs=1, batch_size=32)
_VIEW = Augmentation(shear=0.5, yaw=0.8, scale=0.15, crop=0.5, bone_scale=0.15)
_TEACHER = FeaturePrediction.Config(target="features", view_weight=0.0, koleo=0.0, local_views=0)
_CONTRAST = MomentumContrast.Config(queue=512, momentum=0.99, view=_VIEW)

METHODS: Mapping[str, BenchmarkMethod] = {
    "gl_transformer": BenchmarkMethod("GL-Transformer, MPDP", _GL, _MPDP, 0.235, _MIRROR, _MUON),
    "gl_vicreg": BenchmarkMethod(
        "GL-Transformer, MPDP + VICReg", _GL,
        WeightedSum.Config(tasks=(_MPDP, VICReg.Config(view=_VIEW)), weights=(1.0, 0.04)), 0.65, _MIRROR, _MUON,
    ),
    "gl_teacher": BenchmarkMethod(
        "GL-Transformer, MPDP + teacher", _GL, WeightedSum.Config(tasks=(_MPDP, _TEACHER)), 0.72, _MIRROR, _MUON
    ),
    "gl_contrast": BenchmarkMethod("GL-Transformer, contrast", _GL, _CONTRAST, 0.28, NO_AUGMENTATION, _MUON),
    "stgcn_contrast": BenchmarkMethod(
        "ST-GCN, contrast (SkeletonCLR)", STGCN.Config(), _CONTRAST, 0.38, NO_AUGMENTATION,
        Training(learning_rate=1e-3, batch_size=32, schedule="cosine", warmup=30, precision="bf16-mixed"),
    ),
    "motion_transformer": BenchmarkMethod(
        "Motion-Transformer, flow", motion_transformer.SMALL, Flow.Config(), 0.14, NO_AUGMENTATION,
        motion_transformer.bert_training(epochs=1, learning_rate=1e-3),
    ),
    "h_transformer": BenchmarkMethod(
        "H-Transformer, flow", h_transformer.SMALL, h_transformer.UNCHANGED, 0.2, NO_AUGMENTATION,
        motion_transformer.bert_training(epochs=1, learning_rate=5e-4),
    ),
    "ha_cm": BenchmarkMethod(
        "HA-CM", ha_cm.SMALL, ha_cm.SMALL_PRETEXT, 0.19, ha_cm.CROP_AND_ROTATE, ha_cm.small_training(epochs=1)
    ),
    "mamp": BenchmarkMethod(
        "MAMP", ha_cm.SMALL.replace(ball=False, prune_torso=False),
        ha_cm.SMALL_PRETEXT.replace(groups=1, temporal="motion", visible="low", contrast=0.0),
        0.275, ha_cm.CROP_AND_ROTATE, ha_cm.small_training(epochs=1),
    ),
    "ha_cm_teacher": BenchmarkMethod(
        "HA-CM + teacher", ha_cm.SMALL, WeightedSum.Config(tasks=(ha_cm.SMALL_PRETEXT, _TEACHER)), 0.62,
        ha_cm.CROP_AND_ROTATE, ha_cm.small_training(epochs=1),
    ),
    "slim": BenchmarkMethod(
        "SLiM (compact transformer, teacher)", slim.SMALL.replace(segment=8), slim.SMALL_PRETEXT, 0.75, NO_AUGMENTATION,
        _MUON,
    ),
}  # fmt: skip


def recipe_of(method: str, data_set: str) -> Recipe:
    """Return the recipe of a method on a data set.

    Args:
        method: Name of a method in `METHODS`.
        data_set: Name of a data set in `DATA_SETS`.
    """
    own, data = METHODS[method], DATA_SETS[data_set]
    seconds = own.cost * data.frames * data.persons
    return Recipe(
        name=f"bench/{method}/{data_set}",
        preprocessor=gl_transformer.WHOLE_CLIPS.replace(**data.preprocessor),
        encoder=own.encoder,
        pretext=own.pretext,
        split=data.splits[0],
        pooling="blocks",
        augmentation=own.augmentation,
        training=own.training.replace(epochs=max(1, round(60 * data.minutes / seconds))),
    )


def _recipe(method: str, data_set: str) -> Callable[[], Recipe]:
    def recipe() -> Recipe:
        return recipe_of(method, data_set)

    data = DATA_SETS[data_set]
    minutes = f"{data.minutes:g} minute{'s' if data.minutes > 1 else ''}"
    recipe.__doc__ = f"{METHODS[method].title} on {data.title}, {minutes} on one core (docs/benchmark.md)."
    return recipe


RECIPES = tuple(_recipe(method, data_set) for method in METHODS for data_set in DATA_SETS)
