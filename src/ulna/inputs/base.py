"""What every input form is: raw joint positions -> what an encoder is given."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ulna.core import Skeleton, Slots
from ulna.data import Batch


class InputForm(ABC):
    """A named form of input, applied alike by training, evaluation, embedding and prediction.

    `max_frames` is the most frames that it gives a clip, `crop` how many of a clip's first frames it wants to be given.
    """

    max_frames: int

    @property
    def crop(self) -> int | None:
        """None where the form makes a long clip short itself."""
        return self.max_frames

    def frames(self, length: int) -> np.ndarray:
        """Which frames of a clip of some length an encoder is given, the nearest where it is resampled."""
        return nearest(length, min(length, self.max_frames)) if self.crop is None else np.arange(min(length, self.crop))

    @abstractmethod
    def slots(self, skeleton: Skeleton) -> Slots:
        """What the places of a frame hold in this form."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Batch:
        """Form a batch of raw positions, already cut to `crop` frames."""


def nearest(length: int, num: int) -> np.ndarray:
    """The frames of a clip that lie nearest to those that it is resampled to."""
    return ((np.arange(num) + 0.5) * length / num - 0.5).round().astype(int).clip(0, length - 1)
