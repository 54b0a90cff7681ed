"""Batch: the real frames of all its clips, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.core import Clip, Skeleton, Slots, get_skeleton
from ulna.data.packing import Packing

_TENSORS = ("position", "present", "absent", "label")


@dataclass(frozen=True)
class Batch:
    """Clips packed without padding; made by a store, by input forms and by augmentation.

    `absent` marks persons that are not in a clip's first frame (person 0 always counts as there), as the paper's code
    decides it;
    `present` marks joints seen in single frames, with zeros where not. `slots` says what the K places hold: before
    an input form is applied the skeleton's joints, in metres; after it what the form makes of them.
    """

    position: Float[Tensor, "F P K 3"]
    present: Bool[Tensor, "F P K"]
    absent: Bool[Tensor, "B P"]
    label: Int[Tensor, " B"]
    packing: Packing
    skeleton: Skeleton
    slots: Slots

    @classmethod
    def pack(
        cls,
        position: Tensor,
        present: Tensor,
        lengths: Sequence[int] | np.ndarray | Packing,
        skeleton: Skeleton,
        *,
        label: Tensor | None = None,
    ) -> Batch:
        """Batch of raw joint positions (F, P, K, 3) in metres; persons are absent by each clip's first frame."""
        packing = lengths if isinstance(lengths, Packing) else Packing(lengths, position.device)
        absent = ~present.any(dim=2)[packing.first]
        absent[:, 0] = False
        if label is None:
            label = torch.full((packing.num_clips,), -1, device=position.device)
        return cls(position, present, absent, label, packing, skeleton, Slots.of(skeleton, "mixed"))

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], *, max_frames: int | None = None) -> Batch:
        """Pack clips of one skeleton and number of persons, keeping their first `max_frames` frames."""
        return cls.pack(
            torch.cat([torch.from_numpy(clip.position[:max_frames]) for clip in clips]),
            torch.cat([torch.from_numpy(clip.present[:max_frames]) for clip in clips]),
            [min(clip.num_frames, max_frames or clip.num_frames) for clip in clips],
            clips[0].skeleton,
            label=torch.tensor([-1 if clip.label is None else clip.label for clip in clips]),
        )

    @classmethod
    def from_padded(
        cls,
        position: Float[Tensor, "B 3 T K P"],
        lengths: Sequence[int] | Tensor,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> Batch:
        """Batch from the padded, disentangled arrays of released code: (B, 3, T, K, P), translation in the centre slot.

        The dtype is kept. A person other than the first whose first frame is all zeros is absent. Raises ValueError
        if the joints are not the skeleton's or a length does not fit.
        """
        skeleton = get_skeleton(skeleton)
        position = torch.as_tensor(position)
        sizes = [int(length) for length in torch.as_tensor(lengths).flatten().tolist()]
        fits = position.ndim == 5 and position.shape[1] == 3 and position.shape[3] == skeleton.num_joints
        if not fits or 0 in position.shape or position.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"expected position (B, 3, T, {skeleton.num_joints}, P) in float32 or float64 for {skeleton.name!r}, "
                f"got {tuple(position.shape)} {position.dtype}"
            )
        if len(sizes) != len(position) or not all(1 <= size <= position.shape[2] for size in sizes):
            raise ValueError(f"expected {len(position)} lengths from 1 to {position.shape[2]}, got {sizes}")
        rows = position.permute(0, 2, 4, 3, 1)  # (B, T, P, K, 3)
        packed = torch.cat([clip[:size] for clip, size in zip(rows, sizes, strict=True)])
        if not packed.isfinite().all():
            raise ValueError("expected finite positions in the real frames, got NaN or infinite ones")
        there = (packed != 0).flatten(2).any(dim=2)  # (F, P)
        there[:, 0] = True
        batch = cls.pack(packed, there[:, :, None].expand(packed.shape[:3]), sizes, skeleton)
        return replace(batch, slots=Slots.of(skeleton))

    @property
    def lengths(self) -> list[int]:
        return [int(length) for length in self.packing.lengths]

    @property
    def num_clips(self) -> int:
        return self.packing.num_clips

    @property
    def num_frames(self) -> int:
        return self.packing.num_frames

    def pin_memory(self) -> Batch:
        """The batch in memory from which an accelerator copies without the host's help."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in _TENSORS})

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device; copies to an accelerator do not wait for it."""
        if torch.device(device) == self.position.device:
            return self
        waits = torch.device(device).type == "cpu"
        moved = {name: getattr(self, name).to(device, non_blocking=not waits) for name in _TENSORS}
        return replace(self, packing=self.packing.to(device), **moved)
