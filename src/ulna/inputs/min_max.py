"""Motion-Transformer's input: every clip fills the range from -1 to 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ulna.core import Skeleton, Slots, one_of, within
from ulna.data import Batch, Packing
from ulna.data.transforms import fill
from ulna.inputs.base import InputForm
from ulna.inputs.disentangled import Facing, Gaps, face, held, leaders, leading

Who = Literal["all", "first"]


class MinMax(InputForm):
    """Joints relative to the first person's centre in every frame, each axis of a clip scaled to [-1, 1].

    As Cheng et al. (Hierarchical Transformer, ICME 2021) prepare NTU RGB+D. Everybody is moved and turned with the
    first person seen; `facing` "first" turns a clip as its first frame says (released), "clip" as it does on average.
    Of a clip of more than `max_frames` frames every n-th is kept, n the largest whole number that leaves as many, and
    what is then left over at the end is cut off (released); shorter ones keep their length, where the released code
    repeats them. `persons` "first" leaves all others out (released). `gaps` as in the disentangled form. The released
    code also turns spines upright; cameras stand level enough for that to be left out.
    """

    def __init__(
        self,
        *,
        facing: Facing = "first",
        centred: bool = True,
        persons: Who = "all",
        gaps: Gaps = "fill",
        max_frames: int = 150,
    ) -> None:
        one_of("facing", facing, Facing)
        one_of("persons", persons, Who)
        one_of("gaps", gaps, Gaps)
        within("max_frames", max_frames, 1)
        self.facing, self.centred, self.persons, self.gaps, self.max_frames = facing, centred, persons, gaps, max_frames

    @property
    def crop(self) -> int | None:
        return None

    def frames(self, length: int) -> np.ndarray:
        return np.arange(0, length, max(1, length // self.max_frames))[: self.max_frames]

    def slots(self, skeleton: Skeleton) -> Slots:
        return Slots.of(skeleton, "mixed")

    def __call__(self, batch: Batch) -> Batch:
        if self.gaps == "fill":
            batch = fill(batch)
        guides = leaders(batch)
        position, present, absent = batch.position, batch.present, batch.absent
        if self.centred:
            centre, _, _ = held(guides, batch.skeleton.centre)  # (F, 1, 3)
            position = position - centre[:, :, None]
        if self.persons == "first":
            other = (
                torch.arange(position.shape[1], device=position.device) != leading(batch)[batch.packing.first][:, None]
            )
            present, absent = present & ~other[batch.packing.clip][..., None], absent | other
        position = scaled(face(position, guides, self.facing), present, batch.packing)
        formed = replace(batch, position=position, present=present, absent=absent, slots=self.slots(batch.skeleton))
        return strided(formed, self.max_frames)


def scaled(position: torch.Tensor, present: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Each axis of each clip from -1 to 1 over the joints that are present; zeros where they are not."""
    shown = present[..., None]
    low, high = (_extreme(position, shown, packing, sign) for sign in (1.0, -1.0))
    size = (high - low).clamp(min=1e-6)[:, None, None]
    return torch.where(shown, 2 * (position - low[:, None, None]) / size - 1, 0)


def _extreme(position: torch.Tensor, shown: torch.Tensor, packing: Packing, sign: float) -> torch.Tensor:
    """(F, 3): the least (sign 1) or largest (-1) value of each axis in each frame's clip; 0 where none is shown."""
    least = torch.where(shown, sign * position, torch.inf).amin(dim=(1, 2))  # (F, 3)
    of_clip = least.new_full((packing.num_clips, 3), torch.inf)
    of_clip = of_clip.scatter_reduce(0, packing.clip[:, None].expand_as(least), least, "amin")
    return (sign * torch.where(of_clip.isfinite(), of_clip, 0))[packing.clip]


def strided(batch: Batch, max_frames: int) -> Batch:
    """Every n-th frame of each clip, n = max(1, floor(length / max_frames)), at most `max_frames` of them."""
    old = batch.packing
    steps = np.maximum(1, old.lengths // max_frames)
    new = Packing(np.minimum(-(-old.lengths // steps), max_frames), old.device)
    if (new.lengths == old.lengths).all():
        return batch
    rows = old.first[new.clip] + new.time * new.of_clips(steps)[new.clip]
    return replace(batch, position=batch.position[rows], present=batch.present[rows], packing=new)
