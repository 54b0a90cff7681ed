"""The clips of one or several datasets that a run trains on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int

from ulna.batch import Batch, ClipLoader
from ulna.dataset import Dataset
from ulna.preprocessing import Preprocessor


@dataclass(frozen=True)
class RawPart:
    """The clips of a batch that come from one dataset, not preprocessed.

    Args:
        batch: The clips.
        position: (b,) position of each clip in the whole batch.
    """

    batch: Batch
    position: Int[np.ndarray, " b"]

    def to(self, device: torch.device) -> RawPart:
        """Return the clips on another device."""
        return replace(self, batch=self.batch.to(device))


@dataclass(frozen=True)
class TrainingClips:
    """Clips of one or several datasets, numbered one after another.

    Args:
        parts: Each dataset with the indices of its clips.
    """

    parts: tuple[tuple[Dataset, np.ndarray], ...]

    @classmethod
    def of(cls, dataset: Dataset, clips: np.ndarray) -> TrainingClips:
        """Return some clips of one dataset."""
        return cls(((dataset, clips),))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of clips of each dataset."""
        return tuple(len(clips) for _, clips in self.parts)

    def __len__(self) -> int:
        return sum(self.counts)

    def loader(self, preprocessor: Preprocessor, device: torch.device) -> TrainingClipLoader:
        """Return what loads batches of these clips for a preprocessor onto a device."""
        return TrainingClipLoader(self, preprocessor, device)


class TrainingClipLoader:
    """Loads raw batches of training clips onto a device, one part per dataset.

    Args:
        clips: The clips.
        preprocessor: What the parts are made for; only the frames that it needs are read.
        device: Device of the batches.
    """

    def __init__(self, clips: TrainingClips, preprocessor: Preprocessor, device: torch.device) -> None:
        self.clips = clips
        self._load = [
            ClipLoader(dataset, max_frames=preprocessor.frames_to_read(dataset.fps), device=device)
            for dataset, _ in clips.parts
        ]

    def __call__(self, numbers: Int[np.ndarray, " B"]) -> tuple[RawPart, ...]:
        """Load the clips of some numbers (B,)."""
        firsts = np.cumsum([0, *self.clips.counts])
        parts = []
        for number, (_, own) in enumerate(self.clips.parts):
            position = np.flatnonzero((numbers >= firsts[number]) & (numbers < firsts[number + 1]))
            if not len(position):
                continue
            batch = self._load[number](own[numbers[position] - firsts[number]])
            if len(self.clips.parts) > 1:
                batch = replace(batch, index=numbers[position])  # unique over all datasets
            parts.append(RawPart(batch, position))
        return tuple(parts)
