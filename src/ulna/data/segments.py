"""Segments: a few frames of one joint at a time, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.data.batch import Batch
from ulna.data.packing import Packing
from ulna.data.rows import Rows


@dataclass(frozen=True)
class Segments:
    """Everyone who is seen in a batch (`rows`), cut into segments of `length` frames; a joint seen in one is a token.

    Tokens are row by row, in a row segment by segment, in a segment joint by joint. A last segment that a row does not
    fill repeats the row's last frame. Of a row that shows nobody all tokens stand, so that it has some.
    """

    rows: Rows
    joints: Sequence[int]
    """Which places of a person are tokens."""
    packing: Packing
    """The segments of each row."""
    frames: Int[Tensor, "G l"]
    """Which frames of the rows each segment holds."""
    kept: Int[Tensor, " N"]
    """Of all joints of all segments (G * J) those that are tokens."""
    tokens: Packing
    """The tokens of each row."""
    shows_someone: Bool[Tensor, " r"]
    """Whether anything is seen of a row."""

    @classmethod
    def of(cls, batch: Batch, length: int, joints: Sequence[int]) -> Segments:
        rows = Rows.of(batch)
        old = rows.batch.packing
        packing = Packing(-(-old.lengths // length), old.device)
        time = packing.time[:, None] * length + torch.arange(length, device=old.device)
        last = (old.of_clips(old.lengths) - 1)[packing.clip][:, None]
        frames = old.first[packing.clip][:, None] + torch.minimum(time, last)
        seen = rows.batch.present[:, 0, joints][frames].any(dim=1)  # (G, J)
        someone = packing.mean(seen.any(dim=1).float()) > 0
        kept = (seen | ~someone[packing.clip][:, None]).flatten().nonzero()[:, 0]
        counts = packing.clip[kept // len(joints)].bincount(minlength=packing.num_clips)
        tokens = Packing(counts.cpu().numpy(), old.device)
        return cls(rows, joints, packing, frames, kept, tokens, someone)

    @property
    def num_rows(self) -> int:
        return self.packing.num_clips

    @property
    def num_places(self) -> int:
        """Joints of all segments, G * J, tokens or not."""
        return self.packing.num_frames * len(self.joints)

    @cached_property
    def row(self) -> Int[Tensor, " N"]:
        """Row of each token."""
        return self.packing.clip[self.number]

    @cached_property
    def number(self) -> Int[Tensor, " N"]:
        """Segment of each token, counted over all rows."""
        return self.kept // len(self.joints)

    @cached_property
    def segment(self) -> Int[Tensor, " N"]:
        """Place of each token's segment in its row."""
        return self.packing.time[self.number]

    @cached_property
    def joint(self) -> Int[Tensor, " N"]:
        """Joint of each token, as a place among `joints`."""
        return self.kept % len(self.joints)

    @cached_property
    def row_joint(self) -> Int[Tensor, " N"]:
        """Joint of each token, counted over all rows."""
        return self.row * len(self.joints) + self.joint

    def mean_of_joints(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "r X"]:
        """One vector a token -> the mean over each joint's tokens, joints side by side; zeros for a joint not seen."""
        return self._means(values).unflatten(0, (-1, len(self.joints))).flatten(1)

    def moments_of_joints(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "r X"]:
        """The same with the standard deviation over each joint's tokens beside each mean.

        The small number under the root keeps the gradient of one token finite.
        """
        mean = self._means(values)
        variance = self._means((values - mean[self.row_joint]) ** 2)
        moments = torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)
        return moments.unflatten(0, (-1, len(self.joints))).flatten(1)

    def _means(self, values: Float[Tensor, "N D"]) -> Float[Tensor, "P D"]:
        """Over the tokens of each joint of each row (r * J)."""
        total = values.new_zeros(self.num_rows * len(self.joints), values.shape[1])
        counts = self.row_joint.bincount(minlength=len(total)).clamp(min=1)
        return total.index_add(0, self.row_joint, values) / counts[:, None]

    def patches(self, values: Float[Tensor, "R K C"], joints: Sequence[int]) -> Float[Tensor, "G J X"]:
        """Numbers of some joints in every frame -> those of every segment, frame by frame: (G, J, l * C)."""
        chosen = values[:, joints][self.frames]  # (G, l, J, C)
        return chosen.transpose(1, 2).flatten(2)
