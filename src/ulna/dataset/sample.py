"""The samples inside the package: rehabilitation movements (UI-PRMD) and motion capture (CMU)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import TEST, TRAIN, Clip, InputError, get_skeleton, unknown_name
from ulna.dataset.dataset import Dataset
from ulna.dataset.writing import write_dataset
from ulna.formats.base import odd_subjects_train
from ulna.formats.ui_prmd import MOVEMENTS

CMU_CLASSES = ("basketball", "climb", "dance", "swordplay", "walk")
CMU_PARTS = (  # assigned in turn to the recordings of a class
    {"recordings": TRAIN, "recordings-dev": TRAIN},
    {"recordings": TEST},
    {"recordings": TRAIN, "recordings-dev": TEST},
)
CMU_WINDOW, CMU_STRIDE = 60, 30  # frames: 2 s windows, 1 s apart


@dataclass(frozen=True)
class Sample:
    """A sample inside the package.

    Args:
        clips: Yields its clips, in metres at 30 fps.
        skeleton: Name of the skeleton.
        classes: Names of the classes.
        acknowledgement: Where the data come from.
        terms: Terms of use.
        caveat: What its accuracies do not show.
    """

    clips: Callable[[], Iterator[Clip]]
    skeleton: str
    classes: tuple[str, ...]
    acknowledgement: str
    terms: str
    caveat: str


def write_sample_dataset(path: str | Path, name: str = "ui_prmd") -> Dataset:
    """Write a sample as a dataset.

    Args:
        path: Folder to write; must not exist.
        name: "ui_prmd": ten rehabilitation movements by ten people. Its split `xsub` trains on odd subjects and tests
            on even ones; `xsub-dev` divides the training part, for model selection. "cmu": 2 s windows of motion
            capture. Its split `recordings` holds out every third recording of each class, with all of its windows;
            `recordings-dev` holds out another third. Recordings without a label are used for pretraining.

    Raises:
        ExistsError: If the folder exists.
        InputError: If there is no sample of that name.
    """
    if name not in SAMPLES:
        raise InputError(unknown_name("sample", name, SAMPLES))
    sample = SAMPLES[name]
    source = {
        "format": f"sample {name}", "acknowledgement": sample.acknowledgement, "terms": sample.terms,
        "caveat": sample.caveat,
    }  # fmt: skip
    write_dataset(
        Path(path), sample.clips(), get_skeleton(sample.skeleton), classes=sample.classes, num_persons=1, source=source
    )
    return Dataset(path)


def ui_prmd_clips() -> Iterator[Clip]:
    """Yield four clips of each movement and person: two correct ones and two incorrect ones."""
    skeleton = get_skeleton("ui_prmd")
    content = _read("ui_prmd.npz")
    starts = np.cumsum(content["lengths"]) - content["lengths"]
    for start, length, name in zip(starts, content["lengths"], content["ids"], strict=True):
        steps = content["steps"][start : start + length].astype(np.int32)  # millimetres from frame to frame
        movement, subject = int(name[1:3]), int(name[5:7])
        yield Clip(
            id=str(name),
            position=(steps.cumsum(axis=0) / 1000).astype(np.float32)[:, None],
            skeleton=skeleton,
            label=MOVEMENTS[movement - 1],
            subject=subject,
            splits=odd_subjects_train(subject),
        )


def cmu_clips() -> Iterator[Clip]:
    """Yield windows of the recordings."""
    content = _read("cmu.npz")
    metres = content["millimetres"].astype(np.float32) / 1000
    lengths, ids, labels = (content[name].tolist() for name in ("lengths", "ids", "labels"))
    starts = np.cumsum(lengths) - lengths
    seen = dict.fromkeys(CMU_CLASSES, 0)
    for start, length, recording, label in zip(starts, lengths, ids, labels, strict=True):
        splits = {"recordings": TRAIN, "recordings-dev": TRAIN}
        if label:
            splits = CMU_PARTS[seen[label] % len(CMU_PARTS)]
            seen[label] += 1
        for number, first in enumerate(range(0, max(length - CMU_WINDOW, 0) + 1, CMU_STRIDE)):
            window = metres[start + first : start + min(first + CMU_WINDOW, length), None]
            yield Clip(
                id=f"{recording}_{number:02d}",
                position=window,
                skeleton=get_skeleton("cmu_body"),
                label=label or None,
                subject=int(recording[:3]),
                splits=splits,
            )


def _read(name: str) -> dict[str, Any]:
    """Return the arrays of a file in the package."""
    with files("ulna.sample").joinpath(name).open("rb") as file, np.load(file, allow_pickle=False) as content:
        return {key: content[key] for key in content.files}


SAMPLES: Mapping[str, Sample] = {
    "ui_prmd": Sample(
        ui_prmd_clips,
        "ui_prmd",
        MOVEMENTS,
        "Vakanski, Jun, Paul, Baker: A data set of human body movements for physical rehabilitation exercises, "
        "Data 3(1):2, 2018.",
        "public domain (PDDL 1.0)",
        "The movements of the sample are distinct exercises in front of one camera: accuracies in other rooms, from "
        "other sides and of other movements are lower.",
    ),
    "cmu": Sample(
        cmu_clips,
        "cmu_body",
        CMU_CLASSES,
        "The data used in this project was obtained from mocap.cs.cmu.edu. "
        "The database was created with funding from NSF EIA-0196217.",
        "free for all uses; not to be resold by itself",
        "In this sample, most classes have a single performer (dance only subject 5, basketball 6, climb 1, "
        "swordplay 2): its accuracies show that the pipeline works, not that a model generalises to new people.",
    ),
}
"""Samples by name."""
