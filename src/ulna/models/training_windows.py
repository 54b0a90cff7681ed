"""Windows to train a classifier on that sees parts of long recordings, as in timelines and streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ulna.core import Clip, InputError, random_stream, spread_evenly
from ulna.dataset import Dataset, join_clips
from ulna.models.timeline import Scan, part_of

PER_RECORDING = 10
TRANSITION = (0.5, 1.5)  # seconds
STRIDE = 0.75  # seconds
MIN_OVERLAP = 0.5
MOST_WINDOWS = 4000


@dataclass(frozen=True)
class TrainingWindows:
    """Windows of recordings that were assembled from clips.

    Args:
        clips: The windows.
        sources: (W,) number of the clip that covers at least half of each window.
        recordings: (B,) recording that each clip is in.
    """

    clips: list[Clip]
    sources: Int[np.ndarray, " W"]
    recordings: Int[np.ndarray, " B"]

    @classmethod
    def of(cls, dataset: Dataset, clips: Int[np.ndarray, " B"], durations: Sequence[float]) -> TrainingWindows:
        """Assemble clips to recordings with transitions, and cut them into windows.

        Windows that no clip covers half of are left out. A recording shows clips of one owner, such as a subject,
        unless most owners have one clip only. Of more than 4,000 windows, some are returned.

        Args:
            dataset: Dataset of the clips.
            clips: Indices of the clips, of one frame rate.
            durations: Lengths of the windows in seconds.

        Raises:
            InputError: If the clips have several frame rates.
        """
        if len(np.unique(dataset.fps[clips])) > 1:
            raise InputError(
                f"{dataset.path}: expected clips of one frame rate to cut windows from, found several. Fit without "
                "windows, or on recordings with annotations (`ulna prepare --window --annotations`)."
            )
        random = random_stream(0, "training windows")
        owners = np.unique(dataset.owners[clips], return_inverse=True)[1]
        if owners.max() + 1 > len(clips) / 2:
            owners = np.zeros_like(owners)
        recordings = np.empty(len(clips), dtype=np.int64)
        found: list[tuple[Clip, int]] = []
        number = 0
        for owner in range(owners.max() + 1):
            order = random.permutation(np.flatnonzero(owners == owner))
            for start in range(0, len(order), PER_RECORDING):
                chosen = order[start : start + PER_RECORDING]
                pauses = random.uniform(*TRANSITION, len(chosen) - 1)
                joined, bounds = join_clips([dataset.clip(int(i)) for i in clips[chosen]], pauses, f"{number}")
                found += [(window, int(chosen[shown])) for window, shown in _windows(joined, bounds, durations)]
                recordings[chosen] = number
                number += 1
        kept = [found[i] for i in spread_evenly(len(found), MOST_WINDOWS)]
        return cls([window for window, _ in kept], np.array([source for _, source in kept], np.int64), recordings)


def _windows(recording: Clip, bounds: Sequence[tuple[int, int]], durations: Sequence[float]) -> list[tuple[Clip, int]]:
    """Return windows, each with the number of the clip that covers at least half of it."""
    found = []
    for start, end in Scan(windows=tuple(durations), stride=STRIDE).of(recording):
        overlaps = [min(end, last) - max(start, first) for first, last in bounds]
        if max(overlaps) >= MIN_OVERLAP * (end - start):
            found.append((part_of(recording, start, end), int(np.argmax(overlaps))))
    return found
