"""Synthetic datasets with the clip lengths and numbers of persons of real data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from ulna.core import Clip, get_skeleton
from ulna.dataset import Dataset


@dataclass(frozen=True)
class Workload:
    """Clip lengths are log-normal with the given median and mean, limited to the range of real clips."""

    name: str
    skeleton: str
    num_persons: int
    max_frames: int
    median: float
    mean: float
    shortest: int
    longest: int
    second_person: float = 0.0
    """Share of clips with a second person."""

    def lengths(self, num_clips: int, seed: int = 0) -> np.ndarray:
        """Return evenly spaced quantiles in random order, so that small batches represent the distribution too."""
        spread = np.sqrt(2 * np.log(self.mean / self.median))
        shares = (np.random.default_rng(seed).permutation(num_clips) + 0.5) / num_clips
        drawn = self.median * np.exp(spread * np.array([NormalDist().inv_cdf(share) for share in shares]))
        return np.clip(drawn.astype(int), self.shortest, self.longest)

    def clips(self, num_clips: int, seed: int = 0) -> Iterator[Clip]:
        """Generate clips in which every joint makes a random walk from a random pose."""
        generator = np.random.default_rng(seed + 1)
        skeleton = get_skeleton(self.skeleton)
        for number, length in enumerate(self.lengths(num_clips, seed)):
            shape = (length, self.num_persons, skeleton.num_joints, 3)
            pose = generator.normal(0, 0.4, (1, *shape[1:])) + np.array([0, 1, 3])
            position = (pose + 0.01 * generator.standard_normal(shape).cumsum(axis=0)).astype(np.float32)
            visible = np.ones(shape[:3], dtype=bool)
            if self.num_persons == 2 and generator.random() >= self.second_person:
                visible[:, 1] = False
            position[~visible] = 0
            yield Clip(id=f"{number:06d}", position=position, skeleton=skeleton, visible=visible, label="moving")

    def dataset(self, path: Path, num_clips: int, seed: int = 0) -> Dataset:
        """Write the clips as a dataset."""
        return Dataset.write(
            path,
            self.clips(num_clips, seed),
            classes=("moving",),
            skeleton=get_skeleton(self.skeleton),
            num_persons=self.num_persons,
        )


NTU = Workload("NTU RGB+D", "kinect_v2", 2, 300, 72, 82, 20, 300, second_person=0.2)
NW_UCLA = Workload("NW-UCLA", "kinect_v1", 1, 50, 31, 39.4, 1, 201)
