"""The batch plan: which clips form batch number s, and its random numbers, as a function of (seed, s) alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
        order = _order(self.num_clips, self.seed, epoch)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    @staticmethod
    def share(num_clips: int, rank: int, world: int) -> slice:
        """Which of a global batch's clips process `rank` of `world` takes.

        A process that a small last batch leaves without a clip takes the first, which then must not count twice.
        """
        return slice(rank, None, world) if rank < num_clips else slice(1)

    def generator(self, step: int, purpose: str = "augmentation") -> np.random.Generator:
        """Numbers of global batch number `step`, the same in every process."""
        return counted(self.seed, purpose, step)


@lru_cache(maxsize=2)
def _order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    return counted(seed, "order", epoch).permutation(num_clips)
