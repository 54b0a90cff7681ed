"""Base class of preprocessors, which alone define how a clip is converted to the input of an encoder."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from ulna.batch import Batch, load_batch
from ulna.batch.transforms import first_frames, resample
from ulna.core import Clip, InputError, NodeLayout, Skeleton, match_joints
from ulna.core import Config as BaseConfig
from ulna.dataset import Dataset
from ulna.onnx import RATE_TOLERANCE
from ulna.preprocessing.scale import in_metres

MAX_FRAMES = 100_000
FrameCount = Annotated[int, Field(ge=1, le=MAX_FRAMES)]


@dataclass(frozen=True)
class InputSpec:
    """Specification of an encoder's input.

    Args:
        layout: Layout of the nodes of a frame.
        num_persons: P, the number of persons.
        max_frames: Maximum number of frames per clip.
        preprocessor: Identity of the preprocessor whose batches the encoder accepts; None accepts any batch of the same
            layout.
    """

    layout: NodeLayout
    num_persons: int
    max_frames: int
    preprocessor: str | None = None

    @property
    def num_nodes(self) -> int:
        """P * K, the number of nodes of all persons of a frame."""
        return self.num_persons * len(self.layout)


class Preprocessor(ABC):
    """Converts raw clips to the input of an encoder: joints, persons, frame rate, length and normalisation.

    Training, fine-tuning, embedding, prediction and analysis all use it. Each batch carries the identity of the
    preprocessor that made it, and encoders reject batches of other preprocessors.

    Args:
        config: Options.
        skeleton: Skeleton of the encoder's input.
        num_persons: P, the number of persons of the encoder's input.
        dimensions: 3, or 2 for positions in an image, which are turned upright.
        fps: Frame rate that the encoder is trained at, in frames per second. Clips of another rate are resampled to it,
            unless the options name a rate. None keeps each clip's rate.
        match_joints: Also accept clips of other skeletons and match joints by name.
        any_clips: Accept clips of two and of three dimensions, and of any number of persons, whatever `dimensions` and
            `num_persons` say. Options that need depth leave clips of two dimensions as they are; an encoder of one
            person takes the persons of a clip one by one.

    Raises:
        InputError: If the options need depth, and there are two dimensions only.
    """

    class Config(BaseConfig):
        """Options of all preprocessors."""

        max_frames: FrameCount = 300
        """Maximum number of frames per clip."""
        frame_rate: Annotated[float, Field(gt=0, le=10_000)] | None = None
        """Frame rate to resample clips to before any other step, in frames per second; None takes the rate of the clips
        that the model is trained on."""

    config: Config
    name: ClassVar[str]
    """Name in the table of preprocessors."""

    def __init__(
        self,
        config: Config,
        skeleton: Skeleton,
        num_persons: int,
        *,
        dimensions: int = 3,
        fps: float | None = None,
        match_joints: bool = False,
        any_clips: bool = False,
    ) -> None:
        self.config, self.skeleton, self.num_persons = config, skeleton, num_persons
        self.dimensions, self.match_joints, self.any_clips = dimensions, match_joints, any_clips
        self.fps = fps if config.frame_rate is None else config.frame_rate
        if dimensions == 2 and not any_clips and (need := self.needs_depth):
            raise InputError(
                f"preprocessor {self.name!r} with {need} needs depth: expected clips of 3 dimensions, found 2. "
                "Use --preprocessor.heading none, or a recipe for two dimensions."
            )

    @property
    def needs_depth(self) -> str | None:
        """The option that needs three dimensions, for messages; None if there is none."""
        return None

    @cached_property
    def spec(self) -> InputSpec:
        """Specification of an encoder for this preprocessor's batches."""
        return InputSpec(self.layout(), self.num_persons, self.config.max_frames, self.identity)

    @cached_property
    def identity(self) -> str:
        """Name and hash of everything that determines the content of a batch, without joint matching."""
        content = {
            "config": self.config.to_json(),
            "joints": self.skeleton.joints,
            "centre": self.skeleton.centre,
            "shoulders": self.skeleton.shoulders,
            "num_persons": self.num_persons,
        } | ({"dimensions": 2} if self.dimensions == 2 else {})
        return f"{self.name}:{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]}"

    def matching(self) -> Preprocessor:
        """Return the same preprocessor, but also accept clips of other skeletons by matching joints by name.

        Joints without a counterpart are missing in every frame.
        """
        return type(self)(
            self.config,
            self.skeleton,
            self.num_persons,
            dimensions=self.dimensions,
            fps=self.fps,
            match_joints=True,
            any_clips=self.any_clips,
        )

    def at_own_rate(self) -> Preprocessor:
        """Return the same preprocessor for clips that have its frame rate already, which it does not resample."""
        same = copy(self)
        same.fps = None
        return same

    def __call__(self, batch: Batch) -> Batch:
        """Preprocess a batch of raw positions.

        Positions without a physical unit are scaled so that the torso of each clip's first person is half a metre long.

        Raises:
            InputError: If the batch is already preprocessed, has too many persons or other dimensions, or has another
                skeleton and joints are not matched.
        """
        if batch.preprocessor is not None:
            raise InputError(f"expected raw positions, found a batch preprocessed by {batch.preprocessor}")
        batch = self._with_persons(self._with_joints(batch))
        if batch.units != "metres" or batch.dimensions == 2:
            batch = in_metres(batch)
        if self.fps is not None and (batch.fps is not None or self.config.frame_rate is not None):
            batch = _at_frame_rate(batch, self.fps)
        if self.frames_needed is not None:
            batch = first_frames(batch, self.frames_needed)
        return replace(self.normalise(batch), layout=self.spec.layout, preprocessor=self.identity)

    def load(self, dataset: Dataset, clips: np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """Load clips of a dataset, given by their indices (B,), and preprocess them on a device.

        Args:
            dataset: The dataset.
            clips: (B,) indices of the clips.
            device: Device of the batch.
        """
        return self(load_batch(dataset, clips, max_frames=self.frames_to_read(dataset.fps[clips])).to(device))

    def from_clips(self, clips: Sequence[Clip], device: torch.device | str = "cpu") -> Batch:
        """Pack clips and preprocess them on a device, in float32.

        Args:
            clips: Clips of one skeleton.
            device: Device of the batch.
        """
        return self(self.pack(clips).to(device))

    def pack(self, clips: Sequence[Clip]) -> Batch:
        """Pack the frames that are needed of some clips of one skeleton, in float32, without preprocessing them."""
        kept = [replace(clip, position=clip.position.astype(np.float32)) for clip in clips]
        rates = np.array([clip.fps for clip in clips])
        return Batch.from_clips(kept, max_frames=self.frames_to_read(rates))

    def check(self, skeleton: Skeleton, num_persons: int, dimensions: int = 3) -> None:
        """Raise InputError if clips with a given skeleton and number of persons cannot be preprocessed.

        Args:
            skeleton: Skeleton of the clips.
            num_persons: Maximum number of persons per clip.
            dimensions: 3, or 2 for positions in an image.
        """
        if dimensions != self.dimensions and not self.any_clips:
            raise InputError(
                f"expected clips of {self.dimensions} dimensions, found {dimensions}. "
                "Use a model that was trained on clips of as many dimensions."
            )
        if not self._is_own(skeleton):
            if not self.match_joints:
                raise InputError(
                    f"expected skeleton {self.skeleton.name!r} ({self.skeleton.num_joints} joints), found "
                    f"{skeleton.name!r} ({skeleton.num_joints} joints). Match joints by name (match_joints=True, "
                    "--match-joints), or use a model trained on that skeleton."
                )
            match_joints(skeleton, self.skeleton)
        if num_persons > self.num_persons and not self.any_clips:
            raise InputError(f"expected at most {self.num_persons} persons per clip, found {num_persons}")

    def missing_joints(self, skeleton: Skeleton) -> list[str]:
        """Return the joints of the encoder's skeleton that clips of another skeleton do not have."""
        if self._is_own(skeleton):
            return []
        matched = match_joints(skeleton, self.skeleton)
        return [name for name, joint in zip(self.skeleton.joints, matched, strict=True) if joint is None]

    @property
    def frames_needed(self) -> int | None:
        """Number of first frames of a clip that are used; None if long clips are shortened in another way."""
        return self.config.max_frames

    def frames_to_read(self, fps: np.ndarray) -> int | None:
        """Return the number of first frames of clips that must be read from a dataset; None for all.

        Args:
            fps: (B,) frames per second of the clips.
        """
        is_resampled = self.fps is not None and not all(same_rate(float(rate), self.fps) for rate in np.unique(fps))
        return None if is_resampled else self.frames_needed

    def frame_indices(self, length: int, fps: float) -> np.ndarray:
        """Return the indices of the frames of a clip that an encoder receives; the nearest ones if it is resampled.

        Args:
            length: Number of frames of the clip.
            fps: Its frames per second.
        """
        if self.fps is None:
            return self.kept_frames(length)
        resampled = _resampled_length(length, fps, self.fps)
        return nearest_frames(length, resampled)[self.kept_frames(resampled)]

    def kept_frames(self, length: int) -> np.ndarray:
        """Return the indices of the frames kept of a clip at its final frame rate; the nearest ones if resampled."""
        if self.frames_needed is None:
            return nearest_frames(length, min(length, self.config.max_frames))
        return np.arange(min(length, self.frames_needed))

    @abstractmethod
    def layout(self) -> NodeLayout:
        """Return the layout of the nodes of a frame."""

    @abstractmethod
    def normalise(self, batch: Batch) -> Batch:
        """Normalise a batch of raw positions that has the encoder's skeleton and number of persons."""

    def _is_own(self, skeleton: Skeleton) -> bool:
        """Return whether a skeleton has the joints, the centre and the shoulders of the encoder's skeleton."""
        other, own = ((s.joints, s.centre, s.shoulders) for s in (skeleton, self.skeleton))
        return other == own

    def _with_joints(self, batch: Batch) -> Batch:
        """Return the batch with the joints of the encoder's skeleton."""
        self.check(batch.skeleton, batch.num_persons, batch.dimensions)
        if self._is_own(batch.skeleton):
            return batch
        joints = match_joints(batch.skeleton, self.skeleton)
        known = [k for k, joint in enumerate(joints) if joint is not None]
        taken = [joint for joint in joints if joint is not None]
        position = batch.position.new_zeros(batch.num_frames, batch.num_persons, self.skeleton.num_joints, 3)
        visible = torch.zeros(position.shape[:3], dtype=torch.bool, device=position.device)
        position[:, :, known], visible[:, :, known] = batch.position[:, :, taken], batch.visible[:, :, taken]
        layout = NodeLayout.of(self.skeleton, "mixed")
        return replace(batch, position=position, visible=visible, skeleton=self.skeleton, layout=layout)

    def _with_persons(self, batch: Batch) -> Batch:
        """Return the batch, padded with missing persons to the encoder's number of persons."""
        missing = self.num_persons - batch.num_persons
        if missing <= 0:
            return batch
        position = torch.nn.functional.pad(batch.position, (0, 0, 0, 0, 0, missing))
        visible = torch.nn.functional.pad(batch.visible, (0, 0, 0, missing))
        return replace(batch, position=position, visible=visible)


def _at_frame_rate(batch: Batch, frame_rate: float) -> Batch:
    """Resample clips to a frame rate."""
    if batch.fps is None:
        raise InputError("expected clips with a known frame rate to resample, found clips without")
    lengths = np.array(
        [
            _resampled_length(int(n), fps, frame_rate)
            for n, fps in zip(batch.packing.lengths, batch.fps.tolist(), strict=True)
        ]
    )
    if (lengths == batch.packing.lengths).all():
        return batch
    return replace(resample(batch, lengths), fps=np.full(batch.num_clips, frame_rate))


def _resampled_length(length: int, fps: float, frame_rate: float) -> int:
    """Return the number of frames of a clip at another frame rate."""
    if same_rate(fps, frame_rate):
        return length
    return max(1, round(length * frame_rate / fps))


def same_rate(one: float, two: float) -> bool:
    """Return whether two frame rates are equal for practical purposes, such as 29.97 and 30."""
    return bool(abs(one - two) <= RATE_TOLERANCE * two)


def nearest_frames(length: int, num: int) -> np.ndarray:
    """Return the frames of a clip that are nearest to the `num` frames it is resampled to."""
    return ((np.arange(num) + 0.5) * length / num - 0.5).round().astype(int).clip(0, length - 1)
