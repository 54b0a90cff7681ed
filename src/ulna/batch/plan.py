"""The batch plan: clips and random numbers of each batch, determined by the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ulna.core import random_stream


@dataclass(frozen=True)
class BatchPlan:
    """The training batches, identical in every process.

    An epoch is a permutation of all clips, cut into batches; the last batch may be smaller.

    Args:
        num_clips: Number of clips.
        batch_size: Number of clips per global batch.
        seed: Seed of the permutations.
        performance: Number of the performance that each clip shows. Clips of one performance then follow one another,
            and are in the same batch unless it ends between them.
    """

    num_clips: int
    batch_size: int
    seed: int
    performance: tuple[int, ...] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_clips // self.batch_size)

    def clips(self, step: int) -> np.ndarray:
        """Return the clip indices (0 to num_clips - 1) of global batch `step`, counted over all epochs."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = _order(self.num_clips, self.seed, epoch, self.performance)
        return order[number * self.batch_size : (number + 1) * self.batch_size]

    @staticmethod
    def share(num_clips: int, rank: int, world: int) -> slice:
        """Return the slice of a global batch that process `rank` of `world` processes.

        If the last batch is too small for every process to get a clip, the others take the first clip, which must not
        be counted twice.
        """
        return slice(rank, None, world) if rank < num_clips else slice(1)

    def generator(self, step: int, purpose: str = "augmentation") -> np.random.Generator:
        """Return the random generator of global batch `step`, the same in every process."""
        return random_stream(self.seed, purpose, step)


@lru_cache(maxsize=2)
def _order(num_clips: int, seed: int, epoch: int, performance: tuple[int, ...] | None) -> np.ndarray:
    order = random_stream(seed, "order", epoch).permutation(num_clips)
    if performance is None:
        return order
    _, first, number = np.unique(np.array(performance)[order], return_index=True, return_inverse=True)
    return order[first[number].argsort(kind="stable")]
