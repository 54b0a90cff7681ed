"""One clip: the motion of the persons in it, and its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ulna.core.errors import InputError, shown
from ulna.core.skeleton import Skeleton

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Clip:
    """A skeleton sequence in metres, y up, right-handed, frames first.

    Args:
        id: Name that is unique within a dataset.
        position: Joint positions (T, P, K, 3), floating point, in metres.
        skeleton: Names and hierarchy of the K joints.
        visible: Visibility mask (T, P, K) bool, False where a joint is missing (its position is then zero). All joints
            are visible by default.
        fps: Frames per second.
        label: Name of the class, None if unknown.
        subject: Number of the person recorded, None if unknown.
        view: Number of the camera or viewpoint, None if unknown.
        setup: Number of the recording setup, None if unknown.
        splits: "train" or "test" by name of a split; a split that does not use the clip is left out.

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

    def __post_init__(self) -> None:
        name = f"clip {shown(self.id)}"
        shape = self.position.shape
        if len(shape) != 4 or shape[2:] != (self.skeleton.num_joints, 3) or shape[0] < 1 or shape[1] < 1:
            raise InputError(
                f"{name}: expected positions (T, P, {self.skeleton.num_joints}, 3) with at least one frame and one "
                f"person, found {shape}"
            )
        if self.position.dtype.kind != "f":
            raise InputError(f"{name}: expected positions in floating point, found {self.position.dtype}")
        if not (isinstance(self.id, str) and self.id and np.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"{name}: expected a name and frames per second above 0, found fps {self.fps}")
        if self.label is not None and not (isinstance(self.label, str) and self.label):
            raise InputError(f"{name}, label: expected the name of a class, found {shown(self.label)}")
        for key in ("subject", "view", "setup"):
            value = getattr(self, key)
            if value is not None and (type(value) is not int or abs(value) >= 2**31):
                raise InputError(f"{name}, {key}: expected a whole number below 2^31, found {shown(value)}")
        if self.visible is None:
            object.__setattr__(self, "visible", np.ones(shape[:3], dtype=bool))
        elif self.visible.shape != shape[:3] or self.visible.dtype != bool:
            raise InputError(f"{name}: expected visible bool {shape[:3]}, found {self.visible.shape}")

    @property
    def num_frames(self) -> int:
        """T, the number of frames."""
        return int(self.position.shape[0])

    @property
    def num_persons(self) -> int:
        """P, the number of persons."""
        return int(self.position.shape[1])


def visible_from_zeros(position: np.ndarray) -> np.ndarray:
    """Return the visibility mask (T, P, K) of formats that write zeros for missing joints."""
    return np.asarray((position != 0).any(axis=-1))
