"""HA-CM's and MAMP's input: positions from where the first person first stands, at a fixed length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ulna.core import Skeleton, Slots, one_of, within
from ulna.data import Batch
from ulna.data.transforms import fill, resample
from ulna.inputs.base import InputForm, nearest
from ulna.inputs.disentangled import Facing, Gaps, face, held, leaders


class Shifted(InputForm):
    """Everybody moved so that the first person's centre is at the origin when first seen, clips resampled.

    As MAMP (arXiv 2308.07092) and HA-CM (arXiv 2409.17951) prepare NTU RGB+D. `centre` is the joint that is moved there
    (theirs is spine_mid; None takes the skeleton's). `max_frames` is the length that every clip is resampled to;
    `long_only` resamples only what is longer. `facing` "none" keeps the camera's view (released), others turn everybody
    with the first person seen. `gaps` as in the disentangled form.
    """

    def __init__(
        self,
        *,
        centre: str | None = None,
        facing: Facing = "none",
        gaps: Gaps = "fill",
        max_frames: int = 72,
        long_only: bool = False,
    ) -> None:
        one_of("facing", facing, Facing)
        one_of("gaps", gaps, Gaps)
        within("max_frames", max_frames, 1)
        self.centre, self.facing, self.gaps = centre, facing, gaps
        self.max_frames, self.long_only = max_frames, long_only

    @property
    def crop(self) -> int | None:
        return None

    def frames(self, length: int) -> np.ndarray:
        return nearest(length, min(length, self.max_frames) if self.long_only else self.max_frames)

    def slots(self, skeleton: Skeleton) -> Slots:
        return Slots.of(skeleton, "mixed")

    def __call__(self, batch: Batch) -> Batch:
        if self.gaps == "fill":
            batch = fill(batch)
        lengths = batch.packing.lengths
        wanted = np.minimum(lengths, self.max_frames) if self.long_only else np.full_like(lengths, self.max_frames)
        if (wanted != lengths).any():
            batch = resample(batch, wanted)
        guides = leaders(batch)
        path, first, _ = held(guides, self.centre or batch.skeleton.centre)  # (F, 1, 3), (F, 1)
        origin = path.gather(0, first[..., None].expand_as(path))
        moved = face(batch.position - origin[:, :, None], guides, self.facing)
        moved = torch.where(batch.present[..., None], moved, 0)
        return replace(batch, position=moved, slots=self.slots(batch.skeleton))
