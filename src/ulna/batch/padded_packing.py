"""Padded packing: clips of lengths that only the device knows, padded to one number of frames, for exported graphs."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from ulna.batch.packing import Group, Packing
from ulna.core import InputError


class PaddedPacking(Packing):
    """B clips of T frames each, of which some belong to no clip.

    A graph for other runtimes has one shape, whatever the clips are. It is therefore traced with this packing: the
    number of frames is B * T, and nothing depends on values. Frames that belong to no clip are computed and ignored.

    Args:
        valid: (B, T) True for frames that belong to a clip, at least one per clip.
    """

    def __init__(self, valid: Bool[Tensor, "B T"]) -> None:
        self.valid = valid
        self.device = valid.device

    @classmethod
    def of_sizes(cls, sizes: Tensor, num_frames: int) -> PaddedPacking:
        """Return the packing of clips with the given numbers of frames (B,), padded to `num_frames` at their end."""
        return cls(torch.arange(num_frames, device=sizes.device) < sizes[:, None])

    @property
    def num_clips(self) -> int:
        """B, the number of clips."""
        return self.valid.shape[0]

    @property
    def padded_length(self) -> int:
        """T, the number of frames that each clip is padded to."""
        return self.valid.shape[1]

    @property
    def num_frames(self) -> int:
        """B * T, the number of frames with those that belong to no clip."""
        return self.num_clips * self.padded_length

    def to(self, device: torch.device | str) -> PaddedPacking:
        """Return the packing on another device."""
        return PaddedPacking(self.valid.to(device))

    def of_clips(self, values: object) -> Tensor:  # noqa: ARG002
        """Refuse values of the host: a graph has none."""
        raise InputError("expected operations on tensors only, found values per clip on the host. Cannot be exported.")

    @cached_property
    def sizes(self) -> Tensor:
        """(B,) number of frames of each clip."""
        return self.valid.sum(dim=1)

    @cached_property
    def first(self) -> Tensor:
        """(B,) index of each clip's first frame."""
        return torch.arange(self.num_clips, device=self.device) * self.padded_length

    @cached_property
    def clip(self) -> Tensor:
        """(F,) index of each frame's clip."""
        clips = torch.arange(self.num_clips, device=self.device)
        return clips[:, None].expand(self.valid.shape).flatten()

    def is_longer_than(self, num_frames: int) -> bool:  # noqa: ARG002
        """Return False: lengths are not known on the host, and preprocessors shorten clips."""
        return False

    def take(self, clips: Tensor) -> PaddedPacking:
        """Return the packing of some clips (b,), given by their indices."""
        return PaddedPacking(self.valid.index_select(0, clips))

    def of_length(self, num_frames: int) -> PaddedPacking:
        """Return the packing of as many clips that all have `num_frames` frames."""
        return PaddedPacking(self.valid[:, :1].expand(-1, num_frames))

    def at_most(self, num_frames: int) -> PaddedPacking:
        """Return the packing of the clips if each keeps at most `num_frames` frames."""
        return self.of_sizes(self.sizes.clamp(max=num_frames), torch.sym_min(self.padded_length, num_frames))

    def every_nth(self, max_frames: int) -> tuple[PaddedPacking, Tensor]:
        """Return the packing of every n-th frame of each clip, and n (B,): the floor of length / `max_frames`, or 1."""
        steps = (self.sizes // max_frames).clamp(min=1)
        sizes = ((self.sizes + steps - 1) // steps).clamp(max=max_frames)
        return self.of_sizes(sizes, torch.sym_min(self.padded_length, max_frames)), steps

    def divided(self, num_frames: int) -> PaddedPacking:
        """Return the packing of segments of `num_frames` frames of each clip, the last of which may be incomplete."""
        more = num_frames - 1
        return self.of_sizes((self.sizes + more) // num_frames, (self.padded_length + more) // num_frames)

    def with_front(self, num: int) -> PaddedPacking:
        """Return the packing with `num` more frames at the start of each clip."""
        front = torch.ones(self.num_clips, num, dtype=torch.bool, device=self.device)
        return PaddedPacking(torch.cat([front, self.valid], dim=1))

    def apart(self, gap: int) -> tuple[Tensor, int]:
        """Lay all clips in one sequence with `gap` frames after each; return where they start (B,), and its length."""
        size = self.padded_length + gap
        return torch.arange(self.num_clips, device=self.device) * size, self.num_clips * size

    def within(self, values: Tensor) -> Tensor:
        """Set the values of frames that belong to no clip to zero (or False)."""
        own = self.valid.flatten().view(-1, *(1,) * (values.ndim - 1))
        return values & own if values.dtype == torch.bool else torch.where(own, values, 0)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over each clip's frames: (F, W) -> (B, W)."""
        total = self.within(values).unflatten(0, self.valid.shape).sum(dim=1)
        return total / self.sizes.view(-1, *(1,) * (values.ndim - 1))

    def median(self, values: Tensor, known: Tensor) -> Tensor:
        """Return the (lower) median over each clip's known frames, 1 if there are none: (F,), (F,) -> (B,)."""
        known = self.within(known)
        rows = torch.where(known, values, torch.inf).unflatten(0, self.valid.shape).sort(dim=1).values
        count = known.unflatten(0, self.valid.shape).sum(dim=1)
        middle = rows.gather(1, ((count - 1).clamp(min=0) // 2)[:, None])[:, 0]
        return torch.where(count > 0, middle, 1)

    @property
    def is_uniform(self) -> bool:
        """True: the padded rows are the frames in their order."""
        return True

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """One group of all clips."""
        return (Group((self.num_clips, self.padded_length), self.valid),)
