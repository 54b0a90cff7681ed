"""Random augmentation of preprocessed batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from ulna.batch.batch import Batch
from ulna.batch.transforms import crop, flat, mirror, resample, rotate, rotate_yaw, scale, scale_bones, shear, shift
from ulna.core import Config, Share

Angle = Annotated[float, Field(ge=0, le=np.pi)]


@dataclass(frozen=True)
class AugmentationDraw:
    """Random numbers for the clips of a global batch.

    Args:
        time_scale: (B,) in (-1, 1).
        off_diagonal: (B, 3, 3) in (-1, 1), zeros on the diagonal.
        mirror: (B,) in (0, 1).
        yaw: (B,) in (-1, 1).
        crop: (B, 2) in (0, 1).
        angles: (B, 3) in (-1, 1).
        scale: (B,) in (-1, 1).
        shift: (B,) in (-1, 1).
        bones: (B, 3) in (-1, 1), for trunk, arms and legs.
    """

    time_scale: np.ndarray
    off_diagonal: np.ndarray
    mirror: np.ndarray
    yaw: np.ndarray
    crop: np.ndarray
    angles: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    bones: np.ndarray

    def __getitem__(self, clips: slice | np.ndarray) -> AugmentationDraw:
        """Select the random numbers of some clips."""
        return AugmentationDraw(**{name: values[clips] for name, values in vars(self).items()})


class Augmentation(Config):
    """Random augmentation of each clip, drawn anew at every training step. 0 disables an augmentation.

    The defaults are those of GL-Transformer (Kim et al. 2022, section 4.1).
    """

    time_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Maximum relative change of a clip's number of frames."""
    shear: Annotated[float, Field(ge=0, le=10)] = 0.3
    """Maximum off-diagonal value of the shear matrix."""
    mirror: Share = 0.0
    """Probability of mirroring a clip, which exchanges left and right."""
    yaw: Angle = 0.0
    """Maximum rotation about the vertical axis, in radians."""
    crop: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Maximum share of a clip to crop away; the rest is resampled to the clip's length (MAMP, HA-CM)."""
    rotate: Angle = 0.0
    """Maximum rotation about each of the three axes, in radians (MAMP, HA-CM)."""
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Maximum relative change of size."""
    shift: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Maximum shift in time, as a share of the clip; frames beyond the ends are mirrored (SkeletonCLR: 1/6)."""
    bone_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Maximum relative change of the bone lengths, one factor each for the trunk, arms and legs (SLiM: 0.15)."""

    @staticmethod
    def draw(generator: np.random.Generator, num_clips: int) -> AugmentationDraw:
        """Draw the random numbers for a batch."""
        time_scale = generator.choice([-1.0, 1.0], num_clips) * generator.random(num_clips)
        off_diagonal = generator.uniform(-1, 1, (num_clips, 3, 3)) * (1 - np.eye(3))
        swap, yaw = generator.random(num_clips), generator.uniform(-1, 1, num_clips)
        part, angles = generator.random((num_clips, 2)), generator.uniform(-1, 1, (num_clips, 3))
        size, shift = generator.uniform(-1, 1, (2, num_clips))
        bones = generator.uniform(-1, 1, (num_clips, 3))
        return AugmentationDraw(time_scale, off_diagonal, swap, yaw, part, angles, size, shift, bones)

    def __call__(self, batch: Batch, draw: AugmentationDraw, *, max_frames: int | None = None) -> Batch:
        """Augment a preprocessed batch; positions in an image are projected back into it.

        Args:
            batch: The batch.
            draw: Random numbers for its clips.
            max_frames: Maximum number of frames to keep per clip.
        """
        lengths = np.maximum(1, (batch.packing.lengths * (1 + draw.time_scale * self.time_scale)).astype(np.int64))
        if self.crop:
            share = 1 - self.crop * draw.crop[:, 0]
            batch = crop(batch, lengths, (1 - share) * draw.crop[:, 1], share, max_frames=max_frames)
        elif self.time_scale:
            batch = resample(batch, lengths, max_frames=max_frames)
        if self.shift:
            batch = shift(batch, (self.shift * draw.shift * batch.packing.lengths).round().astype(np.int64))
        if self.mirror:
            batch = mirror(batch, batch.packing.of_clips(draw.mirror < self.mirror))
        if self.shear:
            batch = shear(batch, batch.packing.of_clips(np.eye(3) + self.shear * draw.off_diagonal))
        if self.yaw:
            batch = rotate_yaw(batch, batch.packing.of_clips(self.yaw * draw.yaw))
        if self.rotate:
            batch = rotate(batch, batch.packing.of_clips(self.rotate * draw.angles))
        if self.bone_scale:
            batch = scale_bones(batch, batch.packing.of_clips(1 + self.bone_scale * draw.bones))
        if self.scale:
            batch = scale(batch, batch.packing.of_clips(1 + self.scale * draw.scale))
        return flat(batch) if batch.dimensions == 2 else batch
