"""Packed batches: the frames of all clips, concatenated without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.batch.packing import Packing
from ulna.core import Clip, InputError, NodeLayout, Skeleton, get_skeleton

PADDED = "padded"  # identity of batches made from the padded arrays of released code
_TENSORS = ("position", "visible", "label")


@dataclass(frozen=True)
class Batch:
    """Clips packed without padding.

    Args:
        position: (F, P, K, 3) of all frames: joint positions in metres before preprocessing, the output of the
            preprocessor afterwards. Zeros where a node is missing.
        visible: (F, P, K) visibility mask.
        label: (B,) class index of each clip, -1 if unknown.
        packing: Start and length of each clip.
        skeleton: Skeleton of the clips.
        layout: Layout of the K nodes.
        fps: (B,) frames per second of each clip, None if unknown.
        preprocessor: Identity of the preprocessor that made the batch, None for raw positions.
        dimensions: 3, or 2 for positions in an image, whose third coordinate is zero.
        units: Units of raw positions, see `Clip`.
        index: (B,) index of each clip in its dataset, None if it comes from elsewhere.
        performance: (B,) number of the performance that each clip shows, the same for recordings of it by several
            cameras; None if unknown.
        in_image: (B,) True for clips that are positions in an image; None if `dimensions` says it of all clips.
        masked: (F, P, K) True for nodes that a pretext task hides from the encoder; None if none are.
    """

    position: Float[Tensor, "F P K 3"]
    visible: Bool[Tensor, "F P K"]
    label: Int[Tensor, " B"]
    packing: Packing
    skeleton: Skeleton
    layout: NodeLayout
    fps: np.ndarray | None = None
    preprocessor: str | None = None
    dimensions: int = 3
    units: str = "metres"
    index: Int[np.ndarray, " B"] | None = None
    performance: Int[np.ndarray, " B"] | None = None
    in_image: Bool[np.ndarray, " B"] | None = None
    masked: Bool[Tensor, "F P K"] | None = None

    @classmethod
    def pack(
        cls,
        position: Tensor,
        visible: Tensor,
        lengths: Sequence[int] | np.ndarray | Packing,
        skeleton: Skeleton,
        *,
        label: Tensor | None = None,
        fps: np.ndarray | None = None,
        dimensions: int = 3,
        units: str = "metres",
        index: np.ndarray | None = None,
    ) -> Batch:
        """Return a batch of raw joint positions.

        Args:
            position: (F, P, K, 3), clips concatenated.
            visible: (F, P, K) visibility mask.
            lengths: (B,) number of frames of each clip.
            skeleton: Skeleton of the clips.
            label: (B,) class index of each clip; -1 (unknown) by default.
            fps: (B,) frames per second of each clip.
            dimensions: 3, or 2 for positions in an image.
            units: Units of the positions, see `Clip`.
            index: (B,) index of each clip in its dataset.
        """
        packing = lengths if isinstance(lengths, Packing) else Packing(lengths, position.device)
        if label is None:
            label = torch.full((packing.num_clips,), -1, device=position.device)
        layout = NodeLayout.of(skeleton, "mixed")
        return cls(
            position, visible, label, packing, skeleton, layout, fps, dimensions=dimensions, units=units, index=index
        )

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], *, max_frames: int | None = None) -> Batch:
        """Pack clips of one skeleton.

        Args:
            clips: The clips; clips with fewer persons than others are padded with missing persons.
            max_frames: Maximum number of frames to keep per clip.

        Raises:
            InputError: If there are no clips, or skeletons, dimensions or units differ.
        """
        if not clips:
            raise InputError("expected at least one clip, found none")
        joints = clips[0].skeleton.joints
        if other := next((clip for clip in clips if clip.skeleton.joints != joints), None):
            raise InputError(
                f"expected clips of one skeleton, found {clips[0].skeleton.name!r} and {other.skeleton.name!r}"
            )
        kinds = {(clip.dimensions, clip.units) for clip in clips}
        if len(kinds) > 1:
            raise InputError(f"expected clips of the same dimensions and units, found {sorted(kinds)}")
        ((dimensions, units),) = kinds
        num_persons = max(clip.num_persons for clip in clips)
        position, visible = [], []
        for clip in clips:
            more = [(0, 0), (0, num_persons - clip.num_persons), (0, 0)]
            position.append(torch.from_numpy(np.pad(clip.position[:max_frames], [*more, (0, 0)])))
            visible.append(torch.from_numpy(np.pad(clip.visible[:max_frames], more)))
        lengths = [min(clip.num_frames, max_frames or clip.num_frames) for clip in clips]
        fps = np.array([clip.fps for clip in clips])
        return cls.pack(
            torch.cat(position), torch.cat(visible), lengths, clips[0].skeleton, fps=fps, dimensions=dimensions,
            units=units,
        )  # fmt: skip

    @classmethod
    def from_padded(
        cls,
        position: Float[Tensor, "B 3 T K P"],
        lengths: Sequence[int] | Tensor,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> Batch:
        """Return a batch from the padded, disentangled arrays of released code.

        Args:
            position: (B, 3, T, K, P) float32 or float64, translation in the centre joint. The dtype is kept. Persons
                other than the first are missing in frames in which all of their values are zero.
            lengths: (B,) number of frames of each clip without padding.
            skeleton: Skeleton of the K joints, or its name.

        Raises:
            InputError: If shape, dtype or number of joints are wrong, a length is out of range, or a value is not
                finite.
        """
        skeleton = get_skeleton(skeleton)
        position = torch.as_tensor(position)
        sizes = [int(length) for length in torch.as_tensor(lengths).flatten().tolist()]
        fits = position.ndim == 5 and position.shape[1] == 3 and position.shape[3] == skeleton.num_joints
        if not fits or 0 in position.shape or position.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"expected position (B, 3, T, {skeleton.num_joints}, P) in float32 or float64 for {skeleton.name!r}, "
                f"found {tuple(position.shape)} {position.dtype}"
            )
        if len(sizes) != len(position) or not all(1 <= size <= position.shape[2] for size in sizes):
            raise InputError(f"expected {len(position)} lengths from 1 to {position.shape[2]}, found {sizes}")
        padded = position.permute(0, 2, 4, 3, 1)  # (B, T, P, K, 3)
        packed = torch.cat([clip[:size] for clip, size in zip(padded, sizes, strict=True)])
        if not packed.isfinite().all():
            raise InputError("expected finite positions in the real frames, found NaN or infinite ones")
        visible = (packed != 0).flatten(2).any(dim=2)  # (F, P)
        visible[:, 0] = True
        batch = cls.pack(packed, visible[:, :, None].expand(packed.shape[:3]), sizes, skeleton)
        return replace(batch, layout=NodeLayout.of(skeleton), preprocessor=PADDED)

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """Return the clips of several batches of one preprocessor as one batch.

        If some are positions in an image and others are not, the batch counts as three-dimensional, and `in_image`
        tells them apart.

        Args:
            batches: Preprocessed batches, in order.

        Raises:
            InputError: If there are none, or preprocessors or numbers of persons differ.
        """
        if not batches:
            raise InputError("expected at least one batch, found none")
        first = batches[0]
        if len(batches) == 1:
            return first
        kinds = {(batch.preprocessor, batch.num_persons) for batch in batches}
        if len(kinds) > 1 or first.preprocessor is None:
            raise InputError(f"expected batches of one preprocessor and number of persons, found {kinds}")

        def joined(name: str) -> np.ndarray | None:
            values = [getattr(batch, name) for batch in batches]
            return None if any(value is None for value in values) else np.concatenate(values)

        lengths = np.concatenate([batch.packing.lengths for batch in batches])
        in_image = np.concatenate([batch.is_image for batch in batches])
        dimensions = max(batch.dimensions for batch in batches)
        return replace(
            first,
            position=torch.cat([batch.position for batch in batches]),
            visible=torch.cat([batch.visible for batch in batches]),
            label=torch.cat([batch.label for batch in batches]),
            packing=Packing(lengths, first.position.device),
            fps=joined("fps"),
            index=joined("index"),
            performance=joined("performance"),
            dimensions=dimensions,
            in_image=in_image if dimensions == 3 and in_image.any() else None,
        )

    @property
    def is_image(self) -> Bool[np.ndarray, " B"]:
        """Return True for clips that are positions in an image (B,)."""
        return np.full(self.num_clips, self.dimensions == 2) if self.in_image is None else self.in_image

    @property
    def lengths(self) -> list[int]:
        """Number of frames of each clip."""
        return [int(length) for length in self.packing.lengths]

    @property
    def num_clips(self) -> int:
        """B, the number of clips."""
        return self.packing.num_clips

    @property
    def num_frames(self) -> int:
        """F, the number of frames of all clips."""
        return self.packing.num_frames

    @property
    def num_persons(self) -> int:
        """P, the number of persons."""
        return int(self.position.shape[1])

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which copies to an accelerator are asynchronous."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in _TENSORS})

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device; copies to an accelerator are asynchronous."""
        if torch.device(device) == self.position.device:
            return self
        blocking = torch.device(device).type == "cpu"
        moved = {name: getattr(self, name).to(device, non_blocking=not blocking) for name in _TENSORS}
        return replace(self, packing=self.packing.to(device), **moved)
