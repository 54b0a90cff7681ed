"""Packing: start and length of each clip in a packed batch, and groups of clips for attention over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ulna.core import InputError

MAX_RATIO = 1.3  # clips are padded together up to this ratio of their lengths


@dataclass(frozen=True)
class Group:
    """Clips of similar length, padded together for attention over time only."""

    shape: tuple[int, int]  # number of clips, frames of the longest clip
    valid: Tensor | None  # (b, T) bool, None where all lengths are equal

    @property
    def num_rows(self) -> int:
        return self.shape[0] * self.shape[1]


class Packing:
    """Start and length of each of B clips whose frames are concatenated.

    Index tensors are created on the device on first use, from a few numbers per clip.

    Args:
        lengths: (B,) number of frames of each clip. Kept on the host, so that shapes never wait for the device.
        device: Device of the index tensors.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if self.lengths.ndim != 1 or not len(self.lengths) or (self.lengths < 1).any():
            raise InputError(f"expected one length of at least 1 per clip, found {self.lengths.tolist()}")
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

    def of_clips(self, values: np.ndarray) -> Tensor:
        """Copy one value (or array) per clip (B, ...) from the host to the device, asynchronously."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    @cached_property
    def sizes(self) -> Tensor:
        """(B,) number of frames of each clip, on the device."""
        return self.of_clips(self.lengths)

    @cached_property
    def first(self) -> Tensor:
        """(B,) index of each clip's first frame."""
        return self.of_clips(self.starts)

    @cached_property
    def clip(self) -> Tensor:
        """(F,) index of each frame's clip."""
        clips = torch.arange(self.num_clips, device=self.device)
        return clips.repeat_interleave(self.sizes, output_size=self.num_frames)

    @cached_property
    def start(self) -> Tensor:
        """(F,) index of the first frame of each frame's clip."""
        return self.first[self.clip]

    @cached_property
    def time(self) -> Tensor:
        """(F,) index of each frame within its clip, from 0."""
        return torch.arange(self.num_frames, device=self.device) - self.start

    @cached_property
    def following(self) -> Tensor:
        """(F,) index of the next frame of the same clip; a clip's last frame is followed by itself."""
        last = (self.first + self.sizes - 1)[self.clip]
        return torch.minimum(torch.arange(self.num_frames, device=self.device) + 1, last)

    def is_longer_than(self, num_frames: int) -> bool:
        """Return whether a clip has more than `num_frames` frames."""
        return bool(self.lengths.max() > num_frames)

    def take(self, clips: Tensor) -> Packing:
        """Return the packing of some clips (b,), given by their indices."""
        return Packing(self.lengths[clips.cpu().numpy()], self.device)

    def of_length(self, num_frames: int) -> Packing:
        """Return the packing of as many clips that all have `num_frames` frames."""
        return Packing(np.full_like(self.lengths, num_frames), self.device)

    def at_most(self, num_frames: int) -> Packing:
        """Return the packing of the clips if each keeps at most `num_frames` frames; itself if none is longer."""
        return Packing(self.lengths.clip(max=num_frames), self.device) if self.is_longer_than(num_frames) else self

    def every_nth(self, max_frames: int) -> tuple[Packing, Tensor]:
        """Return the packing of every n-th frame of each clip, and n (B,): the floor of length / `max_frames`, or 1.

        Each clip keeps at most `max_frames` frames.
        """
        steps = np.maximum(1, self.lengths // max_frames)
        return Packing(np.minimum(-(-self.lengths // steps), max_frames), self.device), self.of_clips(steps)

    def divided(self, num_frames: int) -> Packing:
        """Return the packing of segments of `num_frames` frames of each clip, the last of which may be incomplete."""
        return Packing(-(-self.lengths // num_frames), self.device)

    def with_front(self, num: int) -> Packing:
        """Return the packing with `num` more frames at the start of each clip."""
        return Packing(self.lengths + num, self.device)

    def apart(self, gap: int) -> tuple[Tensor, int]:
        """Lay all clips in one sequence with `gap` frames after each; return where they start (B,), and its length."""
        sizes = self.lengths + gap
        return self.of_clips(np.cumsum(sizes) - sizes), int(sizes.sum())

    def within(self, values: Tensor) -> Tensor:
        """Set the values of frames that belong to no clip to zero (or False): there are none, see `PaddedPacking`."""
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over each clip's frames: (F, W) -> (B, W)."""
        total = values.new_zeros(self.num_clips, *values.shape[1:]).index_add(0, self.clip, values)
        return total / self.sizes.view(-1, *(1,) * (values.ndim - 1))

    def median(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the (lower) median over each clip's known frames, 1 if there are none: (F,), (F,) -> (B,)."""
        parts = zip(self.split(values), self.split(known), strict=True)
        return torch.stack([part[there].median() if there.any() else part.new_ones(()) for part, there in parts])

    def moments(self, values: Tensor) -> Tensor:
        """Return the mean and standard deviation over each clip's frames: (F, W) -> (B, 2 W).

        A small constant under the square root keeps the gradient finite for clips of one frame.
        """
        mean = self.mean(values)
        variance = self.mean((values - mean[self.clip]) ** 2)
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Split (F, ...) into one (T, ...) per clip."""
        return values.split(self.lengths.tolist())

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Groups of clips of similar length, which keep padding small. Padded rows are ordered group by group."""
        return self._layout[0]

    @property
    def is_uniform(self) -> bool:
        """Whether all clips have the same length, so that the padded rows are the frames in their order."""
        return bool((self.lengths == self.lengths[0]).all())

    @cached_property
    def num_padded(self) -> int:
        """Number of padded rows of all groups."""
        return sum(group.num_rows for group in self.groups)

    @cached_property
    def padded_index(self) -> Tensor:
        """(F,) index of the padded row of each frame."""
        return self.of_clips(self._layout[1])[self.clip] + self.time

    @cached_property
    def _layout(self) -> tuple[tuple[Group, ...], np.ndarray]:
        """The groups, and (B,) index of the padded row at which each clip starts."""
        groups: list[list[int]] = []
        for clip in np.argsort(self.lengths, kind="stable"):
            if groups and self.lengths[clip] <= MAX_RATIO * self.lengths[groups[-1][0]] + 2:
                groups[-1].append(int(clip))
            else:
                groups.append([int(clip)])
        begins, made, stop = np.empty_like(self.starts), [], 0
        for clips in groups:
            lengths = self.lengths[clips]
            longest = int(lengths.max())
            begins[clips] = stop + longest * np.arange(len(clips))
            valid = None
            if (lengths < longest).any():
                valid = torch.arange(longest, device=self.device) < self.of_clips(lengths)[:, None]
            made.append(Group((len(clips), longest), valid))
            stop += made[-1].num_rows
        return tuple(made), begins
