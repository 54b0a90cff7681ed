"""MSR-Action3D: Kinect v1 skeletons in text files."""

from __future__ import annotations

import re
from pathlib import Path

from ulna.core import Clip, get_skeleton, visible_from_zeros
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, number_table, odd_subjects_train

NAME = re.compile(r"a([0-9]{2})_s([0-9]{2})_e([0-9]{2})_skeleton3D")
ACTIONS = (
    "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw", "draw x",
    "draw tick", "draw circle", "hand clap", "two hand wave", "side boxing", "bend", "forward kick", "side kick",
    "jogging", "tennis swing", "tennis serve", "golf swing", "pick up and throw",
)  # fmt: skip
GROUPS = {
    "AS1": (2, 3, 5, 6, 10, 13, 18, 20),
    "AS2": (1, 4, 7, 8, 9, 11, 12, 14),
    "AS3": (6, 14, 15, 16, 17, 18, 19, 20),
}
FILE_ORDER = (
    "left_shoulder", "right_shoulder", "shoulder_centre", "spine", "left_hip", "right_hip", "hip_centre",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
    "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot", "head",
)  # fmt: skip
NUM_JOINTS = 20
FPS = 15.0


class MSRAction3D(Format):
    """Reads `aAA_sSS_eEE_skeleton3D.txt`: 20 rows x y z confidence per frame, in metres, 15 fps.

    Joints are reordered to Kinect v1 order. Positions of joints with a low confidence are kept as visible.

    Splits: `xsub` (the usual one: odd subjects train), `xsub-dev` (subjects 1, 5 and 9 train, 3 and 7 validate). The
    three action sets AS1, AS2 and AS3 are groups of classes.
    """

    title = "MSR-Action3D (20 classes, 10 subjects)"
    pattern = "a[0-9][0-9]_s[0-9][0-9]_e[0-9][0-9]_skeleton3D.txt"
    files_wanted = "aAA_sSS_eEE_skeleton3D.txt"
    splits = ("xsub", "xsub-dev")
    where = "the dataset page of the authors (MSRAction3DSkeletonReal3D)"
    terms = "no licence stated: research use, cite the paper, do not redistribute"
    cite = "Li, Zhang, Liu: Action recognition based on a bag of 3D points, CVPR workshops 2010"

    def open(self, source: Path) -> Source:
        files = list_files(source, "a*_s*_e*_skeleton3D.txt", "MSR-Action3D skeletons")
        groups = {name: tuple(ACTIONS[a - 1] for a in members) for name, members in GROUPS.items()}
        return Source(files, get_skeleton("kinect_v1"), ACTIONS, groups)

    def read(self, path: Path, source: Source) -> list[Clip]:
        match = NAME.fullmatch(path.stem)
        if not match or not 1 <= int(match[1]) <= len(ACTIONS):
            expected = "aAA_sSS_eEE_skeleton3D.txt with an action from 1 to 20"
            raise BadFileError(path, "file name", expected=expected, found=path.name)
        action, subject, _ = (int(part) for part in match.groups())
        table = number_table(path, 4)
        if len(table) % NUM_JOINTS:
            raise BadFileError(path, "whole file", expected="20 rows per frame", found=f"{len(table)} rows")
        order = [FILE_ORDER.index(joint) for joint in source.skeleton.joints]
        rows = table.reshape(-1, 1, NUM_JOINTS, 4)[:, :, order]
        position = as_float32(path, rows[..., :3], source.skeleton.joints)
        visible = visible_from_zeros(position)
        if not visible.any():
            raise BadFileError(path, "whole file", expected="a body", found="only zeros (a clip with no body)")
        return [
            Clip(
                id=path.stem.removesuffix("_skeleton3D"),
                position=position,
                skeleton=source.skeleton,
                visible=visible,
                fps=FPS,
                label=ACTIONS[action - 1],
                subject=subject,
                splits=odd_subjects_train(subject),
                confidence=as_float32(path, rows[..., 3:], source.skeleton.joints)[..., 0],
            )
        ]
