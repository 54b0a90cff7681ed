"""A skeleton: joints with names, and everything that follows from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ulna.errors import InputError, shown

MOST_JOINTS = 1000
CENTRE_WORDS = (
    "thorax",
    "spine",
    "torso",
    "chest",
    "pelvis",
    "body",
    "centroid",
    "abdomen",
    "back",
    "center",
    "centre",
)
LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg")


@dataclass(frozen=True)
class Skeleton:
    """Names the joints of a body, so that no other code needs joint numbers.

    Args:
        name: Name of the skeleton.
        joints: Names of the K joints, in the order of the data.
        parents: Index of each joint's parent, -1 for a root.
        centre: Joint that other joints are expressed relative to.
        shoulders: Left and right shoulder, which define the heading; None if the skeleton has none.
        parts: Joint names of "trunk", "left_arm", "right_arm", "left_leg" and "right_leg".
        torso: Joints where the limbs meet the trunk.
        computed: Joints that files do not record, each computed as the mean of some that they do: names by joint. They
            are the last joints.

    Raises:
        InputError: If the parts do not fit together.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    centre: str
    shoulders: tuple[str, str] | None
    parts: Mapping[str, tuple[str, ...]]
    torso: tuple[str, ...]
    computed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.joints) <= MOST_JOINTS:
            raise InputError(
                f"skeleton {shown(self.name)}: expected 1 to {MOST_JOINTS} joints, found {len(self.joints)}"
            )
        problems = []
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            problems.append("joint names must be given and unique")
        if len(self.parents) != len(self.joints):
            problems.append(f"expected one parent per joint ({len(self.joints)}), found {len(self.parents)}")
        elif any(not -1 <= p < len(self.joints) or p == k for k, p in enumerate(self.parents)):
            problems.append("a parent must be another joint's index, or -1 for a root")
        elif self._has_cycle():
            problems.append("parents form a cycle; following them must end at a root (-1)")
        named = [self.centre, *(self.shoulders or ()), *self.torso, *(j for p in self.parts.values() for j in p)]
        unknown = sorted(set(named) - set(self.joints))
        recorded = set(self.joints[: self.num_recorded])
        if tuple(self.computed) != self.joints[self.num_recorded :]:
            problems.append("computed joints must be the last joints")
        elif not all(sources and set(sources) <= recorded for sources in self.computed.values()):
            problems.append("computed joints must be means of recorded joints")
        if unknown:
            problems.append(f"not among the joints: {', '.join(unknown)}")
        if problems:
            raise InputError(f"skeleton {shown(self.name)}: " + "; ".join(problems))

    def _has_cycle(self) -> bool:
        for joint in range(len(self.parents)):
            steps = 0
            while joint != -1:
                joint, steps = self.parents[joint], steps + 1
                if steps > len(self.parents):
                    return True
        return False

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def num_recorded(self) -> int:
        """Number of joints that files record, which come first."""
        return max(0, len(self.joints) - len(self.computed))

    def index(self, joint: str) -> int:
        """Return the index of a named joint; raises InputError, with the known names, if there is none."""
        if joint not in self.joints:
            raise InputError(f"skeleton {self.name!r} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """Index pairs (joint, parent)."""
        return tuple((k, p) for k, p in enumerate(self.parents) if p >= 0)

    @property
    def hips(self) -> tuple[int, int] | None:
        """Index of the left and the right hip, the first joints of the legs; None if the skeleton has none."""
        left, right = (self.parts.get(f"{side}_leg", ()) for side in ("left", "right"))
        return (self.index(left[0]), self.index(right[0])) if left and right else None

    @cached_property
    def outwards(self) -> tuple[tuple[int, int], ...]:
        """Index pairs (joint, neighbour nearer to the centre) of all joints connected to it, nearest first."""
        links: dict[int, list[int]] = {k: [] for k in range(self.num_joints)}
        for joint, parent in self.bones:
            links[joint].append(parent)
            links[parent].append(joint)
        centre = self.index(self.centre)
        order, queue, seen = [], [centre], {centre}
        while queue:
            joint = queue.pop(0)
            new = [other for other in links[joint] if other not in seen]
            seen.update(new)
            queue += new
            order += [(other, joint) for other in new]
        return tuple(order)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Permutation that exchanges left and right joints; applying it twice gives the identity."""
        return self.mirror_of(self.joints)

    @staticmethod
    def mirror_of(names: Sequence[str]) -> tuple[int, ...]:
        """Return the same permutation for the names of some of the joints."""
        index = {name: k for k, name in enumerate(names)}
        return tuple(index.get(_other_side(name), k) for k, name in enumerate(names))

    @cached_property
    def hops(self) -> np.ndarray:
        """Number of bones between each pair of joints (K, K); -1 if they are not connected."""
        num = self.num_joints
        hops = np.where(np.eye(num, dtype=bool), 0, -1)
        step = np.eye(num, dtype=bool)
        links = np.zeros((num, num), dtype=bool)
        for k, p in self.bones:
            links[k, p] = links[p, k] = True
        for distance in range(1, num):
            step = (step @ links) & (hops < 0)
            hops[step] = distance
        return hops

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = asdict(self) | {"parts": {name: list(joints) for name, joints in self.parts.items()}}
        if not self.computed:
            del values["computed"]  # as before there were any, so that fingerprints stay
        return values

    @classmethod
    def from_joints(
        cls, name: str, joints: Sequence[str], parents: Sequence[int], *, centre: str | None = None
    ) -> Skeleton:
        """Build a skeleton from joint names and parents alone; sides, limbs and shoulders follow from the names.

        Sides are recognised by "left"/"right" or a single "l"/"r" between separators; a limb is the subtree of
        a left-right pair; a limb is an arm if one of its names contains shoulder, arm, elbow, wrist or hand.

        Args:
            name: Name of the skeleton.
            joints: Names of the joints.
            parents: Index of each joint's parent, -1 for a root.
            centre: Name of the centre joint; by default the joint named spine, torso or chest, else the root.
        """
        joints, parents = tuple(joints), tuple(int(p) for p in parents)
        bare = cls(name, joints, parents, joints[0] if joints else "", None, {}, ())
        parts = _find_limbs(bare)
        limb_joints = {j for p in parts.values() for j in p}
        trunk = tuple(j for j in joints if j not in limb_joints)
        torso = trunk + tuple(p[0] for p in parts.values() if p)
        sides = [next((j for j in parts.get(f"{side}_arm", ()) if _is_shoulder(j)), None) for side in ("left", "right")]
        left, right = sides
        return cls(
            name=name,
            joints=joints,
            parents=parents,
            centre=centre or _guess_centre(bare, trunk),
            shoulders=(left, right) if left and right else None,
            parts={"trunk": trunk} | parts,
            torso=torso,
        )

    @classmethod
    def from_edges(
        cls, name: str, joints: Sequence[str], edges: Sequence[tuple[int, int]], *, centre: str | None = None
    ) -> Skeleton:
        """Build a skeleton from joint names and undirected bones, as a tree that grows from the centre.

        Joints that no bone connects with the centre become roots of their own.

        Args:
            name: Name of the skeleton.
            joints: Names of the joints.
            edges: Index pairs of joints that a bone connects.
            centre: Name of the centre joint; by default one whose name says so, else the one with most bones.
        """
        names = tuple(joints)
        neighbours: list[list[int]] = [[] for _ in names]
        for one, two in edges:
            if not (0 <= one < len(names) and 0 <= two < len(names)):
                raise InputError(
                    f"skeleton {shown(name)}: expected bones between {len(names)} joints, found {one, two}"
                )
            neighbours[one].append(two)
            neighbours[two].append(one)
        if centre is None and names:
            degrees = [len(own) for own in neighbours]
            by_name = [joint for word in CENTRE_WORDS for joint in names if word in joint.lower()]
            centre = by_name[0] if by_name else names[degrees.index(max(degrees))]
        parents = [-1] * len(names)
        left = [names.index(centre)] if centre in names else []
        seen: set[int] = set()
        for start in [*left, *range(len(names))]:
            queue = [] if start in seen else [start]
            seen.update(queue)
            while queue:
                joint = queue.pop(0)
                for other in neighbours[joint]:
                    if other not in seen:
                        parents[other] = joint
                        seen.add(other)
                        queue.append(other)
        return cls.from_joints(name, names, parents, centre=centre)


def _words(joint: str) -> list[str]:
    spaced = "".join(f"_{c}" if c.isupper() else c for c in joint.replace("-", "_").replace(" ", "_").replace(".", "_"))
    return [w for w in spaced.lower().split("_") if w]


def _side(joint: str) -> str | None:
    words = _words(joint)
    if "left" in words or "l" in words or joint.lower().startswith("left"):
        return "left"
    if "right" in words or "r" in words or joint.lower().startswith("right"):
        return "right"
    return None


def _other_side(joint: str) -> str:
    """Return the name of the joint on the other side; the same name if the joint has no side."""
    swaps = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))
    for left, right in swaps:
        if left in joint:
            return joint.replace(left, right)
        if right in joint:
            return joint.replace(right, left)
    attached = re.fullmatch(r"(.*[a-z0-9])([LR])([0-9]*)", joint)  # wingL, forelegR4
    if attached:
        return f"{attached[1]}{'R' if attached[2] == 'L' else 'L'}{attached[3]}"
    parts = joint.replace("-", "_").replace(".", "_").split("_")
    for a, b in (("l", "r"), ("L", "R")):
        for one, two in ((a, b), (b, a)):
            if one in parts:
                start = sum(len(p) + 1 for p in parts[: parts.index(one)])
                return joint[:start] + two + joint[start + 1 :]
    return joint


def _is_arm(joint: str) -> bool:
    return any(w in joint.lower() for w in ("shoulder", "arm", "elbow", "wrist", "hand", "clavicle", "collar"))


def _is_shoulder(joint: str) -> bool:
    lower = joint.lower()
    return "shoulder" in lower or "upperarm" in lower.replace("_", "")


def _find_limbs(skeleton: Skeleton) -> dict[str, tuple[str, ...]]:
    """Return the subtrees of the topmost joints with a side, sorted into arms and legs."""
    limbs: dict[str, list[str]] = {}
    for k, joint in enumerate(skeleton.joints):
        side, top = _side(joint), k
        if side is None:
            continue
        while skeleton.parents[top] >= 0 and _side(skeleton.joints[skeleton.parents[top]]) == side:
            top = skeleton.parents[top]
        subtree = [j for i, j in enumerate(skeleton.joints) if _is_under(skeleton, i, top)]
        kind = "arm" if any(map(_is_arm, subtree)) else "leg"
        limbs.setdefault(f"{side}_{kind}", []).append(joint)
    return {name: tuple(limbs[name]) for name in LIMBS if name in limbs}


def _is_under(skeleton: Skeleton, joint: int, ancestor: int) -> bool:
    while joint not in (-1, ancestor):
        joint = skeleton.parents[joint]
    return joint == ancestor


def _guess_centre(skeleton: Skeleton, trunk: Sequence[str]) -> str:
    for word in ("spine", "torso", "chest", "hip", "pelvis"):
        for joint in trunk:
            if word in joint.lower():
                return joint
    return skeleton.joints[skeleton.parents.index(-1)]
