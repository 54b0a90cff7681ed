"""The batch plan: which clips form batch number s, and its random numbers, as a function of (seed, s) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ulna.core import counted


@dataclass(frozen=True)
class BatchPlan:
    """Known to every process: an epoch is a permutation of all clips, cut into batches; the last one may be smaller."""

    num_clips: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_clips // self.batch_size)

    def clips(self, step: int) -> np.ndarray:
        """Places (into the clips planned for) of global batch number `step`, counted over all epochs."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = counted(self.seed, "order", epoch).permutation(self.num_clips)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def generator(self, step: int, purpose: str = "augmentation") -> np.random.Generator:
        """Numbers of global batch number `step`, the same in every process."""
        return counted(self.seed, purpose, step)
