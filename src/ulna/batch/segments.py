"""Joint segments: tokens that cover a few frames of one joint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.batch.batch import Batch
from ulna.batch.packing import Packing
from ulna.batch.padded_packing import PaddedPacking
from ulna.batch.persons import PersonSequences


@dataclass(frozen=True)
class Segments:
    """Visible persons of a batch, cut into segments of a few frames; each joint visible in a segment is a token.

    Tokens are ordered by person, then by segment, then by joint. An incomplete last segment is padded by repeating the
    last frame. If a person is never visible, all of their tokens are kept, so that no sequence is empty.

    Args:
        persons: The persons.
        joints: Nodes of a person that become tokens.
        packing: Segments of each person.
        frames: (G, l) frame indices of each segment.
        token_index: (N,) index of each token among the G * J joints of all segments; all of them if the batch is
            padded.
        tokens: Tokens of each person.
        is_visible: (r,) False for persons who are never visible.
    """

    persons: PersonSequences
    joints: Sequence[int]
    packing: Packing
    frames: Int[Tensor, "G l"]
    token_index: Int[Tensor, " N"]
    tokens: Packing
    is_visible: Bool[Tensor, " r"]

    @classmethod
    def of(cls, batch: Batch, length: int, joints: Sequence[int]) -> Segments:
        """Cut a batch into segments of `length` frames."""
        persons = PersonSequences.of(batch)
        old = persons.batch.packing
        packing = old.divided(length)
        time = packing.time[:, None] * length + torch.arange(length, device=old.device)
        last = (old.sizes - 1)[packing.clip][:, None]
        frames = old.first[packing.clip][:, None] + torch.minimum(time, last)
        seen = persons.batch.visible[:, 0, joints][frames].any(dim=1)  # (G, J)
        is_visible = packing.mean(seen.any(dim=1).float()) > 0
        is_token = packing.within(seen | ~is_visible[packing.clip][:, None])
        if isinstance(packing, PaddedPacking):
            rows = is_token.unflatten(0, packing.valid.shape).flatten(1)
            index = torch.arange(packing.num_frames * len(joints), device=old.device)
            return cls(persons, joints, packing, frames, index, PaddedPacking(rows), is_visible)
        token_index = is_token.flatten().nonzero()[:, 0]
        counts = packing.clip[token_index // len(joints)].bincount(minlength=packing.num_clips)
        tokens = Packing(counts.cpu().numpy(), old.device)
        return cls(persons, joints, packing, frames, token_index, tokens, is_visible)

    @property
    def num_persons(self) -> int:
        """r, the number of persons of all clips."""
        return self.packing.num_clips

    @property
    def num_joint_segments(self) -> int:
        """G * J, the number of joints of all segments, visible or not."""
        return self.packing.num_frames * len(self.joints)

    @cached_property
    def person(self) -> Int[Tensor, " N"]:
        """Person of each token."""
        return self.packing.clip[self.segment_index]

    @cached_property
    def segment_index(self) -> Int[Tensor, " N"]:
        """Segment of each token, counted over all persons."""
        return self.token_index // len(self.joints)

    @cached_property
    def segment(self) -> Int[Tensor, " N"]:
        """Segment of each token, counted within its person."""
        return self.packing.time[self.segment_index]

    @cached_property
    def joint(self) -> Int[Tensor, " N"]:
        """Joint of each token, as an index into `joints`."""
        return self.token_index % len(self.joints)

    @cached_property
    def person_joint(self) -> Int[Tensor, " N"]:
        """Joint of each token, counted over all persons."""
        return self.person * len(self.joints) + self.joint

    def first_of(self, values: Bool[Tensor, "F P K"]) -> Bool[Tensor, " N"]:
        """Return the value of each token's joint in the first frame of its segment.

        Args:
            values: One value per node of the original batch.
        """
        rows = values.flatten(0, 1)[self.persons.frame_index][self.frames[:, 0]]  # (G, K)
        return rows[:, list(self.joints)].flatten()[self.token_index]

    def mean_per_joint(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "r X"]:
        """Return the mean over each joint's tokens, joints concatenated; zeros for a joint that is never visible."""
        return self._means(values).unflatten(0, (-1, len(self.joints))).flatten(1)

    def moments_per_joint(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "r X"]:
        """Return the mean and standard deviation over each joint's tokens, joints concatenated.

        A small constant under the square root keeps the gradient finite for joints with one token.
        """
        mean = self._means(values)
        variance = self._means((values - mean[self.person_joint]) ** 2)
        moments = torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)
        return moments.unflatten(0, (-1, len(self.joints))).flatten(1)

    def _means(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "P D"]:
        """Return the mean over the tokens of each joint of each person (r * J)."""
        total = values.new_zeros(self.num_persons * len(self.joints), values.shape[1])
        if isinstance(self.tokens, PaddedPacking):
            own = self.tokens.within(torch.ones_like(values[:, 0]))
            counts = total[:, 0].index_add(0, self.person_joint, own).clamp(min=1)
        else:
            counts = self.person_joint.bincount(minlength=total.shape[0]).clamp(min=1)
        return total.index_add(0, self.person_joint, self.tokens.within(values)) / counts[:, None]

    def patches(self, values: Float[Tensor, "R K C"], joints: Sequence[int]) -> Float[Tensor, "G J X"]:
        """Gather values of some joints in the frames of every segment, frame by frame: (G, J, l * C)."""
        chosen = values[:, joints][self.frames]  # (G, l, J, C)
        return chosen.transpose(1, 2).flatten(2)
