"""Slots: what the places of a frame hold once an input form has been applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ulna.core.skeleton import Skeleton

Parts = Literal["local+global", "local", "mixed"]


@dataclass(frozen=True)
class Slots:
    """Names the K places that one person has in a frame; `global_slot` is the one that holds translation, if any.

    `body_parts` says of each place which part of the body it belongs to ("trunk", "left_arm" ...), "" where none.
    """

    names: tuple[str, ...]
    global_slot: int | None = None
    body_parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, skeleton: Skeleton, parts: Parts = "local+global") -> Slots:
        """Slots of a skeleton: translation in the centre's place, the centre left out, or plain joints."""
        names = skeleton.joints
        if parts == "local":
            names = tuple(joint for joint in names if joint != skeleton.centre)
        part_of = {joint: part for part, joints in skeleton.parts.items() for joint in joints}
        body_parts = tuple(part_of.get(joint, "") for joint in names)
        return cls(names, skeleton.index(skeleton.centre) if parts == "local+global" else None, body_parts)

    def __len__(self) -> int:
        return len(self.names)
