"""Slots: what the places of a frame hold once an input form has been applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ulna.core.skeleton import Skeleton

Parts = Literal["local+global", "local", "mixed"]


@dataclass(frozen=True)
class Slots:
    """Names the K places that one person has in a frame; `global_slot` is the one that holds translation, if any.

    `skeleton` is the one that they belong to, for encoders that know of limbs and bones.
    """

    names: tuple[str, ...]
    global_slot: int | None = None
    skeleton: Skeleton | None = field(default=None, compare=False)

    @classmethod
    def of(cls, skeleton: Skeleton, parts: Parts = "local+global") -> Slots:
        """Slots of a skeleton: translation in the centre's place, the centre left out, or plain joints."""
        names = skeleton.joints
        if parts == "local":
            names = tuple(joint for joint in names if joint != skeleton.centre)
        return cls(names, skeleton.index(skeleton.centre) if parts == "local+global" else None, skeleton)

    def __len__(self) -> int:
        return len(self.names)

    def places(self, joints: tuple[str, ...]) -> list[int]:
        """Where some joints stand; those that have no slot are left out."""
        return [k for k, name in enumerate(self.names) if name in joints]
