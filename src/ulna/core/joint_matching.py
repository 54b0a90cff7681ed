"""Joint matching: which joint of one skeleton corresponds to which joint of another."""

from __future__ import annotations

import re

from ulna.core.errors import InputError
from ulna.core.skeleton import Skeleton

JOINT_SYNONYMS = (
    ("hip_centre", "spine_base", "pelvis", "hips", "hip"),
    ("spine", "spine_mid", "torso", "waist"),
    ("shoulder_centre", "spine_shoulder", "chest", "neck"),
    *((f"{side}_wrist", f"{side}_hand") for side in ("left", "right")),
    *((f"{side}_ankle", f"{side}_foot", f"{side}_toes") for side in ("left", "right")),
)


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
    free = {_normalised(joint): k for k, joint in enumerate(source.joints)}
    needed = [target.centre, *(target.shoulders or ())]
    found: dict[str, int] = {}
    for joints, names_of in ((needed, _synonyms), (target.joints, _own_name), (target.joints, _synonyms)):
        for joint in joints:
            name = next((name for name in names_of(joint) if name in free), None)
            if joint not in found and name is not None:
                found[joint] = free.pop(name)
    missing = [joint for joint in needed if joint not in found]
    if missing:
        raise InputError(
            f"joints do not match: expected counterparts of {', '.join(missing)} of skeleton {target.name!r}, found "
            f"skeleton {source.name!r} with {', '.join(source.joints)}"
        )
    return tuple(found.get(joint) for joint in target.joints)


def _normalised(joint: str) -> str:
    """Return a joint's name in lower case, words joined by underscores: LeftShoulder becomes left_shoulder."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", joint)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _own_name(joint: str) -> list[str]:
    return [_normalised(joint)]


def _synonyms(joint: str) -> list[str]:
    """Return a joint's own name, then its synonyms."""
    name = _normalised(joint)
    return [name, *(other for group in JOINT_SYNONYMS if name in group for other in group if other != name)]
