"""GL-Transformer's input: global translation and local motion, facing the viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ulna.core import Clip, Parts, Skeleton, Slots, one_of, within
from ulna.data import Batch
from ulna.data.transforms import fill, resample, sights
from ulna.inputs.base import InputForm, nearest

Facing = Literal["released", "exact", "clip", "first", "none"]
LongClips = Literal["cut", "resample"]
Persons = Literal["apart", "together"]
Gaps = Literal["zeros", "fill"]


class Disentangled(InputForm):
    """Local motion relative to the centre joint, and the centre's translation since the clip's first frame.

    Kim et al. 2022 (arXiv 2207.06101), section 3.1. `parts`: "local+global" puts translation in the centre's slot,
    "local" leaves it out, "mixed" keeps whole positions relative to the first frame's centre (Table 1, rows 3, 2
    and 1). `facing` turns every frame about the vertical: "exact" until the shoulders lie along x, "released" as the
    authors' code does; "clip" turns the whole clip once, until its shoulders lie along x on average, so that turning
    round is still seen; "first" once, until they do where they are first seen; "none" keeps the camera's view.
    `persons`: "apart" moves and turns each person by its own first place and its own shoulders (paper); "together"
    moves and turns everybody with the first person seen, so that where they stand and look to one another is seen.
    `num_frames` resamples every whole clip to a fixed length; None keeps natural speed, and `long_clips` says what
    becomes of clips longer than `max_frames`: they are cut there (paper) or resampled to as many frames. `gaps`: joints
    that a frame does not show are "zeros" (a joint that defines centre or shoulders is held); "fill" puts them between
    where they are seen before and after.
    """

    def __init__(
        self,
        *,
        facing: Facing = "exact",
        parts: Parts = "local+global",
        persons: Persons = "apart",
        gaps: Gaps = "zeros",
        max_frames: int = 300,
        num_frames: int | None = None,
        long_clips: LongClips = "cut",
    ) -> None:
        one_of("facing", facing, Facing)
        one_of("long_clips", long_clips, LongClips)
        one_of("parts", parts, Parts)
        one_of("persons", persons, Persons)
        one_of("gaps", gaps, Gaps)
        within("max_frames", max_frames, 1)
        if num_frames is not None:
            within("num_frames", num_frames, 1, max_frames)
        self.facing, self.parts, self.max_frames, self.num_frames = facing, parts, max_frames, num_frames
        self.long_clips, self.persons, self.gaps = long_clips, persons, gaps

    @property
    def crop(self) -> int | None:
        return self.max_frames if self.num_frames is None and self.long_clips == "cut" else None

    def frames(self, length: int) -> np.ndarray:
        return super().frames(length) if self.num_frames is None else nearest(length, self.num_frames)

    def slots(self, skeleton: Skeleton) -> Slots:
        return Slots.of(skeleton, self.parts)

    def __call__(self, batch: Batch) -> Batch:
        batch = self._fitted(batch)
        skeleton = batch.skeleton
        centre_slot = skeleton.index(skeleton.centre)
        centre, first_row, there = held(batch, skeleton.centre)  # (F, P, 3), (F, P), (F, P)
        guides, path = batch, centre
        if self.persons == "together":
            guides = leaders(batch)  # (F, 1, ...)
            path, first_row, _ = held(guides, skeleton.centre)
        origin = path.gather(0, first_row[..., None].expand_as(path))
        whole = batch.position - origin[:, :, None]
        local = batch.position - centre[:, :, None]
        keep = batch.present & there[..., None]
        if self.parts == "mixed":
            moved = whole
        else:
            seen = keep.any(dim=2)
            moved, keep = local, keep.clone()
            moved[:, :, centre_slot] = centre - origin
            keep[:, :, centre_slot] = seen
        moved = face(moved, guides, self.facing)
        moved = torch.where(keep[..., None], moved, 0)
        if self.parts == "local":
            moved, keep = (
                torch.cat([values[:, :, :centre_slot], values[:, :, centre_slot + 1 :]], dim=2)
                for values in (moved, keep)
            )
        return replace(batch, position=moved, present=keep, slots=self.slots(skeleton))

    def _fitted(self, batch: Batch) -> Batch:
        """Clips at the length that they are looked at, their gaps filled."""
        if self.gaps == "fill":
            batch = fill(batch)
        lengths = batch.packing.lengths
        if self.num_frames is not None:
            return resample(batch, np.full(batch.num_clips, self.num_frames))
        if self.long_clips == "resample" and lengths.max() > self.max_frames:
            return resample(batch, np.minimum(lengths, self.max_frames))
        return batch


def disentangle(clip: Clip, *, facing: Facing = "exact") -> np.ndarray:
    """Disentangled form (T, P, K, 3) of one clip: translation in the centre joint's slot, local motion elsewhere."""
    return np.asarray(Disentangled(facing=facing)(Batch.from_clips([clip])).position.numpy())


def leaders(batch: Batch) -> Batch:
    """The batch with one person: in each clip the first whose centre is ever seen."""
    leader = leading(batch)
    position = batch.position.take_along_dim(leader[:, None, None, None], dim=1)
    present = batch.present.take_along_dim(leader[:, None, None], dim=1)
    return replace(batch, position=position, present=present, absent=batch.absent[:, :1])


def leading(batch: Batch) -> Tensor:
    """(F,) the first person of each frame's clip whose centre is ever seen."""
    return held(batch, batch.skeleton.centre)[2].int().argmax(dim=1)


def held(batch: Batch, joint: str) -> tuple[Tensor, Tensor, Tensor]:
    """A joint's path with gaps filled: from the frame that saw it last, before the first sight from the first.

    Gives positions (F, P, 3), the row of each clip's first sight (F, P), and whether the clip ever saw it (F, P).
    """
    index = batch.skeleton.index(joint)
    before, after = sights(batch, batch.present[:, :, index])
    start = batch.packing.start[:, None]
    first = after[batch.packing.start]
    there = first >= 0
    source = torch.where(before >= 0, before, after).maximum(start)
    first = first.maximum(start)
    path = batch.position[:, :, index]
    return path.gather(0, source[..., None].expand_as(path)), first, there


def face(position: Tensor, batch: Batch, facing: Facing) -> Tensor:
    """Turn frames (F, P, K, 3) about the vertical until the shoulders in a batch lie along x (unturned if never seen).

    The batch's persons turn each their own, its only person turns all.
    """
    if facing == "none":
        return position
    if batch.skeleton.shoulders is None:
        raise ValueError(
            f"skeleton {batch.skeleton.name!r} names no shoulders, so its clips cannot be turned to face the viewer; "
            "pass facing 'none' or give the skeleton its shoulders"
        )
    (left, _, left_seen), (right, _, right_seen) = (held(batch, joint) for joint in batch.skeleton.shoulders)
    across = right - left  # (F, P, 3)
    known = left_seen & right_seen
    x, z = torch.where(known, across[..., 0], 1), torch.where(known, across[..., 2], 0)
    if facing in ("exact", "clip", "first"):
        if facing == "clip":
            x, z = (batch.packing.mean(side)[batch.packing.clip] for side in (x, z))
        if facing == "first":
            x, z = x[batch.packing.start], z[batch.packing.start]
        angle = -torch.atan2(z, x)
        cos, sin = angle.cos(), angle.sin()
    else:
        one, two = (batch.present[:, :, batch.skeleton.index(joint)] for joint in batch.skeleton.shoulders)
        now = torch.where(one & two, z, 0)
        total = z.new_zeros(batch.num_clips, z.shape[1]).index_add(0, batch.packing.clip, now)
        cos = x / (torch.hypot(x, z) + 1e-4)
        sin = (1 - cos**2).clamp(min=0).sqrt() * torch.where(total >= 0, -1.0, 1.0).to(z.dtype)[batch.packing.clip]
    cos, sin = cos[..., None], sin[..., None]
    old_x, y, old_z = position.unbind(dim=-1)
    return torch.stack([cos * old_x - sin * old_z, y, sin * old_x + cos * old_z], dim=-1)
