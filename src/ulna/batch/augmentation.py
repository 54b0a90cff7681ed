"""Random augmentation of preprocessed batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from ulna.batch.batch import Batch
from ulna.batch.transforms import (
    crop,
    flat,
    hide_joints,
    jitter,
    limbs,
    mirror,
    move,
    project,
    resample,
    rotate,
    rotate_yaw,
    scale,
    scale_bones,
    shear,
    shift,
    swing,
)
from ulna.core import Config, Share

SWINGING = 0.7  # share of the clips that swing
SWING_OF = np.array([0.3, 1.0, 0.5])  # of the joints of trunk, arms and legs, as a share of the maximum
SWINGS = (0.25, 2.0)  # periods of a swing during a clip
PITCH = 0.4  # radians; largest pitch of a virtual camera
CAMERA_DISTANCE = (2.0, 8.0)  # metres
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
        camera: (B, 4) in (0, 1): whether a clip is projected, and yaw, pitch and distance of the camera.
        hidden: (B, 2) in (0, 1): share of joints that is hidden, and whether a limb is.
        place: (B, 2) in (-1, 1).
        noise: (B,) seeds of what is drawn per joint or frame.
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
    camera: np.ndarray
    hidden: np.ndarray
    place: np.ndarray
    noise: np.ndarray

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
    camera: Share = 0.0
    """Probability of projecting a three-dimensional clip to the image of a virtual camera, from any side, looking up or
    down by at most 0.4 rad, from 2 to 8 metres. Positions then have no depth, as those from videos."""
    joint_dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Maximum share of the joints of a clip that are missing in all of its frames."""
    limb_dropout: Share = 0.0
    """Probability that all joints of one arm, one leg, both legs, or both arms of a clip are missing."""
    swing: Angle = 0.0
    """Maximum rotation of each joint and all that hangs on it, in radians: a swing about a random axis with up to two
    periods during the clip, in seven clips of ten. It is half as large for legs and a third for the trunk. Makes
    movements that are in no dataset; lengths of bones are kept."""
    offset: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Maximum shift of a clip along each horizontal axis, in metres: where a person stands relative to another."""
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Standard deviation of noise on the joints, in metres."""

    @staticmethod
    def draw(generator: np.random.Generator, num_clips: int) -> AugmentationDraw:
        """Draw the random numbers for a batch."""
        time_scale = generator.choice([-1.0, 1.0], num_clips) * generator.random(num_clips)
        off_diagonal = generator.uniform(-1, 1, (num_clips, 3, 3)) * (1 - np.eye(3))
        swap, yaw = generator.random(num_clips), generator.uniform(-1, 1, num_clips)
        part, angles = generator.random((num_clips, 2)), generator.uniform(-1, 1, (num_clips, 3))
        size, shift = generator.uniform(-1, 1, (2, num_clips))
        bones = generator.uniform(-1, 1, (num_clips, 3))
        # Seeded by what was drawn, and not drawn from the same stream, so that runs of earlier versions repeat.
        later = np.random.default_rng(bones.view(np.uint32).ravel())
        camera, hidden = later.random((num_clips, 4)), later.random((num_clips, 2))
        place = later.uniform(-1, 1, (num_clips, 2))
        noise = later.integers(2**62, size=num_clips)
        return AugmentationDraw(
            time_scale, off_diagonal, swap, yaw, part, angles, size, shift, bones, camera, hidden, place, noise
        )

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
        if self.swing:
            batch = self._swung(batch, draw)
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
        if self.offset:
            batch = move(batch, batch.packing.of_clips(self.offset * draw.place))
        if self.jitter:
            batch = self._jittered(batch, draw)
        if self.camera and batch.dimensions == 3:
            batch = self._projected(batch, draw)
        if self.joint_dropout or self.limb_dropout:
            hidden = torch.from_numpy(self._hidden(batch, draw)).to(batch.position.device)
            batch = hide_joints(batch, hidden)
        return flat(batch)

    def _swung(self, batch: Batch, draw: AugmentationDraw) -> Batch:
        """Return the batch with joints that swing: offset + amplitude * sin(2 pi * (frequency * time + phase))."""
        largest = self.swing * SWING_OF[limbs(batch.skeleton)]  # (J,)
        num_joints = len(largest)
        axes, values = [], []
        for seed in draw.noise:
            generator = np.random.default_rng([seed, 2])
            is_swinging = generator.random() < SWINGING
            axes.append(generator.standard_normal((num_joints, 3)))
            bounds = ((0.2, 1), (-0.5, 0.5), SWINGS, (0, 1))  # of amplitude, offset, frequency and phase
            drawn = np.stack([generator.uniform(low, high, num_joints) for low, high in bounds])
            drawn[:2] *= is_swinging * largest
            values.append(drawn)
        packing = batch.packing
        size, offset, frequency, phase = packing.of_clips(np.array(values))[packing.clip].unbind(dim=1)  # (F, J)
        time = (packing.time / packing.sizes[packing.clip])[:, None]
        angles = offset + size * torch.sin(2 * torch.pi * (frequency * time + phase))
        direction = np.array(axes)
        direction /= np.linalg.norm(direction, axis=2, keepdims=True)
        return swing(batch, packing.of_clips(direction), angles)

    def _jittered(self, batch: Batch, draw: AugmentationDraw) -> Batch:
        """Return the batch with noise on the joints."""
        shape = batch.position.shape[1:]
        noise = np.concatenate(
            [
                np.random.default_rng(seed).standard_normal((length, *shape), np.float32)
                for seed, length in zip(draw.noise, batch.packing.lengths, strict=True)
            ]
        )
        return jitter(batch, self.jitter * torch.from_numpy(noise).to(batch.position.device))

    def _projected(self, batch: Batch, draw: AugmentationDraw) -> Batch:
        """Return the batch with some clips seen by a virtual camera."""
        chosen, yaw, pitch, distance = draw.camera.T
        angles = np.stack([(2 * yaw - 1) * np.pi, (2 * pitch - 1) * PITCH], axis=1)
        low, high = CAMERA_DISTANCE
        of_clips = batch.packing.of_clips
        return project(batch, chosen < self.camera, of_clips(angles), of_clips(low + (high - low) * distance))

    def _hidden(self, batch: Batch, draw: AugmentationDraw) -> np.ndarray:
        """Return the nodes (B, K) that are missing; a root that holds the translation never is."""
        names, parts = batch.layout.names, batch.skeleton.parts
        arms, legs = ([parts.get(f"{side}_{kind}", ()) for side in ("left", "right")] for kind in ("arm", "leg"))
        limbs = [*arms, *legs, sum(arms, ()), sum(legs, ())]
        hidden = np.zeros((batch.num_clips, len(names)), dtype=bool)
        for clip, (seed, (share, limb)) in enumerate(zip(draw.noise, draw.hidden, strict=True)):
            generator = np.random.default_rng([seed, 1])
            hidden[clip] = generator.random(len(names)) < share * self.joint_dropout
            if limb < self.limb_dropout:
                lost = limbs[generator.integers(len(limbs))]
                hidden[clip] |= np.isin(names, lost)
        if batch.layout.root is not None:
            hidden[:, batch.layout.root] = False
        return hidden
