"""Joint matching: which joint of one skeleton corresponds to which joint of another."""

from __future__ import annotations

import re
from functools import lru_cache

from ulna.core.skeleton import Skeleton
from ulna.errors import InputError

JOINT_SYNONYMS = (
    ("hip_centre", "spine_base", "pelvis", "hips", "hip", "mid_hip", "waist"),
    ("spine", "spine_mid", "torso", "spine1", "spine_naval", "waist"),
    ("shoulder_centre", "spine_shoulder", "thorax", "spine3", "spine_chest", "chest", "spine2", "neck"),
    ("neck", "shoulder_centre"),
    ("head", "head_top", "nose"),
    *((f"{side}_clavicle", f"{side}_collar") for side in ("left", "right")),
    *((f"{side}_wrist", f"{side}_hand", f"{side}_index") for side in ("left", "right")),
    *(
        (f"{side}_ankle", f"{side}_foot", f"{side}_toes", f"{side}_foot_index", f"{side}_big_toe")
        for side in ("left", "right")
    ),
)
RIG_NAMES = {
    "shoulder": "clavicle", "arm": "shoulder", "upper_arm": "shoulder", "fore_arm": "elbow", "forearm": "elbow",
    "lower_arm": "elbow", "hand": "wrist", "up_leg": "hip", "upper_leg": "hip", "leg": "knee", "lower_leg": "knee",
    "foot": "ankle", "toe_base": "foot", "toes": "foot",
}  # fmt: skip
"""Joints of character rigs, which are named after the bone that starts there."""


def match_joints(source: Skeleton, target: Skeleton) -> tuple[int | None, ...]:
    """Match the joints of two skeletons by name, then by synonym.

    The centre and the shoulders are matched first, since all other joints are expressed relative to them. No joint of
    `source` is matched twice.

    Args:
        source: Skeleton of the clips.
        target: Skeleton they are converted to.

    Returns:
        For each joint of `target` the index of its counterpart in `source`, or None.

    Raises:
        InputError: If the centre or a shoulder of `target` has no counterpart.
    """
    free = {name: k for k, name in enumerate(joint_names(source))}
    own = dict(zip(target.joints, joint_names(target), strict=True))
    needed = [target.centre, *(target.shoulders or ())]
    found: dict[str, int] = {}
    for joints, names_of in ((needed, _synonyms), (target.joints, _own_name), (target.joints, _synonyms)):
        for joint in joints:
            name = next((name for name in names_of(own[joint]) if name in free), None)
            if joint not in found and name is not None:
                found[joint] = free.pop(name)
    missing = [joint for joint in needed if joint not in found]
    if missing:
        raise InputError(
            f"joints do not match: expected counterparts of {', '.join(missing)} of skeleton {target.name!r}, found "
            f"skeleton {source.name!r} with {', '.join(source.joints)}"
        )
    return tuple(found.get(joint) for joint in target.joints)


def joint_names(skeleton: Skeleton) -> list[str]:
    """Return anatomical names of a skeleton's joints: lower case, side first, and rigs' names translated.

    LeftShoulder becomes left_shoulder, UpperArm_L of a character rig left_shoulder, and its Shoulder_L left_clavicle.
    """
    names = [_normalised(joint) for joint in skeleton.joints]
    is_rig = any(f"left_{word}" in names for word in ("arm", "upper_arm"))
    if not is_rig:
        return names
    sides = [name.partition("_") for name in names]
    return [
        f"{side}_{RIG_NAMES.get(word, word)}" if side in ("left", "right") else name
        for name, (side, _, word) in zip(names, sides, strict=True)
    ]


@lru_cache(maxsize=4096)  # streams match the same joints again and again
def _normalised(joint: str) -> str:
    """Return a joint's name in lower case, words joined by underscores and its side first."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", joint.rpartition(":")[2])
    parts = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_").split("_")
    sides = {"l": "left", "r": "right", "left": "left", "right": "right"}
    side = [sides[part] for part in parts if part in sides][:1]
    return "_".join(side + [part for part in parts if not side or part not in sides])


def _own_name(name: str) -> list[str]:
    return [name]


def _synonyms(name: str) -> list[str]:
    """Return a joint's own name, then its synonyms."""
    return [name, *(other for group in JOINT_SYNONYMS if name in group for other in group if other != name)]
