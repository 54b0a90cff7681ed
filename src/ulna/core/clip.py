"""One clip: the movement of the persons in it, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ulna.core.skeleton import Skeleton

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Clip:
    """A skeleton sequence as readers give it: metres, y up, right-handed, frames first.

    `position` (T, P, K, 3) float; `present` (T, P, K) bool, False where a joint was not seen (its position is then
    zero); `label` an index into the data set's classes, None if unknown; `splits` maps a split's name to "train",
    "test" or nothing where the clip takes no part.
    """

    id: str
    position: np.ndarray
    skeleton: Skeleton
    present: np.ndarray = field(default=None)  # type: ignore[arg-type]
    fps: float = 30.0
    label: int | None = None
    subject: int | None = None
    view: int | None = None
    setup: int | None = None
    splits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.position.shape
        if len(shape) != 4 or shape[2:] != (self.skeleton.num_joints, 3) or shape[0] < 1 or shape[1] < 1:
            raise ValueError(
                f"clip {self.id!r}: expected positions (T, P, {self.skeleton.num_joints}, 3) with at least one frame "
                f"and one person, got {shape}"
            )
        if self.position.dtype.kind != "f":
            raise ValueError(f"clip {self.id!r}: expected positions in floating point, got {self.position.dtype}")
        if not (isinstance(self.id, str) and self.id and np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"clip {self.id!r}: expected a name and frames a second above 0, got fps {self.fps}")
        for name in ("label", "subject", "view", "setup"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or abs(value) >= 2**31):
                raise ValueError(f"clip {self.id!r}, {name}: expected a whole number below 2^31, got {value!r}")
        if self.present is None:
            object.__setattr__(self, "present", np.ones(shape[:3], dtype=bool))
        elif self.present.shape != shape[:3] or self.present.dtype != bool:
            raise ValueError(f"clip {self.id!r}: expected present bool {shape[:3]}, got {self.present.shape}")

    @property
    def num_frames(self) -> int:
        return int(self.position.shape[0])

    @property
    def num_persons(self) -> int:
        return int(self.position.shape[1])


def present_from_zeros(position: np.ndarray) -> np.ndarray:
    """(T, P, K) bool: what formats that write zeros for unseen joints mean. Seen joints are never at the origin."""
    return np.asarray((position != 0).any(axis=-1))
