"""Batches split by persons: one sequence per person, or groups of clips with the same persons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.batch.batch import Batch
from ulna.batch.packing import Packing
from ulna.batch.padded_packing import PaddedPacking


@dataclass(frozen=True)
class PersonSequences:
    """A batch split into one clip per visible person.

    Args:
        batch: R frames of r persons, one person per clip.
        frame_index: (R,) index of each frame among the F * P frames of the original batch.
        visible_persons: (B, P) True for persons who are visible in at least one frame. If nobody is visible in a clip,
            its first person is kept, so that no clip is empty.
        clip: (r,) index of each person's clip in the original batch.
        num_frames: F, the number of frames of the original batch.
        is_visible: (r,) True for those of `visible_persons`: all, unless the batch is padded.
    """

    batch: Batch
    frame_index: Tensor
    visible_persons: Bool[Tensor, "B P"]
    clip: Int[Tensor, " r"]
    num_frames: int
    is_visible: Bool[Tensor, " r"]

    @classmethod
    def of(cls, batch: Batch) -> PersonSequences:
        """Split a batch into its persons; a padded batch into all of them, visible or not."""
        old, num_persons = batch.packing, batch.num_persons
        persons = visible_persons(batch)
        if isinstance(old, PaddedPacking):
            place = torch.arange(old.num_clips * num_persons, device=old.device)
            clip, person = place // num_persons, place % num_persons
        else:
            clip, person = persons.nonzero(as_tuple=True)
        new = old.take(clip)
        frame_index = (old.first[clip][new.clip] + new.time) * num_persons + person[new.clip]
        split = replace(
            batch,
            position=batch.position.flatten(0, 1)[frame_index][:, None],
            visible=batch.visible.flatten(0, 1)[frame_index][:, None],
            label=batch.label[clip],
            packing=new,
            fps=None if batch.fps is None else batch.fps[clip.cpu().numpy()],
            index=None if batch.index is None else batch.index[clip.cpu().numpy()],
            performance=None if batch.performance is None else batch.performance[clip.cpu().numpy()],
            in_image=None if batch.in_image is None else batch.in_image[clip.cpu().numpy()],
            masked=None if batch.masked is None else batch.masked.flatten(0, 1)[frame_index][:, None],
        )
        return cls(split, frame_index, persons, clip, batch.num_frames, persons[clip, person])

    def join(self, values: Float[Tensor, "R H"]) -> Float[Tensor, "F W"]:
        """Concatenate the values of all persons of each frame; zeros for missing persons."""
        num_persons = self.visible_persons.shape[1]
        spread = values.new_zeros(self.num_frames * num_persons, values.shape[1])
        return spread.index_copy(0, self.frame_index, values).unflatten(0, (-1, num_persons)).flatten(1)

    def mean(self, values: Float[Tensor, "r H"], counted: Bool[Tensor, " r"] | None = None) -> Float[Tensor, "B H"]:
        """Average one vector per person over the persons of each clip.

        Args:
            values: (r, H) one vector per person.
            counted: (r,) True for persons to average over. If a clip has none, all of its persons are averaged.
        """
        counted = self.is_visible if counted is None else counted & self.is_visible
        zeros = values.new_zeros(self.visible_persons.shape[0])
        is_any = zeros.index_add(0, self.clip, counted.to(values.dtype)) > 0
        weight = (counted | (self.is_visible & ~is_any[self.clip])).to(values.dtype)
        total = values.new_zeros(self.visible_persons.shape[0], values.shape[1])
        total = total.index_add(0, self.clip, values * weight[:, None])
        return total / zeros.index_add(0, self.clip, weight)[:, None]


def visible_persons(batch: Batch) -> Bool[Tensor, "B P"]:
    """Return True for persons who are visible in any frame of a clip, and for the first person if nobody is."""
    seen = batch.visible.any(dim=2).to(torch.float32)
    persons = batch.packing.mean(seen) > 0
    persons[:, 0] |= ~persons.any(dim=1)
    return persons


@dataclass(frozen=True)
class PersonGroup:
    """Clips of a batch in which the same persons are visible, without the other persons.

    Args:
        batch: The clips, with the visible persons only.
        persons: Indices of these persons in the original batch, ascending.
        clips: (b,) index of each clip in the original batch; None if the group holds all of its clips.
        frames: (F,) index of each frame in the original batch; None if the group holds all of its frames.
        is_member: (B,) True for clips that have these persons, where all clips of a padded batch are computed for every
            set of persons; None if all clips of the group have them.
    """

    batch: Batch
    persons: tuple[int, ...]
    clips: Int[np.ndarray, " b"] | None = None
    frames: Int[Tensor, " F"] | None = None
    is_member: Bool[Tensor, " B"] | None = None

    @classmethod
    def whole(cls, batch: Batch) -> PersonGroup:
        """Return a batch with all of its persons as one group."""
        return cls(batch, tuple(range(batch.num_persons)))

    @classmethod
    def split(cls, batch: Batch) -> tuple[PersonGroup, ...]:
        """Group the clips of a batch by their visible persons, see `visible_persons`.

        The groups are determined on the host, which waits for the device once. A padded batch has a group of all clips
        for every set of persons.
        """
        if isinstance(batch.packing, PaddedPacking):
            return cls._every(batch)
        sets, owner = np.unique(visible_persons(batch).cpu().numpy(), axis=0, return_inverse=True)
        if len(sets) == 1 and sets.all():
            return (cls.whole(batch),)
        return tuple(
            cls._of(batch, np.flatnonzero(owner.reshape(-1) == number), persons) for number, persons in enumerate(sets)
        )

    @classmethod
    def _every(cls, batch: Batch) -> tuple[PersonGroup, ...]:
        shown = visible_persons(batch)
        groups = []
        for is_kept in itertools.product((False, True), repeat=batch.num_persons):
            persons = list(itertools.compress(range(batch.num_persons), is_kept))
            if persons:
                part = replace(batch, position=batch.position[:, persons], visible=batch.visible[:, persons])
                is_member = (shown == shown.new_tensor(is_kept)).all(dim=1)
                groups.append(cls(part, tuple(persons), is_member=is_member))
        return tuple(groups)

    @classmethod
    def _of(cls, batch: Batch, clips: np.ndarray, is_kept: np.ndarray) -> PersonGroup:
        persons = np.flatnonzero(is_kept)
        old = batch.packing
        packing = Packing(old.lengths[clips], old.device)
        frames = old.of_clips(old.starts[clips])[packing.clip] + packing.time
        kept = torch.from_numpy(persons).to(old.device)
        part = replace(
            batch,
            position=batch.position[frames].index_select(1, kept),
            visible=batch.visible[frames].index_select(1, kept),
            label=batch.label[torch.from_numpy(clips).to(old.device)],
            packing=packing,
            fps=None if batch.fps is None else batch.fps[clips],
            index=None if batch.index is None else batch.index[clips],
            performance=None if batch.performance is None else batch.performance[clips],
            in_image=None if batch.in_image is None else batch.in_image[clips],
            masked=None if batch.masked is None else batch.masked[frames].index_select(1, kept),
        )
        return cls(part, tuple(persons.tolist()), clips, frames)


def join_frames(groups: Sequence[PersonGroup], values: Sequence[Tensor]) -> Tensor:
    """Return one value per frame of the original batch (F, ...), from those of the frames of each group."""
    clip = groups[0].batch.packing.clip
    members = [group.is_member if group.is_member is None else group.is_member[clip] for group in groups]
    return _joined([group.frames for group in groups], members, values)


def join_clips(groups: Sequence[PersonGroup], values: Sequence[Tensor]) -> Tensor:
    """Return one value per clip of the original batch (B, ...), from those of the clips of each group."""
    clips = [None if group.clips is None else torch.from_numpy(group.clips).to(values[0].device) for group in groups]
    return _joined(clips, [group.is_member for group in groups], values)


def _joined(index: Sequence[Tensor | None], members: Sequence[Tensor | None], values: Sequence[Tensor]) -> Tensor:
    parts = [part for part in index if part is not None]
    if parts:
        together = torch.cat(list(values))
        return torch.zeros_like(together).index_copy(0, torch.cat(parts), together)
    if members[0] is None:
        return values[0]
    total = torch.zeros_like(values[0])
    for is_own, own in zip(members, values, strict=True):
        assert is_own is not None
        total = torch.where(is_own.view(-1, *(1,) * (own.ndim - 1)), own, total)
    return total
