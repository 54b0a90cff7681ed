"""Input of Motion-Transformer: every clip is scaled to the range from -1 to 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ulna.batch import Batch
from ulna.batch.transforms import interpolate_gaps
from ulna.core import NodeLayout
from ulna.preprocessing.base import FrameCount, Preprocessor
from ulna.preprocessing.disentangled import Gaps
from ulna.preprocessing.heading import (
    Heading,
    align_heading,
    forward_fill,
    reference_person,
    reference_persons,
)
from ulna.preprocessing.scaling import every_nth, every_nth_frame, scaled

WhichPersons = Literal["all", "first"]


class MinMax(Preprocessor):
    """Joints relative to the first person's centre joint in every frame, each axis of a clip scaled to [-1, 1].

    This follows the preparation of NTU RGB+D by Cheng et al. (Hierarchical Transformer, ICME 2021). All persons are
    moved and rotated with the first visible one. In clips longer than `max_frames`, every n-th frame is kept, where
    n = floor(length / `max_frames`), and frames beyond `max_frames` are cut (released). Shorter clips keep their
    length, whereas the released code repeats them. The released code also rotates the spine upright, which we omit.
    """

    name = "min_max"

    class Config(Preprocessor.Config):
        """Options of `MinMax`."""

        heading: Heading = "first"
        """Rotation about the vertical axis, see `Disentangled.Config`; the released code uses "first"."""
        centred: bool = True
        """Subtract the first person's centre joint in every frame."""
        persons: WhichPersons = "all"
        """Keep all persons ("all"), or only the first visible one ("first", released)."""
        gaps: Gaps = "interpolate"
        """Set missing joints to zero ("zero"), or interpolate them between the surrounding visible frames
        ("interpolate")."""
        max_frames: FrameCount = 150
        """Maximum number of frames per clip."""

    config: Config

    @property
    def needs_depth(self) -> str | None:
        """The rotation by heading."""
        return None if self.config.heading == "none" else f"heading {self.config.heading!r}"

    @property
    def frames_needed(self) -> int | None:
        """None, since long clips are subsampled."""
        return None

    def kept_frames(self, length: int) -> np.ndarray:
        """Return the indices of the frames that are kept."""
        return every_nth_frame(length, self.config.max_frames)

    def layout(self) -> NodeLayout:
        """Return the joints."""
        return NodeLayout.of(self.skeleton, "mixed")

    def normalise(self, batch: Batch) -> Batch:
        """Centre, rotate and scale every clip."""
        if self.config.gaps == "interpolate":
            batch = interpolate_gaps(batch)
        guides = reference_persons(batch)
        position, visible = batch.position, batch.visible
        if self.config.centred:
            centre, _, _ = forward_fill(guides, batch.skeleton.centre)  # (F, 1, 3)
            position = position - centre[:, :, None]
        if self.config.persons == "first":
            persons = torch.arange(batch.num_persons, device=position.device)
            others = persons != reference_person(batch)[batch.packing.first][:, None]
            visible = visible & ~others[batch.packing.clip][..., None]
        position = scaled(align_heading(position, guides, self.config.heading), visible, batch.packing)
        return every_nth(replace(batch, position=position, visible=visible), self.config.max_frames)
