"""Slots: what the places of a frame hold once an input form has been applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ulna.core.skeleton import Skeleton

Parts = Literal["local+global", "local", "mixed"]


@dataclass(frozen=True)
class Slots:
    """Names the K places that one person has in a frame; `global_slot` is the one that holds translation, if any."""

    names: tuple[str, ...]
    global_slot: int | None = None

    @classmethod
    def of(cls, skeleton: Skeleton, parts: Parts = "local+global") -> Slots:
        """Slots of a skeleton: translation in the centre's place, the centre left out, or plain joints."""
        centre = skeleton.index(skeleton.centre)
        if parts == "mixed":
            return cls(skeleton.joints)
        if parts == "local":
            return cls(tuple(joint for joint in skeleton.joints if joint != skeleton.centre))
        return cls(skeleton.joints, centre)

    def __len__(self) -> int:
        return len(self.names)
