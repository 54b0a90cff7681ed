"""Packing: where each clip lies in a packed batch, and how attention over time sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Clips of like length, padded together for attention over time alone."""

    rows: Tensor  # (b, T) packed row of each place; padding repeats the clip's first row
    valid: Tensor | None  # (b, T) bool, None where all lengths are equal
    flat: Tensor  # (n,) places of the valid rows in the flattened (b * T)


class Packing:
    """The frames of B clips lie one after another; this knows where each begins.

    `lengths` is a host array, so that shapes never wait for a device; index tensors are made on first use.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if self.lengths.ndim != 1 or not len(self.lengths) or (self.lengths < 1).any():
            raise ValueError(f"expected one length of at least 1 a clip, got {self.lengths.tolist()}")
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.device = torch.device(device)

    @property
    def num_clips(self) -> int:
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> Packing:
        return self if torch.device(device) == self.device else Packing(self.lengths, device)

    @cached_property
    def clip(self) -> Tensor:
        """(F,) clip of each frame."""
        return self._tensor(np.repeat(np.arange(self.num_clips), self.lengths))

    @cached_property
    def time(self) -> Tensor:
        """(F,) place of each frame in its clip, from 0."""
        return self._tensor(np.arange(self.num_frames) - np.repeat(self.starts, self.lengths))

    @cached_property
    def start(self) -> Tensor:
        """(F,) packed row of the first frame of each frame's clip."""
        return self._tensor(np.repeat(self.starts, self.lengths))

    def mean(self, values: Tensor) -> Tensor:
        """(F, W) -> (B, W): mean over each clip's frames."""
        total = values.new_zeros(self.num_clips, *values.shape[1:]).index_add(0, self.clip, values)
        return total / self._tensor(self.lengths).view(-1, *(1,) * (values.ndim - 1))

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """(F, ...) -> one (T, ...) a clip."""
        return values.split(self.lengths.tolist())

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Clips gathered by like length (within 30 %), so that padding them costs little."""
        order = np.argsort(self.lengths, kind="stable")
        groups: list[list[int]] = []
        for clip in order:
            if groups and self.lengths[clip] <= 1.3 * self.lengths[groups[-1][0]] + 2:
                groups[-1].append(int(clip))
            else:
                groups.append([int(clip)])
        return tuple(self._group(np.array(clips)) for clips in groups)

    @cached_property
    def ungroup(self) -> Tensor:
        """(F,) where each packed row lies once the groups' valid rows are put one after another."""
        rows = torch.cat([group.rows.flatten()[group.flat] for group in self.groups])
        places = torch.empty_like(rows)
        places[rows] = torch.arange(len(rows), device=rows.device)
        return places

    def _group(self, clips: np.ndarray) -> Group:
        lengths = self.lengths[clips]
        time = np.arange(lengths.max())
        valid = time < lengths[:, None]
        rows = self.starts[clips][:, None] + np.where(valid, time, 0)
        return Group(
            rows=self._tensor(rows),
            valid=None if valid.all() else self._tensor(valid),
            flat=self._tensor(np.flatnonzero(valid)),
        )

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)
