"""Persons as clips of their own: for encoders that look at one person at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.data.batch import Batch
from ulna.data.packing import Packing


@dataclass(frozen=True)
class Rows:
    """A batch with one person a clip: `batch` holds everyone who is ever seen in a clip, each as a clip of one person.

    `place` (R,) says where each of its frames stands among the (F, P) of the batch that it was made from, `there`
    (B, P) who is seen, `clip` to which clip each row belongs; of a clip that shows nobody the first person counts.
    """

    batch: Batch
    place: Tensor
    there: Bool[Tensor, "B P"]
    clip: Int[Tensor, " r"]
    num_frames: int

    @classmethod
    def of(cls, batch: Batch) -> Rows:
        old, num_persons = batch.packing, batch.position.shape[1]
        there = seen_persons(batch)
        clip, person = there.nonzero(as_tuple=True)
        new = Packing(old.lengths[clip.cpu().numpy()], old.device)
        place = (old.first[clip][new.clip] + new.time) * num_persons + person[new.clip]
        rows = replace(
            batch,
            position=batch.position.flatten(0, 1)[place][:, None],
            present=batch.present.flatten(0, 1)[place][:, None],
            absent=batch.absent[clip, person][:, None],
            label=batch.label[clip],
            packing=new,
        )
        return cls(rows, place, there, clip, batch.num_frames)

    def back(self, values: Float[Tensor, "R H"]) -> Float[Tensor, "F W"]:
        """Each person's values side by side, zeros for who is not there."""
        num_persons = self.there.shape[1]
        spread = values.new_zeros(self.num_frames * num_persons, values.shape[1])
        return spread.index_copy(0, self.place, values).unflatten(0, (-1, num_persons)).flatten(1)

    def mean(self, values: Float[Tensor, "r H"], counted: Bool[Tensor, " r"] | None = None) -> Float[Tensor, "B H"]:
        """One vector a row -> the mean over the persons of each clip, over those `counted` where any of them is."""
        if counted is None:
            counted = torch.ones_like(self.clip, dtype=torch.bool)
        is_any = torch.zeros_like(self.there[:, 0]).index_put((self.clip,), counted, accumulate=True)
        weight = (counted | ~is_any[self.clip]).to(values.dtype)
        total = values.new_zeros(len(self.there), values.shape[1]).index_add(0, self.clip, values * weight[:, None])
        return total / weight.new_zeros(len(self.there)).index_add(0, self.clip, weight)[:, None]


def seen_persons(batch: Batch) -> Bool[Tensor, "B P"]:
    """Who is ever seen in a clip; the first person where nobody is."""
    seen = batch.present.any(dim=2).to(torch.float32)
    there = batch.packing.mean(seen) > 0
    there[:, 0] |= ~there.any(dim=1)
    return there
