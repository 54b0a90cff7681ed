"""Places of a body: which joint of one skeleton stands for which of another."""

from __future__ import annotations

import re

from ulna.core.skeleton import Skeleton

SAME_PLACE = (
    ("hip_centre", "spine_base", "pelvis", "hips", "hip"),
    ("spine", "spine_mid", "torso", "waist"),
    ("shoulder_centre", "spine_shoulder", "chest", "neck"),
    *((f"{side}_wrist", f"{side}_hand") for side in ("left", "right")),
    *((f"{side}_ankle", f"{side}_foot", f"{side}_toes") for side in ("left", "right")),
)


def stand_ins(source: Skeleton, target: Skeleton) -> tuple[int | None, ...]:
    """For each joint of `target` the place of the joint of `source` that stands for it, None where there is none.

    Joints of one name stand for one another; then those at the same place of the body. The centre and the shoulders
    choose first, since everything else is seen from them. No joint stands for two. ValueError if one of them has none.
    """
    free = {_plain(joint): k for k, joint in enumerate(source.joints)}
    needed = [target.centre, *(target.shoulders or ())]
    found: dict[str, int] = {}
    for joints, names_of in ((needed, _names), (target.joints, _own_name), (target.joints, _names)):
        for joint in joints:
            name = next((name for name in names_of(joint) if name in free), None)
            if joint not in found and name is not None:
                found[joint] = free.pop(name)
    missing = [joint for joint in needed if joint not in found]
    if missing:
        raise ValueError(
            f"expected a skeleton with joints that stand for {', '.join(missing)} of {target.name!r}, got "
            f"{source.name!r} with {', '.join(source.joints)}"
        )
    return tuple(found.get(joint) for joint in target.joints)


def _plain(joint: str) -> str:
    """LeftShoulder, left-shoulder and left shoulder are left_shoulder."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", joint)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _own_name(joint: str) -> list[str]:
    return [_plain(joint)]


def _names(joint: str) -> list[str]:
    """Its own name first, then those of the same place."""
    name = _plain(joint)
    return [name, *(other for place in SAME_PLACE if name in place for other in place if other != name)]
