"""Batches split into persons, for encoders that process one person at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.batch.batch import Batch
from ulna.batch.packing import Packing


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
    """

    batch: Batch
    frame_index: Tensor
    visible_persons: Bool[Tensor, "B P"]
    clip: Int[Tensor, " r"]
    num_frames: int

    @classmethod
    def of(cls, batch: Batch) -> PersonSequences:
        """Split a batch into its persons."""
        old, num_persons = batch.packing, batch.num_persons
        persons = visible_persons(batch)
        clip, person = persons.nonzero(as_tuple=True)
        new = Packing(old.lengths[clip.cpu().numpy()], old.device)
        frame_index = (old.first[clip][new.clip] + new.time) * num_persons + person[new.clip]
        split = replace(
            batch,
            position=batch.position.flatten(0, 1)[frame_index][:, None],
            visible=batch.visible.flatten(0, 1)[frame_index][:, None],
            label=batch.label[clip],
            packing=new,
            fps=None if batch.fps is None else batch.fps[clip.cpu().numpy()],
        )
        return cls(split, frame_index, persons, clip, batch.num_frames)

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
        if counted is None:
            counted = torch.ones_like(self.clip, dtype=torch.bool)
        is_any = torch.zeros_like(self.visible_persons[:, 0]).index_put((self.clip,), counted, accumulate=True)
        weight = (counted | ~is_any[self.clip]).to(values.dtype)
        total = values.new_zeros(len(self.visible_persons), values.shape[1])
        total = total.index_add(0, self.clip, values * weight[:, None])
        return total / weight.new_zeros(len(self.visible_persons)).index_add(0, self.clip, weight)[:, None]


def visible_persons(batch: Batch) -> Bool[Tensor, "B P"]:
    """Return True for persons who are visible in any frame of a clip, and for the first person if nobody is."""
    seen = batch.visible.any(dim=2).to(torch.float32)
    persons = batch.packing.mean(seen) > 0
    persons[:, 0] |= ~persons.any(dim=1)
    return persons
