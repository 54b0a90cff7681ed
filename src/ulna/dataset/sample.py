"""The sample dataset included in the package: CMU motion capture, five classes of movement, free for all uses."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np

from ulna.core import TEST, TRAIN, Clip, get_skeleton
from ulna.dataset.dataset import Dataset
from ulna.dataset.writing import write_dataset

CLASSES = ("basketball", "climb", "dance", "swordplay", "walk")
PARTS = (  # assigned in turn to the recordings of a class
    {"recordings": TRAIN, "recordings-dev": TRAIN},
    {"recordings": TEST},
    {"recordings": TRAIN, "recordings-dev": TEST},
)
WINDOW, STRIDE = 60, 30  # frames: 2 s windows, 1 s apart
ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
CAVEAT = (
    "In the sample, most classes have a single performer (dance only subject 5, basketball 6, climb 1, swordplay 2): "
    "its accuracies show that the pipeline works, not that a model generalises to new people."
)


def write_sample_dataset(path: str | Path) -> Dataset:
    """Write the sample as a dataset of 2 s windows.

    Split `recordings` holds out every third recording of each class for testing; `recordings-dev` holds out another
    third, from its training part, for model selection. All windows of a recording are in the same part. Recordings
    without a label are used for pretraining.

    Args:
        path: Folder to write; must not exist.
    """
    write_dataset(
        Path(path), sample_clips(), get_skeleton("cmu_body"), classes=CLASSES, num_persons=1,
        source={"format": "sample", "acknowledgement": ACKNOWLEDGEMENT, "caveat": CAVEAT},
    )  # fmt: skip
    return Dataset(path)


def sample_clips() -> Iterator[Clip]:
    """Yield windows of the recordings, in metres at 30 fps."""
    with files("ulna.sample").joinpath("cmu.npz").open("rb") as file, np.load(file, allow_pickle=False) as content:
        metres = content["millimetres"].astype(np.float32) / 1000
        lengths, ids, labels = (content[name].tolist() for name in ("lengths", "ids", "labels"))
    starts = np.cumsum(lengths) - lengths
    seen = dict.fromkeys(CLASSES, 0)
    for start, length, recording, label in zip(starts, lengths, ids, labels, strict=True):
        splits = {"recordings": TRAIN, "recordings-dev": TRAIN}
        if label:
            splits = PARTS[seen[label] % len(PARTS)]
            seen[label] += 1
        for number, first in enumerate(range(0, max(length - WINDOW, 0) + 1, STRIDE)):
            window = metres[start + first : start + min(first + WINDOW, length), None]
            yield Clip(
                id=f"{recording}_{number:02d}",
                position=window,
                skeleton=get_skeleton("cmu_body"),
                label=label or None,
                subject=int(recording[:3]),
                splits=splits,
            )
