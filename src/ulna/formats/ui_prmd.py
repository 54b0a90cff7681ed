"""UI-PRMD: physical rehabilitation movements, Kinect v2 part."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from ulna.core import Clip, get_skeleton
from ulna.formats.base import (
    BadFileError,
    Format,
    Source,
    as_float32,
    list_files,
    odd_subjects_train,
    parse_table,
)
from ulna.formats.bvh import rotation_about

NAME = re.compile(r"m([0-9]{2})_s([0-9]{2})_e([0-9]{2})_positions(_inc)?\.txt(\.gz)?")
MOVEMENTS = (
    "deep squat", "hurdle step", "inline lunge", "side lunge", "sit to stand", "standing active straight leg raise",
    "standing shoulder abduction", "standing shoulder extension", "standing shoulder internal-external rotation",
    "standing shoulder scaption",
)  # fmt: skip
QUALITY = ("correct", "incorrect")
NUM_JOINTS = 22
CENTIMETRES = 0.01
LARGEST = 1 << 26  # bytes of an unpacked file

Classes = Literal["movement", "quality", "movement and quality"]


class UIPRMD(Format):
    """Reads `mMM_sSS_eEE_positions[_inc].txt[.gz]` with its file of angles, converted to metres, y up.

    Only the waist has absolute coordinates in the files. Every other position is an offset in the frame of its parent:
    position(joint) = R(parent) offset(joint) + position(parent), where R multiplies Rz(c) Ry(b) Rx(a) of the angles
    (a, b, c) from the waist up the whole chain to the parent. A published script starts anew at the collars instead;
    arms are then less alike on both sides of the body in symmetric movements (deep squat: 6.3 cm apart instead of 4.8).

    Splits: `xsub` (train on odd subjects, test on even ones), `xsub-dev` (subjects 1, 5 and 9 train, 3 and 7 validate).
    """

    classes: Classes = "movement"
    """What is a class: the movement, whether it was performed correctly, or both together."""

    title = "UI-PRMD (10 rehabilitation movements, correct and incorrect, 10 subjects)"
    pattern = "m[0-9][0-9]_s[0-9][0-9]_e[0-9][0-9]_positions*"
    files_wanted = "mMM_sSS_eEE_positions.txt.gz beside a folder Angles with mMM_sSS_eEE_angles.txt.gz"
    splits = ("xsub", "xsub-dev")
    where = "the dataset page at the University of Idaho"
    terms = "public domain (PDDL 1.0)"
    cite = "Vakanski, Jun, Paul, Baker: A data set of human body movements for physical rehabilitation, Data 3(1), 2018"

    def open(self, source: Path) -> Source:
        files = list_files(source, "m*_s*_e*_positions*", "UI-PRMD positions")
        files = tuple(path for path in files if "Vicon" not in path.parts)
        both = tuple(f"{movement}, {quality}" for movement in MOVEMENTS for quality in QUALITY)
        names = {"movement": MOVEMENTS, "quality": QUALITY, "movement and quality": both}[self.classes]
        return Source(files, get_skeleton("ui_prmd"), names)

    def read(self, path: Path, source: Source) -> list[Clip]:
        match = NAME.fullmatch(path.name)
        if not match or not 1 <= int(match[1]) <= len(MOVEMENTS):
            expected = "mMM_sSS_eEE_positions.txt with a movement from 1 to 10"
            raise BadFileError(path, "file name", expected=expected, found=path.name)
        movement, subject = MOVEMENTS[int(match[1]) - 1], int(match[2])
        quality = QUALITY[1] if match[4] else QUALITY[0]
        offsets, angles = (_table(file) for file in (path, _angles_of(path)))
        if offsets.shape != angles.shape:
            found = f"{len(offsets)} and {len(angles)} frames"
            raise BadFileError(path, "whole file", expected="as many frames as the file of angles", found=found)
        position = _absolute(offsets, angles, source.skeleton.parents) * CENTIMETRES
        labels = {"movement": movement, "quality": quality, "movement and quality": f"{movement}, {quality}"}
        return [
            Clip(
                id=path.name.partition(".")[0].replace("_positions", ""),
                position=as_float32(path, position[:, None], source.skeleton.joints),
                skeleton=source.skeleton,
                label=labels[self.classes],
                subject=subject,
                splits=odd_subjects_train(subject),
            )
        ]


def _angles_of(path: Path) -> Path:
    """Return the file of angles of a file of positions."""
    name = path.name.replace("_positions", "_angles")
    for folder in (path.parent.parent / "Angles", path.parent):
        if (folder / name).is_file():
            return folder / name
    raise BadFileError(path, "whole file", expected=f"a file {name} in the folder Angles beside", found="none")


def _table(path: Path) -> np.ndarray:
    """Return the numbers (T, 22, 3) of a file, which may be compressed."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as file:
                content = file.read(LARGEST)
        except (OSError, EOFError, zlib.error) as error:
            raise BadFileError(path, "whole file", expected="a gzip file", found=str(error)) from None
    return parse_table(path, content, 3 * NUM_JOINTS, separator=",").reshape(-1, NUM_JOINTS, 3)


def _absolute(offsets: np.ndarray, angles: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """Return absolute positions (T, K, 3) by forward kinematics, in the unit of the offsets."""
    position = np.zeros_like(offsets)
    rotations: list[np.ndarray] = []
    for joint, parent in enumerate(parents):
        a, b, c = (np.radians(angles[:, joint, axis]) for axis in range(3))
        own = rotation_about("z", c) @ rotation_about("y", b) @ rotation_about("x", a)
        if parent < 0:
            position[:, joint] = offsets[:, joint]
            rotations.append(own)
        else:
            position[:, joint] = position[:, parent] + np.einsum("tij,tj->ti", rotations[parent], offsets[:, joint])
            rotations.append(rotations[parent] @ own)
    return position
