"""One clip: the motion of the persons in it, and its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from ulna.core.skeleton import Skeleton
from ulna.errors import InputError, shown

TRAIN, TEST = "train", "test"
Units = Literal["metres", "millimetres", "pixels", "relative"]
UNITS: tuple[Units, ...] = get_args(Units)
FARTHEST = 1e9
"""Largest coordinate of a visible joint, in any unit."""
SLOWEST, FASTEST = 1e-3, 1e6  # frames per second


@dataclass(frozen=True)
class Clip:
    """A skeleton sequence, frames first.

    Three-dimensional positions are right-handed with y up, in metres unless `units` says otherwise. Two-dimensional
    positions are those of an image: x to the right, y down, in pixels or relative to the size of the image; their third
    coordinate is zero. Preprocessors turn them upright and scale them.

    Args:
        id: Name that is unique within a dataset.
        position: Joint positions (T, P, K, 3), or (T, P, K, 2) for two dimensions, floating point. Joints that the
            skeleton computes from others may be left out: K is then `skeleton.num_recorded`.
        skeleton: Names and hierarchy of the K joints.
        visible: Visibility mask (T, P, K) bool, False where a joint is missing (its position is then zero). All joints
            are visible by default.
        fps: Frames per second.
        label: Name of the class, None if unknown.
        subject: Number of the person recorded, None if unknown.
        view: Number of the camera or viewpoint, None if unknown.
        setup: Number of the recording setup, None if unknown.
        splits: "train" or "test" by name of a split; a split that does not use the clip is left out.
        dimensions: 3, or 2 for positions in an image; follows from the shape if `position` is (T, P, K, 2).
        units: "metres", "millimetres", "pixels", or "relative": without a physical unit, such as shares of an image's
            size.
        confidence: Confidence (T, P, K) of each joint as the file states it, None if it states none.
        image_size: Width and height of the image in pixels, None if unknown.
        tracks: Name of each person (P), such as a track id of the file, None if unknown.
        frame_numbers: Number (T,) of each frame in the recording it comes from; None means 0, 1, 2, ...
        recording: Name of the recording that the clip was cut from; None if it is one of its own.
        group: Name of a group of clips that must not be divided by a split, such as a household; None if there is none.

    Raises:
        InputError: If the shapes or types do not fit.
    """

    id: str
    position: np.ndarray
    skeleton: Skeleton
    visible: np.ndarray = field(default=None)  # type: ignore[arg-type]
    fps: float = 30.0
    label: str | None = None
    subject: int | None = None
    view: int | None = None
    setup: int | None = None
    splits: dict[str, str] = field(default_factory=dict)
    dimensions: int = 3
    units: Units = "metres"
    confidence: np.ndarray | None = None
    image_size: tuple[int, int] | None = None
    tracks: tuple[str, ...] | None = None
    frame_numbers: np.ndarray | None = None
    recording: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        name = f"clip {shown(self.id)}"
        position = self.position
        counts = (self.skeleton.num_joints, self.skeleton.num_recorded)
        shape = position.shape
        if len(shape) != 4 or shape[2] not in counts or shape[3] not in (2, 3) or shape[0] < 1 or shape[1] < 1:
            raise InputError(
                f"{name}: expected positions (T, P, {' or '.join(map(str, sorted(set(counts))))}, 3) with at least one "
                f"frame and one person, found {shape}"
            )
        if position.dtype.kind != "f":
            raise InputError(f"{name}: expected positions in floating point, found {position.dtype}")
        if shape[3] == 2:
            self._set("position", np.concatenate([position, np.zeros_like(position[..., :1])], axis=-1))
            self._set("dimensions", 2)
        if self.visible is None:
            self._set("visible", np.ones(shape[:3], dtype=bool))
        elif self.visible.shape != shape[:3] or self.visible.dtype != bool:
            raise InputError(f"{name}: expected visible bool {shape[:3]}, found {self.visible.shape}")
        if (np.abs(position) > FARTHEST)[self.visible].any():
            raise InputError(
                f"{name}: expected coordinates up to {FARTHEST:g}, found larger ones. Mark missing joints."
            )
        if self.confidence is not None:
            if self.confidence.shape != shape[:3] or self.confidence.dtype.kind != "f":
                raise InputError(f"{name}: expected confidence {shape[:3]}, found {self.confidence.shape}")
            self._set("confidence", self.confidence.astype(np.float32))
        if shape[2] < self.skeleton.num_joints:
            self._compute_joints()
        self._check_metadata(name)

    def of_person(self, person: int) -> Clip:
        """Return the clip with one of its persons only.

        Args:
            person: Number of the person, from 0.
        """
        part = slice(person, person + 1)
        return replace(
            self,
            position=self.position[:, part],
            visible=self.visible[:, part],
            confidence=None if self.confidence is None else self.confidence[:, part],
            tracks=None if self.tracks is None else self.tracks[part],
        )

    def _check_metadata(self, name: str) -> None:
        """Raise InputError for metadata of a wrong type or shape."""
        if not (isinstance(self.id, str) and self.id and SLOWEST <= self.fps <= FASTEST):
            raise InputError(
                f"{name}: expected a name and {SLOWEST:g} to {FASTEST:g} frames per second, found fps {self.fps}"
            )
        for key in ("label", "recording", "group"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, str) and value):
                kind = "the name of a class" if key == "label" else "a name"
                raise InputError(f"{name}, {key}: expected {kind}, found {shown(value)}")
        for key in ("subject", "view", "setup"):
            value = getattr(self, key)
            if value is not None and (type(value) is not int or abs(value) >= 2**31):
                raise InputError(f"{name}, {key}: expected a whole number below 2^31, found {shown(value)}")
        if self.dimensions not in (2, 3) or (self.dimensions == 2 and self.position[..., 2].any()):
            raise InputError(f"{name}: expected 3 dimensions, or 2 with z = 0, found {shown(self.dimensions)}")
        if self.units not in UNITS:
            raise InputError(f"{name}: expected units among {', '.join(UNITS)}, found {shown(self.units)}")
        size = self.image_size
        if size is not None and not (len(size) == 2 and all(type(n) is int and 0 < n < 2**31 for n in size)):
            raise InputError(f"{name}: expected image_size (width, height), found {shown(size)}")
        if self.tracks is not None and len(self.tracks) != self.num_persons:
            raise InputError(f"{name}: expected {self.num_persons} names in tracks, found {shown(self.tracks)}")
        numbers = self.frame_numbers
        if numbers is not None and (numbers.shape != (self.num_frames,) or numbers.dtype.kind not in "iu"):
            raise InputError(f"{name}: expected frame_numbers ({self.num_frames},), found {numbers.shape}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _compute_joints(self) -> None:
        """Append the joints that the skeleton computes from the recorded ones."""
        position, visible, confidence = [self.position], [self.visible], [self.confidence]
        for sources in self.skeleton.computed.values():
            joints = [self.skeleton.index(joint) for joint in sources]
            there: np.ndarray = np.all(self.visible[:, :, joints], axis=2, keepdims=True)
            mean = self.position[:, :, joints].mean(axis=2, keepdims=True)
            position.append(np.where(there[..., None], mean, 0).astype(self.position.dtype))
            visible.append(there)
            if self.confidence is not None:
                confidence.append(self.confidence[:, :, joints].min(axis=2, keepdims=True))
        self._set("position", np.concatenate(position, axis=2))
        self._set("visible", np.concatenate(visible, axis=2))
        if self.confidence is not None:
            self._set("confidence", np.concatenate([c for c in confidence if c is not None], axis=2))

    @property
    def num_frames(self) -> int:
        """T, the number of frames."""
        return int(self.position.shape[0])

    @property
    def start_time(self) -> float:
        """Time of the first frame in seconds from the start of its recording; 0 if that is unknown."""
        return 0.0 if self.frame_numbers is None else max(0.0, float(self.frame_numbers[0]) / self.fps)

    @property
    def num_persons(self) -> int:
        """P, the number of persons."""
        return int(self.position.shape[1])


def visible_from_zeros(position: np.ndarray) -> np.ndarray:
    """Return the visibility mask (T, P, K) of formats that write zeros for missing joints."""
    return np.asarray((position != 0).any(axis=-1))
