"""Segments: a few frames of one joint at a time, as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.data.batch import Batch
from ulna.data.packing import Packing
from ulna.data.rows import Rows


@dataclass(frozen=True)
class Segments:
    """Everyone who is seen in a batch (`rows`), cut into segments of `length` frames; each joint of one is a token.

    Tokens are row by row, in a row segment by segment, in a segment joint by joint: token = segment * K + joint. A last
    segment that a row does not fill repeats the row's last frame.
    """

    rows: Rows
    length: int
    num_joints: int
    packing: Packing
    """The segments of each row."""
    frames: Int[Tensor, "G l"]
    """Which frames of the rows each segment holds."""

    @classmethod
    def of(cls, batch: Batch, length: int, num_joints: int) -> Segments:
        """Segments with `num_joints` tokens each; which joints these are is the encoder's business."""
        rows = Rows.of(batch)
        old = rows.batch.packing
        packing = Packing(-(-old.lengths // length), old.device)
        time = packing.time[:, None] * length + torch.arange(length, device=old.device)
        last = (old.of_clips(old.lengths) - 1)[packing.clip][:, None]
        frames = old.first[packing.clip][:, None] + torch.minimum(time, last)
        return cls(rows, length, num_joints, packing, frames)

    @property
    def num_rows(self) -> int:
        return self.packing.num_clips

    @cached_property
    def tokens(self) -> Packing:
        """The tokens of each row."""
        return Packing(self.packing.lengths * self.num_joints, self.packing.device)

    @cached_property
    def row(self) -> Int[Tensor, " N"]:
        """Row of each token."""
        return self.tokens.clip

    @cached_property
    def segment(self) -> Int[Tensor, " N"]:
        """Place of each token's segment in its row."""
        return self.tokens.time // self.num_joints

    @cached_property
    def joint(self) -> Int[Tensor, " N"]:
        """Joint of each token."""
        return self.tokens.time % self.num_joints

    def patches(self, values: Float[Tensor, "R K C"], joints: list[int]) -> Float[Tensor, "G J X"]:
        """Numbers of some joints in every frame -> those of every segment, frame by frame: (G, J, l * C)."""
        chosen = values[:, joints][self.frames]  # (G, l, J, C)
        return chosen.transpose(1, 2).flatten(2)

    def seen(self, joints: list[int]) -> Bool[Tensor, "G J"]:
        """Whether a joint is seen in any frame of a segment."""
        return self.rows.batch.present[:, 0, joints][self.frames].any(dim=1)

    def mean_of_rows(self, values: Float[Tensor, "r D"]) -> Float[Tensor, "B D"]:
        """One vector a row -> the mean over the rows of each clip."""
        clip = self.rows.there.nonzero()[:, 0]
        total = values.new_zeros(len(self.rows.there), values.shape[1]).index_add(0, clip, values)
        return total / self.rows.there.sum(dim=1, keepdim=True)


def group_sizes(segments: Segments, num_groups: int) -> np.ndarray:
    """(rows, groups): tokens of each row whose segment number leaves each remainder."""
    lengths = segments.packing.lengths[:, None]
    return (lengths - np.arange(num_groups) + num_groups - 1) // num_groups * segments.num_joints
