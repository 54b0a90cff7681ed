"""Known skeletons by name. No other file lists joints."""

from __future__ import annotations

from collections.abc import Mapping

from ulna.core.errors import InputError, unknown_name
from ulna.core.skeleton import LIMBS, Skeleton


def _define(
    name: str,
    tree: str,
    *,
    centre: str,
    torso: str,
    parts: Mapping[str, str],
    shoulders: tuple[str, str] = ("left_shoulder", "right_shoulder"),
) -> Skeleton:
    """Build a skeleton from "joint<parent" words in file order; joints that belong to no limb form the trunk."""
    pairs = [word.partition("<")[::2] for word in tree.split()]
    joints = tuple(joint for joint, _ in pairs)
    limbs = {limb: tuple(parts[limb].split()) for limb in LIMBS}
    in_limbs = {joint for limb in limbs.values() for joint in limb}
    return Skeleton(
        name=name,
        joints=joints,
        parents=tuple(joints.index(parent) if parent else -1 for _, parent in pairs),
        centre=centre,
        shoulders=shoulders,
        parts={"trunk": tuple(j for j in joints if j not in in_limbs), **limbs},
        torso=tuple(torso.split()),
    )


KINECT_V2 = _define(
    "kinect_v2",
    """
    spine_base spine_mid<spine_base neck<spine_shoulder head<neck
    left_shoulder<spine_shoulder left_elbow<left_shoulder left_wrist<left_elbow left_hand<left_wrist
    right_shoulder<spine_shoulder right_elbow<right_shoulder right_wrist<right_elbow right_hand<right_wrist
    left_hip<spine_base left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
    right_hip<spine_base right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
    spine_shoulder<spine_mid
    left_hand_tip<left_hand left_thumb<left_hand right_hand_tip<right_hand right_thumb<right_hand
    """,
    centre="spine_shoulder",
    torso="spine_base spine_mid left_shoulder right_shoulder left_hip right_hip spine_shoulder",
    parts={
        "left_arm": "left_shoulder left_elbow left_wrist left_hand left_hand_tip left_thumb",
        "right_arm": "right_shoulder right_elbow right_wrist right_hand right_hand_tip right_thumb",
        "left_leg": "left_hip left_knee left_ankle left_foot",
        "right_leg": "right_hip right_knee right_ankle right_foot",
    },
)

KINECT_V1 = _define(
    "kinect_v1",
    """
    hip_centre spine<hip_centre shoulder_centre<spine head<shoulder_centre
    left_shoulder<shoulder_centre left_elbow<left_shoulder left_wrist<left_elbow left_hand<left_wrist
    right_shoulder<shoulder_centre right_elbow<right_shoulder right_wrist<right_elbow right_hand<right_wrist
    left_hip<hip_centre left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
    right_hip<hip_centre right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
    """,
    centre="spine",
    torso="hip_centre spine shoulder_centre left_shoulder right_shoulder left_hip right_hip",
    parts={
        "left_arm": "left_shoulder left_elbow left_wrist left_hand",
        "right_arm": "right_shoulder right_elbow right_wrist right_hand",
        "left_leg": "left_hip left_knee left_ankle left_foot",
        "right_leg": "right_hip right_knee right_ankle right_foot",
    },
)

SBU = _define(
    "sbu",
    """
    head<neck neck<torso torso
    left_shoulder<neck left_elbow<left_shoulder left_hand<left_elbow
    right_shoulder<neck right_elbow<right_shoulder right_hand<right_elbow
    left_hip<torso left_knee<left_hip left_foot<left_knee
    right_hip<torso right_knee<right_hip right_foot<right_knee
    """,
    centre="torso",
    torso="torso neck left_shoulder right_shoulder left_hip right_hip",
    parts={
        "left_arm": "left_shoulder left_elbow left_hand",
        "right_arm": "right_shoulder right_elbow right_hand",
        "left_leg": "left_hip left_knee left_foot",
        "right_leg": "right_hip right_knee right_foot",
    },
)

CMU_BODY = _define(
    "cmu_body",
    """
    hip waist<hip spine<waist chest<spine neck<chest head<neck
    left_clavicle<chest left_shoulder<left_clavicle left_elbow<left_shoulder left_hand<left_elbow
    right_clavicle<chest right_shoulder<right_clavicle right_elbow<right_shoulder right_hand<right_elbow
    left_hip<hip left_knee<left_hip left_ankle<left_knee left_toes<left_ankle
    right_hip<hip right_knee<right_hip right_ankle<right_knee right_toes<right_ankle
    """,
    centre="spine",
    torso="hip waist spine chest left_shoulder right_shoulder left_hip right_hip",
    parts={
        "left_arm": "left_clavicle left_shoulder left_elbow left_hand",
        "right_arm": "right_clavicle right_shoulder right_elbow right_hand",
        "left_leg": "left_hip left_knee left_ankle left_toes",
        "right_leg": "right_hip right_knee right_ankle right_toes",
    },
)

SKELETONS = {skeleton.name: skeleton for skeleton in (KINECT_V2, KINECT_V1, SBU, CMU_BODY)}


def get_skeleton(skeleton: str | Skeleton) -> Skeleton:
    """Return the known skeleton of a name; a Skeleton is returned unchanged.

    Raises InputError, with the known names, if there is none of that name.
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if skeleton not in SKELETONS:
        raise InputError(unknown_name("skeleton", skeleton, SKELETONS))
    return SKELETONS[skeleton]
