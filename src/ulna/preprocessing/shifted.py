"""Input of HA-CM and MAMP: positions relative to the first person's start position, at a fixed length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ulna.batch import Batch
from ulna.batch.transforms import interpolate_gaps, resample, resample_long
from ulna.core import NodeLayout
from ulna.preprocessing.base import FrameCount, Preprocessor, nearest_frames
from ulna.preprocessing.disentangled import Gaps
from ulna.preprocessing.heading import Heading, align_heading, forward_fill, reference_persons


class Shifted(Preprocessor):
    """Moves all persons so that the first person's centre joint starts at the origin, and resamples to a fixed length.

    This follows the preparation of NTU RGB+D in MAMP (arXiv 2308.07092) and HA-CM (arXiv 2409.17951).
    """

    name = "shifted"

    class Config(Preprocessor.Config):
        """Options of `Shifted`."""

        centre: str | None = None
        """Joint that starts at the origin ("spine_mid" in the papers); None uses the skeleton's centre joint."""
        heading: Heading = "none"
        """Rotation about the vertical axis, see `Disentangled.Config`; "none" keeps the camera view (released)."""
        gaps: Gaps = "interpolate"
        """Set missing joints to zero ("zero"), or interpolate them between the surrounding visible frames
        ("interpolate")."""
        max_frames: FrameCount = 72
        """Number of frames to resample every clip to."""
        long_only: bool = False
        """Resample only clips longer than `max_frames`."""

    config: Config

    @property
    def needs_depth(self) -> str | None:
        """The rotation by heading."""
        return None if self.config.heading == "none" else f"heading {self.config.heading!r}"

    @property
    def frames_needed(self) -> int | None:
        """None, since clips are resampled."""
        return None

    def kept_frames(self, length: int) -> np.ndarray:
        """Return the indices of the frames nearest to those that a clip is resampled to."""
        max_frames = self.config.max_frames
        return nearest_frames(length, min(length, max_frames) if self.config.long_only else max_frames)

    def layout(self) -> NodeLayout:
        """Return the joints."""
        return NodeLayout.of(self.skeleton, "mixed")

    def normalise(self, batch: Batch) -> Batch:
        """Resample, shift and rotate every clip."""
        if self.config.gaps == "interpolate":
            batch = interpolate_gaps(batch)
        max_frames = self.config.max_frames
        batch = resample_long(batch, max_frames) if self.config.long_only else resample(batch, max_frames)
        guides = reference_persons(batch)
        path, first, _ = forward_fill(guides, self.config.centre or batch.skeleton.centre)  # (F, 1, 3), (F, 1)
        origin = path.gather(0, first[..., None].expand_as(path))
        moved = align_heading(batch.position - origin[:, :, None], guides, self.config.heading)
        return replace(batch, position=torch.where(batch.visible[..., None], moved, 0))
