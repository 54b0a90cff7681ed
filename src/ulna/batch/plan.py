"""The batch plan: clips and random numbers of each batch, determined by the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ulna.core import random_stream


@dataclass(frozen=True)
class BatchPlan:
    """The training batches, identical in every process.

    An epoch is a permutation of all clips, cut into batches; the last batch may be smaller. With sampling weights of
    several datasets, an epoch has as many clips as there are, of each dataset in proportion to its weight; over the
    epochs, all clips of a dataset are used equally often.

    Args:
        num_clips: Number of clips.
        batch_size: Number of clips per global batch.
        seed: Seed of the permutations.
        performance: Number of the performance that each clip shows. Clips of one performance then follow one another,
            and are in the same batch unless it ends between them.
        datasets: Number of clips and sampling weight of each dataset, whose clips are numbered one after another. Empty
            takes every clip once per epoch.
    """

    num_clips: int
    batch_size: int
    seed: int
    performance: tuple[int, ...] | None = None
    datasets: tuple[tuple[int, float], ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        return -(-sum(self.clips_per_epoch) // self.batch_size)

    @property
    def clips_per_epoch(self) -> tuple[int, ...]:
        """Number of clips of each dataset in an epoch, at least one each."""
        if not self.datasets:
            return (self.num_clips,)
        total = sum(weight for _, weight in self.datasets)
        return tuple(max(1, round(self.num_clips * weight / total)) for _, weight in self.datasets)

    def clips(self, step: int) -> np.ndarray:
        """Return the clip indices (0 to num_clips - 1) of global batch `step`, counted over all epochs."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order = _order(self, epoch)
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
def _order(plan: BatchPlan, epoch: int) -> np.ndarray:
    """Return the clips of an epoch in order."""
    if plan.datasets:
        return _weighted(plan, epoch)
    order = random_stream(plan.seed, "order", epoch).permutation(plan.num_clips)
    if plan.performance is None:
        return order
    _, first, number = np.unique(np.array(plan.performance)[order], return_index=True, return_inverse=True)
    return order[first[number].argsort(kind="stable")]


def _weighted(plan: BatchPlan, epoch: int) -> np.ndarray:
    """Return the next clips of the endless sequence of permutations of each dataset, in random order."""
    chosen, first = [], 0
    for dataset, ((num, _), count) in enumerate(zip(plan.datasets, plan.clips_per_epoch, strict=True)):
        wanted = np.arange(epoch * count, (epoch + 1) * count)
        for number in np.unique(wanted // num):
            order = random_stream(plan.seed, "order", dataset, int(number)).permutation(num)
            chosen.append(first + order[wanted[wanted // num == number] % num])
        first += num
    return random_stream(plan.seed, "datasets", epoch).permutation(np.concatenate(chosen))
