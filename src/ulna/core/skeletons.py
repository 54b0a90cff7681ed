"""Known skeletons by name. No other file lists joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ulna.core.skeleton import LIMBS, Skeleton
from ulna.errors import InputError, unknown_name

ARM_WORDS = ("clavicle", "collar", "shoulder", "arm", "elbow", "wrist", "hand", "thumb", "pinky", "index")
LEG_WORDS = ("hip", "leg", "knee", "ankle", "foot", "heel", "toe")


def _define(
    name: str,
    tree: str,
    *,
    centre: str,
    torso: str,
    parts: Mapping[str, str] | None = None,
    shoulders: tuple[str, str] = ("left_shoulder", "right_shoulder"),
    computed: Mapping[str, str] | None = None,
) -> Skeleton:
    """Build a skeleton from "joint<parent" words in file order; joints that belong to no limb form the trunk.

    Limbs follow from the names of the joints unless they are given.
    """
    pairs = [word.partition("<")[::2] for word in tree.split()]
    joints = tuple(joint for joint, _ in pairs)
    limbs = {limb: tuple(parts[limb].split()) if parts else _limb(limb, joints) for limb in LIMBS}
    in_limbs = {joint for limb in limbs.values() for joint in limb}
    return Skeleton(
        name=name,
        joints=joints,
        parents=tuple(joints.index(parent) if parent else -1 for _, parent in pairs),
        centre=centre,
        shoulders=shoulders,
        parts={"trunk": tuple(j for j in joints if j not in in_limbs), **limbs},
        torso=tuple(torso.split()),
        computed={joint: tuple(sources.split()) for joint, sources in (computed or {}).items()},
    )


def _limb(limb: str, joints: tuple[str, ...]) -> tuple[str, ...]:
    """Return the joints of a limb by their names."""
    side, _, kind = limb.partition("_")
    words = ARM_WORDS if kind == "arm" else LEG_WORDS
    other = LEG_WORDS if kind == "arm" else ()
    return tuple(j for j in joints if side in j and any(w in j for w in words) and not any(w in j for w in other))


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

# The middle of the body, for joint sets that do not record it.
HIP_CENTRE, SHOULDER_CENTRE = "left_hip right_hip", "left_shoulder right_shoulder"
MIDDLE = {
    "hip_centre": HIP_CENTRE,
    "spine": f"{HIP_CENTRE} {SHOULDER_CENTRE}",
    "shoulder_centre": SHOULDER_CENTRE,
}
MIDDLE_TREE = "hip_centre spine<hip_centre shoulder_centre<spine"
SIDES = """
    left_shoulder<{0} right_shoulder<{0} left_elbow<left_shoulder right_elbow<right_shoulder
    left_wrist<left_elbow right_wrist<right_elbow left_hip<{1} right_hip<{1}
    left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee
"""
FACE = "nose<{0} left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye"
FEET = """
    left_big_toe<left_ankle left_small_toe<left_ankle left_heel<left_ankle
    right_big_toe<right_ankle right_small_toe<right_ankle right_heel<right_ankle
"""
LIMB_ROOTS = "left_shoulder right_shoulder left_hip right_hip"
MIDDLE_TORSO = f"hip_centre spine shoulder_centre {LIMB_ROOTS}"
COCO_TREE = FACE.format("shoulder_centre") + SIDES.format("shoulder_centre", "hip_centre")

COCO17 = _define("coco17", COCO_TREE + MIDDLE_TREE, centre="spine", torso=MIDDLE_TORSO, computed=MIDDLE)

COCO_WHOLEBODY = _define(
    "coco_wholebody", COCO_TREE + FEET + MIDDLE_TREE, centre="spine", torso=MIDDLE_TORSO, computed=MIDDLE
)

OPENPOSE18 = _define(
    "openpose18",
    """
    nose<neck neck<spine
    right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
    left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
    right_hip<hip_centre right_knee<right_hip right_ankle<right_knee
    left_hip<hip_centre left_knee<left_hip left_ankle<left_knee
    right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
    hip_centre spine<hip_centre
    """,
    centre="spine",
    torso=f"hip_centre spine neck {LIMB_ROOTS}",
    computed={"hip_centre": HIP_CENTRE, "spine": f"neck {HIP_CENTRE}"},
)

OPENPOSE25 = _define(
    "openpose25",
    f"""
    nose<neck neck<spine
    right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
    left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
    mid_hip right_hip<mid_hip right_knee<right_hip right_ankle<right_knee
    left_hip<mid_hip left_knee<left_hip left_ankle<left_knee
    right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
    {FEET}
    spine<mid_hip
    """,
    centre="spine",
    torso=f"mid_hip spine neck {LIMB_ROOTS}",
    computed={"spine": "neck mid_hip"},
)

HALPE26 = _define(
    "halpe26",
    f"""
    {FACE.format("head")} {SIDES.format("neck", "hip_centre")}
    head<neck neck<spine hip_centre
    left_big_toe<left_ankle right_big_toe<right_ankle left_small_toe<left_ankle right_small_toe<right_ankle
    left_heel<left_ankle right_heel<right_ankle
    spine<hip_centre
    """,
    centre="spine",
    torso=f"hip_centre spine neck {LIMB_ROOTS}",
    computed={"spine": "neck hip_centre"},
)

MEDIAPIPE33 = _define(
    "mediapipe33",
    f"""
    nose<shoulder_centre left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye
    right_eye_inner<nose right_eye<right_eye_inner right_eye_outer<right_eye
    left_ear<left_eye_outer right_ear<right_eye_outer mouth_left<nose mouth_right<nose
    left_shoulder<shoulder_centre right_shoulder<shoulder_centre
    left_elbow<left_shoulder right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
    left_pinky<left_wrist right_pinky<right_wrist left_index<left_wrist right_index<right_wrist
    left_thumb<left_wrist right_thumb<right_wrist
    left_hip<hip_centre right_hip<hip_centre left_knee<left_hip right_knee<right_hip
    left_ankle<left_knee right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle
    left_foot_index<left_heel right_foot_index<right_heel
    {MIDDLE_TREE}
    """,
    centre="spine",
    torso=MIDDLE_TORSO,
    computed=MIDDLE,
)

PENN13 = _define(
    "penn13",
    "head<shoulder_centre" + SIDES.format("shoulder_centre", "hip_centre") + MIDDLE_TREE,
    centre="spine",
    torso=MIDDLE_TORSO,
    computed=MIDDLE,
)

HUMAN36M = _define(
    "human36m",
    """
    pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
    left_hip<pelvis left_knee<left_hip left_ankle<left_knee
    spine<pelvis thorax<spine neck<thorax head<neck
    left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
    right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow
    """,
    centre="spine",
    torso=f"pelvis spine thorax {LIMB_ROOTS}",
)

MPII16 = _define(
    "mpii16",
    """
    right_ankle<right_knee right_knee<right_hip right_hip<pelvis left_hip<pelvis left_knee<left_hip left_ankle<left_knee
    pelvis thorax<spine neck<thorax head_top<neck
    right_wrist<right_elbow right_elbow<right_shoulder right_shoulder<thorax
    left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
    spine<pelvis
    """,
    centre="spine",
    torso=f"pelvis spine thorax {LIMB_ROOTS}",
    computed={"spine": "pelvis thorax"},
)

SMPL_TREE = """
    pelvis left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip spine2<spine1
    left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle right_foot<right_ankle
    neck<spine3 left_collar<spine3 right_collar<spine3 head<neck left_shoulder<left_collar right_shoulder<right_collar
    left_elbow<left_shoulder right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
"""
SMPL_TORSO = f"pelvis spine1 spine2 spine3 {LIMB_ROOTS}"
SMPL22 = _define("smpl22", SMPL_TREE, centre="spine1", torso=SMPL_TORSO)
SMPL24 = _define("smpl24", SMPL_TREE + "left_hand<left_wrist right_hand<right_wrist", centre="spine1", torso=SMPL_TORSO)

KINECT_AZURE = _define(
    "kinect_azure",
    """
    pelvis spine_naval<pelvis spine_chest<spine_naval neck<spine_chest
    left_clavicle<spine_chest left_shoulder<left_clavicle left_elbow<left_shoulder left_wrist<left_elbow
    left_hand<left_wrist left_hand_tip<left_hand left_thumb<left_wrist
    right_clavicle<spine_chest right_shoulder<right_clavicle right_elbow<right_shoulder right_wrist<right_elbow
    right_hand<right_wrist right_hand_tip<right_hand right_thumb<right_wrist
    left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
    right_hip<pelvis right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
    head<neck nose<head left_eye<head left_ear<head right_eye<head right_ear<head
    """,
    centre="spine_naval",
    torso=f"pelvis spine_naval spine_chest {LIMB_ROOTS}",
)

UI_PRMD = _define(
    "ui_prmd",
    """
    waist spine<waist chest<spine neck<chest head<neck head_tip<head
    left_collar<chest left_upper_arm<left_collar left_forearm<left_upper_arm left_hand<left_forearm
    right_collar<chest right_upper_arm<right_collar right_forearm<right_upper_arm right_hand<right_forearm
    left_upper_leg<waist left_lower_leg<left_upper_leg left_foot<left_lower_leg left_toes<left_foot
    right_upper_leg<waist right_lower_leg<right_upper_leg right_foot<right_lower_leg right_toes<right_foot
    """,
    centre="spine",
    torso="waist spine chest left_upper_arm right_upper_arm left_upper_leg right_upper_leg",
    shoulders=("left_upper_arm", "right_upper_arm"),
)

BANDAI_NAMCO = _define(
    "bandai_namco",
    """
    joint_Root Hips<joint_Root Spine<Hips Chest<Spine Neck<Chest Head<Neck
    Shoulder_L<Chest UpperArm_L<Shoulder_L LowerArm_L<UpperArm_L Hand_L<LowerArm_L
    Shoulder_R<Chest UpperArm_R<Shoulder_R LowerArm_R<UpperArm_R Hand_R<LowerArm_R
    UpperLeg_L<Hips LowerLeg_L<UpperLeg_L Foot_L<LowerLeg_L Toes_L<Foot_L
    UpperLeg_R<Hips LowerLeg_R<UpperLeg_R Foot_R<LowerLeg_R Toes_R<Foot_R
    """,
    centre="Spine",
    torso="Hips Spine Chest UpperArm_L UpperArm_R UpperLeg_L UpperLeg_R",
    shoulders=("UpperArm_L", "UpperArm_R"),
    parts={
        "left_arm": "Shoulder_L UpperArm_L LowerArm_L Hand_L",
        "right_arm": "Shoulder_R UpperArm_R LowerArm_R Hand_R",
        "left_leg": "UpperLeg_L LowerLeg_L Foot_L Toes_L",
        "right_leg": "UpperLeg_R LowerLeg_R Foot_R Toes_R",
    },
)

MIXAMO = _define(
    "mixamo",
    """
    Hips Spine<Hips Spine1<Spine Spine2<Spine1 Neck<Spine2 Head<Neck
    LeftShoulder<Spine2 LeftArm<LeftShoulder LeftForeArm<LeftArm LeftHand<LeftForeArm
    RightShoulder<Spine2 RightArm<RightShoulder RightForeArm<RightArm RightHand<RightForeArm
    LeftUpLeg<Hips LeftLeg<LeftUpLeg LeftFoot<LeftLeg LeftToeBase<LeftFoot
    RightUpLeg<Hips RightLeg<RightUpLeg RightFoot<RightLeg RightToeBase<RightFoot
    """,
    centre="Spine",
    torso="Hips Spine Spine1 Spine2 LeftArm RightArm LeftUpLeg RightUpLeg",
    shoulders=("LeftArm", "RightArm"),
    parts={
        "left_arm": "LeftShoulder LeftArm LeftForeArm LeftHand",
        "right_arm": "RightShoulder RightArm RightForeArm RightHand",
        "left_leg": "LeftUpLeg LeftLeg LeftFoot LeftToeBase",
        "right_leg": "RightUpLeg RightLeg RightFoot RightToeBase",
    },
)

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (
        KINECT_V2, KINECT_V1, KINECT_AZURE, SBU, CMU_BODY, COCO17, COCO_WHOLEBODY, OPENPOSE18, OPENPOSE25, HALPE26,
        MEDIAPIPE33, PENN13, MPII16, HUMAN36M, SMPL22, SMPL24, UI_PRMD, BANDAI_NAMCO, MIXAMO,
    )
}  # fmt: skip


def known_skeleton(joints: Sequence[str]) -> Skeleton | None:
    """Return the known skeleton that records joints of these names in this order, whatever their spelling."""

    def plain(name: str) -> str:
        for letter, side in (("L", "left"), ("R", "right")):  # LShoulder, as OpenPose writes
            if name[:1] == letter and name[1:2].isupper() and not name.isupper():
                name = side + name[1:]
        return "".join(c for c in name.lower() if c.isalnum())

    names = [plain(joint) for joint in joints]
    for skeleton in SKELETONS.values():
        if [plain(joint) for joint in skeleton.joints[: skeleton.num_recorded]] == names:
            return skeleton
    return None


def get_skeleton(skeleton: str | Skeleton) -> Skeleton:
    """Return the known skeleton of a name; a Skeleton is returned unchanged.

    Raises InputError, with the known names, if there is none of that name.
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if skeleton not in SKELETONS:
        raise InputError(unknown_name("skeleton", skeleton, SKELETONS))
    return SKELETONS[skeleton]
