"""Transforms of packed batches: tensor code on the batch's device, shapes and random numbers from the host."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ulna.core import within
from ulna.data.batch import Batch
from ulna.data.packing import Packing


def resample(
    batch: Batch,
    lengths: np.ndarray,
    *,
    max_frames: int | None = None,
    window: tuple[np.ndarray, np.ndarray] | None = None,
) -> Batch:
    """Resample each clip to a new length (B,), linearly, then keep its first `max_frames` frames.

    Half-pixel centres, no antialiasing, edges clamped (as torch's `interpolate` without aligned corners). Where only
    one of the two neighbouring frames shows a joint, the nearer frame decides. `window` takes only a part of each clip:
    where it begins, and how much of the clip it is, both as shares (B,) of its length.
    """
    old = batch.packing
    kept = lengths if max_frames is None else np.minimum(lengths, max_frames)
    new = Packing(kept, old.device)
    begin, share = window or (np.zeros(len(lengths)), np.ones(len(lengths)))
    scale, first, last = (
        new.of_clips(values)[new.clip]
        for values in (share * old.lengths / lengths, begin * old.lengths, old.lengths - 1)
    )
    place = torch.minimum((first + (new.time + 0.5) * scale - 0.5).clamp(min=0), last)  # (F,) float64
    before = place.long()
    fraction = (place - before).to(batch.position.dtype)
    one = old.first[new.clip] + before
    two = one + (before < last)

    nearer = torch.where(fraction < 0.5, one, two)
    both = batch.present[one] & batch.present[two]
    blend = torch.lerp(batch.position[one], batch.position[two], fraction[:, None, None, None])
    position = torch.where(both[..., None], blend, batch.position[nearer])
    return replace(batch, position=position, present=both | batch.present[nearer], packing=new)


def fill(batch: Batch) -> Batch:
    """Put joints that were not seen on the line from their last sight to their next, while their person is there.

    A person is there from the first frame to the last that shows any joint of theirs; a joint not seen before or not
    again in the clip stays where it was seen. Who or what is never seen stays absent.
    """
    before, after = sights(batch, batch.present)  # (F, P, K)
    first, last = sights(batch, batch.present.any(dim=2))  # (F, P)
    is_there = ((first >= 0) & (last >= 0))[..., None]
    before, after = torch.where(before >= 0, before, after), torch.where(after >= 0, after, before)
    row = torch.arange(batch.num_frames, device=before.device)[:, None, None]
    part = ((row - before) / (after - before).clamp(min=1)).to(batch.position.dtype)
    known = is_there & (before >= 0)
    one, two = (
        batch.position.gather(0, rows.clamp(min=0)[..., None].expand_as(batch.position)) for rows in (before, after)
    )
    position = torch.where(known[..., None], torch.lerp(one, two, part[..., None]), batch.position)
    return replace(batch, position=position, present=batch.present | known)


def sights(batch: Batch, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (F, ...) that last showed and will next show what is asked, in the same clip; -1 where none does."""
    shape = (-1, *(1,) * (seen.ndim - 1))
    rows = torch.arange(batch.num_frames, device=seen.device).view(shape).expand_as(seen)
    start = batch.packing.start.view(shape)
    end = start + batch.packing.of_clips(batch.packing.lengths)[batch.packing.clip].view(shape)
    before = torch.where(seen, rows, -1).cummax(dim=0).values
    after = torch.where(seen, rows, batch.num_frames).flip(0).cummin(dim=0).values.flip(0)
    return torch.where(before >= start, before, -1), torch.where(after < end, after, -1)


def crop(batch: Batch, lengths: np.ndarray, begin: np.ndarray, share: np.ndarray, *, max_frames: int | None) -> Batch:
    """A part of each clip, resampled to `lengths`; who is not in its first frame is absent from it."""
    part = resample(batch, lengths, max_frames=max_frames, window=(begin, share))
    absent = ~part.present.any(dim=2)[part.packing.first]
    absent[:, 0] = False
    return replace(part, absent=absent)


def shear(batch: Batch, matrices: Tensor) -> Batch:
    """Apply each clip's matrix (B, 3, 3) to its joints; a slot that holds translation stays as it is."""
    sheared = _mapped(batch, matrices)
    if batch.slots.global_slot is not None:
        sheared[:, :, batch.slots.global_slot] = batch.position[:, :, batch.slots.global_slot]
    return replace(batch, position=sheared)


def turn(batch: Batch, radians: Tensor) -> Batch:
    """Turn each clip by its angle (B,) about the vertical."""
    zero, one, cos, sin = torch.zeros_like(radians), torch.ones_like(radians), radians.cos(), radians.sin()
    rows = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1)
    return replace(batch, position=_mapped(batch, rows.unflatten(-1, (3, 3))))


def rotate(batch: Batch, radians: Tensor) -> Batch:
    """Turn each clip by its three angles (B, 3) about x, then y, then z."""
    cos, sin = radians.cos().unbind(dim=-1), radians.sin().unbind(dim=-1)
    whole = torch.eye(3, dtype=radians.dtype, device=radians.device)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        own = torch.eye(3, dtype=radians.dtype, device=radians.device).repeat(len(radians), 1, 1)
        own[:, one, one] = own[:, two, two] = cos[axis]
        own[:, one, two], own[:, two, one] = -sin[axis], sin[axis]
        whole = own @ whole
    return replace(batch, position=_mapped(batch, whole))


def _mapped(batch: Batch, matrices: Tensor) -> Tensor:
    """Positions under each clip's matrix (B, 3, 3)."""
    rows = matrices.to(batch.position.dtype)[batch.packing.clip][:, None, None]  # (F, 1, 1, 3, 3)
    return (rows * batch.position[..., None, :]).sum(dim=-1)  # no matrix product: autocast would round it


def mirror(batch: Batch, clips: Tensor) -> Batch:
    """Exchange left and right of some clips (B,) bool of a formed batch: joints are swapped and x changes its sign."""
    chosen = clips[batch.packing.clip][:, None, None]
    other = torch.tensor(batch.skeleton.mirror_of(batch.slots.names), device=clips.device)
    sign = torch.tensor([-1.0, 1.0, 1.0], dtype=batch.position.dtype, device=clips.device)
    position = torch.where(chosen[..., None], batch.position[:, :, other] * sign, batch.position)
    return replace(batch, position=position, present=torch.where(chosen, batch.present[:, :, other], batch.present))


@dataclass(frozen=True)
class Draw:
    """Random numbers of a global batch: `stretch` (B,), `off_diagonal` (B, 3, 3) with a zero diagonal, `angle` (B,) and
    `angles` (B, 3) in (-1, 1); `swap` (B,) and `part` (B, 2) in (0, 1)."""

    stretch: np.ndarray
    off_diagonal: np.ndarray
    swap: np.ndarray
    angle: np.ndarray
    part: np.ndarray
    angles: np.ndarray

    def __getitem__(self, clips: slice | np.ndarray) -> Draw:
        """The numbers of one process's part of the batch."""
        return Draw(**{name: values[clips] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Augmentation:
    """GL-Transformer's augmentation: time resampling by up to `time` and shear with off-diagonals up to `shear`.

    Drawn anew for every clip and step (paper, section 4.1). 0 switches a part off. Ours: `mirror` is the chance that
    left and right are exchanged, `turn` by how many radians a clip is turned about the vertical at most. MAMP's and
    HA-CM's: `crop` is the largest share of a clip that is cut off at its ends before the rest takes its length,
    `rotate` by how many radians at most it is turned about each axis.
    """

    time: float = 0.1
    shear: float = 0.3
    mirror: float = 0.0
    turn: float = 0.0
    crop: float = 0.0
    rotate: float = 0.0

    def __post_init__(self) -> None:
        within("augmentation.time", self.time, 0, 0.9)
        within("augmentation.shear", self.shear, 0, 10)
        within("augmentation.mirror", self.mirror, 0, 1)
        within("augmentation.turn", self.turn, 0, np.pi)
        within("augmentation.crop", self.crop, 0, 0.95)
        within("augmentation.rotate", self.rotate, 0, np.pi)

    @staticmethod
    def draw(generator: np.random.Generator, num_clips: int) -> Draw:
        stretch = generator.choice([-1.0, 1.0], num_clips) * generator.random(num_clips)
        off_diagonal = generator.uniform(-1, 1, (num_clips, 3, 3)) * (1 - np.eye(3))
        swap, angle = generator.random(num_clips), generator.uniform(-1, 1, num_clips)
        part, angles = generator.random((num_clips, 2)), generator.uniform(-1, 1, (num_clips, 3))
        return Draw(stretch, off_diagonal, swap, angle, part, angles)

    def __call__(self, batch: Batch, draw: Draw, *, max_frames: int | None = None) -> Batch:
        """Augment a formed batch; `draw` holds numbers for its clips."""
        lengths = np.maximum(1, (batch.packing.lengths * (1 + draw.stretch * self.time)).astype(np.int64))
        if self.crop:
            share = 1 - self.crop * draw.part[:, 0]
            batch = crop(batch, lengths, (1 - share) * draw.part[:, 1], share, max_frames=max_frames)
        elif self.time:
            batch = resample(batch, lengths, max_frames=max_frames)
        if self.mirror:
            batch = mirror(batch, batch.packing.of_clips(draw.swap < self.mirror))
        if self.shear:
            batch = shear(batch, batch.packing.of_clips(np.eye(3) + self.shear * draw.off_diagonal))
        if self.turn:
            batch = turn(batch, batch.packing.of_clips(self.turn * draw.angle))
        if self.rotate:
            batch = rotate(batch, batch.packing.of_clips(self.rotate * draw.angles))
        return batch
