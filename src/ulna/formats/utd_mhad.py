"""UTD-MHAD: skeletons in .mat files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ulna.core import Clip, get_skeleton, visible_from_zeros
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, odd_subjects_train
from ulna.formats.mat5 import read_mat

NAME = re.compile(r"a([1-9][0-9]?)_s([1-8])_t([1-9])_skeleton")
ACTIONS = (
    "swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot", "draw x",
    "draw circle clockwise", "draw circle counter-clockwise", "draw triangle", "bowling", "boxing", "baseball swing",
    "tennis swing", "arm curl", "tennis serve", "push", "knock", "catch", "pick up and throw", "jog", "walk",
    "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
FILE_ORDER = (
    "head", "shoulder_centre", "spine", "hip_centre",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
)  # fmt: skip


class UTDMHAD(Format):
    """Reads `aA_sS_tT_skeleton.mat`: key `d_skel`, (20, 3, T) in metres, reordered from head first to Kinect v1 order.

    Splits: `xsub` (train on odd subjects, test on even ones), `xsub-dev` (train on subjects 1 and 5, validate on 3
    and 7).
    """

    title = "UTD-MHAD (27 classes, 8 subjects)"
    pattern = "a*_s*_t*_skeleton.mat"
    files_wanted = "aA_sS_tT_skeleton.mat"
    splits = ("xsub", "xsub-dev")
    where = "the dataset page at the University of Texas at Dallas (Skeleton.zip)"
    terms = "freely available, no licence text: do not redistribute"
    cite = "Chen, Jafari, Kehtarnavaz: UTD-MHAD, ICIP 2015"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*_skeleton.mat", "UTD-MHAD skeletons")
        return Source(files, get_skeleton("kinect_v1"), ACTIONS)

    def read(self, path: Path, source: Source) -> list[Clip]:
        match = NAME.fullmatch(path.stem)
        if not match or not 1 <= int(match[1]) <= len(ACTIONS):
            raise BadFileError(
                path, "file name", expected="aA_sS_tT_skeleton.mat with an action from 1 to 27", found=path.name
            )
        action, subject, _ = (int(part) for part in match.groups())
        order = [FILE_ORDER.index(joint) for joint in source.skeleton.joints]
        position = as_float32(path, _load(path)[order].transpose(2, 0, 1)[:, None], source.skeleton.joints)
        visible = visible_from_zeros(position)
        if not visible.any():
            raise BadFileError(path, "key 'd_skel'", expected="a body", found="only zeros (a clip with no body)")
        return [
            Clip(
                id=path.stem.removesuffix("_skeleton"),
                position=position,
                skeleton=source.skeleton,
                visible=visible,
                label=ACTIONS[action - 1],
                subject=subject,
                splits=odd_subjects_train(subject),
            )
        ]


def _load(path: Path) -> np.ndarray:
    """Read joints (20, 3, T) from a .mat file."""
    joints = read_mat(path, ["d_skel"])["d_skel"]
    if joints.ndim == 2:
        joints = joints[..., None]  # MATLAB drops the last axis of a one-frame clip
    if joints.ndim != 3 or joints.shape[:2] != (20, 3) or not joints.shape[2] or joints.dtype.kind not in "fiu":
        found = f"{joints.shape} {joints.dtype}"
        raise BadFileError(path, "key 'd_skel'", expected="numbers (20 joints, 3, T)", found=found)
    return joints
