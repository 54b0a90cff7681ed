"""GL-Transformer's input: global translation and local motion, facing the viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from ulna.batch import Batch
from ulna.batch.transforms import first_frames, interpolate_gaps, resample, resample_long
from ulna.core import Clip, InputError, NodeLayout, Parts
from ulna.preprocessing.base import FrameCount, Preprocessor, nearest_frames
from ulna.preprocessing.heading import Heading, align_heading, forward_fill, reference_persons
from ulna.preprocessing.scale import scale_by_torso
from ulna.preprocessing.scaling import every_nth, every_nth_frame, scaled
from ulna.preprocessing.view import view_by_first_frame

LongClips = Literal["cut", "resample", "stride"]
View = Literal["none", "first"]
Scale = Literal["none", "axis", "clip", "torso"]
Persons = Literal["separate", "together"]
Gaps = Literal["zero", "interpolate"]


class Disentangled(Preprocessor):
    """Local motion relative to the centre joint, and the translation of the centre joint since the first frame.

    Kim et al. 2022 (arXiv 2207.06101), section 3.1.
    """

    name = "disentangled"

    class Config(Preprocessor.Config):
        """Options of `Disentangled`."""

        heading: Heading = "exact"
        """Rotation about the vertical axis that aligns the shoulders with the x axis: in every frame ("exact", or
        "released" for the method of the authors' code), once per clip by its average heading ("clip") or by its first
        frame ("first"), or not at all ("none")."""
        parts: Parts = "local+global"
        """Motion representation (Table 1 of the paper): "local+global" replaces the centre joint by the translation
        (row 3), "local" omits both (row 2), "mixed" keeps positions relative to the first frame's centre (row 1)."""
        persons: Persons = "separate"
        """Normalise each person by their own start position and shoulders ("separate", paper), or all persons by those
        of the first visible one ("together"), which keeps their relative position and heading."""
        gaps: Gaps = "zero"
        """Set missing joints to zero ("zero"; the centre and the shoulders are forward-filled), or interpolate them
        between the surrounding visible frames ("interpolate")."""
        num_frames: FrameCount | None = None
        """Number of frames to resample every clip to; None keeps its original speed."""
        long_clips: LongClips = "cut"
        """Cut clips longer than `max_frames` ("cut", paper), resample them to `max_frames` ("resample"), or keep every
        n-th frame, n = floor(length / `max_frames`), and cut what is left ("stride", Predict & Cluster)."""
        view: View = "none"
        """Rotate and move clips so that their first frame shows an upright body that faces the viewer ("first",
        Predict & Cluster), or not ("none"). Replaces `heading`."""
        scale: Scale = "none"
        """Keep metres ("none"), or scale the whole clip, before frames are selected, so that every axis fills [-1, 1]
        ("axis", Predict & Cluster and CTR-GCN) or the longest axis does and angles are kept ("clip"), or so that the
        torso of the first visible person is half a metre long ("torso")."""

    config: Config

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        if config.num_frames is not None and config.num_frames > config.max_frames:
            raise InputError(
                f"num_frames: expected at most max_frames ({config.max_frames}), found {config.num_frames}"
            )

    @property
    def needs_depth(self) -> str | None:
        """The rotation by heading or view."""
        if self.config.view != "none":
            return f"view {self.config.view!r}"
        return None if self.config.heading == "none" else f"heading {self.config.heading!r}"

    @property
    def frames_needed(self) -> int | None:
        """All frames if clips are resampled, subsampled or scaled."""
        config = self.config
        cuts = config.num_frames is None and config.long_clips == "cut" and config.scale == "none"
        return config.max_frames if cuts else None

    def kept_frames(self, length: int) -> np.ndarray:
        """Return the indices of the frames nearest to those that a clip is resampled to."""
        config = self.config
        if config.num_frames is not None:
            return nearest_frames(length, config.num_frames)
        if config.long_clips == "stride":
            return every_nth_frame(length, config.max_frames)
        if config.long_clips == "cut":
            return np.arange(min(length, config.max_frames))
        return super().kept_frames(length)

    def layout(self) -> NodeLayout:
        """Return the joints, with or without a root that holds the translation."""
        return NodeLayout.of(self.skeleton, self.config.parts)

    def normalise(self, batch: Batch) -> Batch:
        """Disentangle translation and local motion."""
        batch = self._resampled(self._in_view(batch))
        skeleton = batch.skeleton
        root = skeleton.index(skeleton.centre)
        centre, first, ever_visible = forward_fill(batch, skeleton.centre)  # (F, P, 3), (F, P), (F, P)
        guides, path = batch, centre
        if self.config.persons == "together":
            guides = reference_persons(batch)  # (F, 1, ...)
            path, first, _ = forward_fill(guides, skeleton.centre)
        origin = path.gather(0, first[..., None].expand_as(path))
        whole = batch.position - origin[:, :, None]
        local = batch.position - centre[:, :, None]
        keep = batch.visible & ever_visible[..., None]
        if self.config.parts == "mixed":
            moved = whole
        else:
            seen = keep.any(dim=2)
            moved, keep = local, keep.clone()
            moved[:, :, root] = centre - origin
            keep[:, :, root] = seen
        if self.config.view == "none" and batch.dimensions == 3:
            moved = align_heading(moved, guides, self.config.heading)
        moved = torch.where(keep[..., None], moved, 0)
        if self.config.parts == "local":
            moved, keep = (
                torch.cat([values[:, :, :root], values[:, :, root + 1 :]], dim=2) for values in (moved, keep)
            )
        return replace(batch, position=moved, visible=keep)

    def _in_view(self, batch: Batch) -> Batch:
        """Return clips with gaps interpolated, view and scale changed, as configured."""
        if self.config.gaps == "interpolate":
            batch = interpolate_gaps(batch)
        if self.config.view == "first" and batch.dimensions == 3:
            batch = replace(batch, position=view_by_first_frame(batch.position, reference_persons(batch)))
        if self.config.scale == "torso":
            return scale_by_torso(batch)
        if self.config.scale != "none":
            position = scaled(batch.position, batch.visible, batch.packing, uniform=self.config.scale == "clip")
            batch = replace(batch, position=position)
        return batch

    def _resampled(self, batch: Batch) -> Batch:
        """Return clips of their final length."""
        if self.config.num_frames is not None:
            return resample(batch, self.config.num_frames)
        if self.config.long_clips == "resample":
            return resample_long(batch, self.config.max_frames)
        if self.config.long_clips == "stride":
            return every_nth(batch, self.config.max_frames)
        return first_frames(batch, self.config.max_frames)


def disentangle(clip: Clip, *, heading: Heading = "exact") -> np.ndarray:
    """Return a clip's disentangled positions (T, P, K, 3): translation in the centre joint, local motion elsewhere.

    Args:
        clip: The clip.
        heading: See `Disentangled.Config`.
    """
    config = Disentangled.Config(heading=heading, max_frames=clip.num_frames)
    batch = Disentangled(config, clip.skeleton, clip.num_persons)(Batch.from_clips([clip]))
    return np.asarray(batch.position.numpy())
