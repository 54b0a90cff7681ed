"""Node layout: what each node of a frame holds once a preprocessor has been applied."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from ulna.core.skeleton import Skeleton

Parts = Literal["local+global", "local", "mixed"]


@dataclass(frozen=True)
class NodeLayout:
    """Names the K nodes of one person in a frame.

    Args:
        names: Names of the nodes, mostly joints.
        root: Index of the node that holds the translation of the body, None if no node does.
        skeleton: Skeleton the nodes belong to, for encoders that use its limbs and bones.
    """

    names: tuple[str, ...]
    root: int | None = None
    skeleton: Skeleton | None = field(default=None, compare=False)

    @classmethod
    def of(cls, skeleton: Skeleton, parts: Parts = "local+global") -> NodeLayout:
        """Return the layout of a skeleton.

        Args:
            skeleton: The skeleton.
            parts: "local+global" puts the translation in place of the centre joint, "local" leaves the centre joint
                out, "mixed" keeps all joints as they are.
        """
        names = skeleton.joints
        if parts == "local":
            names = tuple(joint for joint in names if joint != skeleton.centre)
        return cls(names, skeleton.index(skeleton.centre) if parts == "local+global" else None, skeleton)

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, joints: Collection[str]) -> list[int]:
        """Return the indices of the nodes named after some joints; joints without a node are left out."""
        return [k for k, name in enumerate(self.names) if name in joints]
