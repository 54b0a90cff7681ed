"""Penn Action: 13 joints in images, annotated by people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulna.core import Clip, get_skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, train_or_test
from ulna.formats.mat5 import read_mat

ACTIONS = (
    "baseball_pitch", "baseball_swing", "bench_press", "bowl", "clean_and_jerk", "golf_swing", "jump_rope",
    "jumping_jacks", "pullup", "pushup", "situp", "squat", "strum_guitar", "tennis_forehand", "tennis_serve",
)  # fmt: skip
KEYS = ("action", "train", "x", "y", "visibility", "dimensions")
FPS = 50.0
DEV_EVERY = 5


class PennAction(Format):
    """Reads `labels/NNNN.mat`: 13 joints (T, 13) in pixels with visibility flags.

    Hidden joints have a flag of 0, but annotators estimated where they are; their positions are read with a confidence
    of 0. The files do not state the frame rate; 50 per second is assumed.

    Splits: `official` (the split of the authors), `official-dev` (every fifth training clip validates).
    """

    only_visible: bool = False
    """Treat joints that are flagged as hidden as missing, instead of taking the annotators' estimate."""

    title = "Penn Action (15 classes, 2,326 clips, 2-D)"
    pattern = "[0-9][0-9][0-9][0-9].mat"
    files_wanted = "labels/NNNN.mat"
    splits = ("official", "official-dev")
    where = "the dataset page at the University of Pennsylvania (Penn_Action.tar.gz)"
    terms = "research use; do not redistribute"
    cite = "Zhang, Zhu, Derpanis: From actemes to action, ICCV 2013"

    def open(self, source: Path) -> Source:
        files = list_files(source, "[0-9][0-9][0-9][0-9].mat", "Penn Action labels")
        return Source(files, get_skeleton("penn13"), ACTIONS)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = read_mat(path, KEYS)
        x, y, flags = (content[name] for name in ("x", "y", "visibility"))
        if x.ndim != 2 or x.shape[1] != 13 or not len(x) or not x.shape == y.shape == flags.shape:
            found = f"{x.shape}, {y.shape} and {flags.shape}"
            raise BadFileError(path, "keys x, y, visibility", expected="numbers (T, 13)", found=found)
        if any(values.dtype.kind not in "fiu" for values in (x, y, flags)):
            raise BadFileError(path, "keys x, y, visibility", expected="numbers (T, 13)", found="text")
        action = str(content["action"].ravel()[0]) if content["action"].size else ""
        if action not in ACTIONS:
            raise BadFileError(path, "key 'action'", expected="a known action", found=repr(action))
        position = as_float32(path, np.stack([x, y], axis=-1)[:, None].astype(np.float64), source.skeleton.joints)
        seen: np.ndarray = np.asarray(flags[:, None] > 0)
        visible: np.ndarray = seen if self.only_visible else np.any(position > 0, axis=-1)
        if not visible.any():
            raise BadFileError(path, "key 'visibility'", expected="a body", found="no joint")
        train = _train_flag(path, content["train"])
        number = int(path.stem) if path.stem.isdecimal() else 0
        splits = {"official": train_or_test(train)}
        if train:
            splits["official-dev"] = train_or_test(number % DEV_EVERY != 0)
        return [
            Clip(
                id=path.stem,
                position=np.where(visible[..., None], position, 0),
                skeleton=source.skeleton,
                visible=visible,
                fps=FPS,
                label=action,
                splits=splits,
                units="pixels",
                confidence=seen.astype(np.float32),
                image_size=_image_size(path, content["dimensions"]),
            )
        ]


def _train_flag(path: Path, train: np.ndarray) -> bool:
    if train.size != 1 or train.dtype.kind not in "fiu" or float(train.ravel()[0]) not in (1, -1):
        raise BadFileError(path, "key 'train'", expected="1 or -1", found=f"{train.ravel()[:3].tolist()}")
    return float(train.ravel()[0]) == 1


def _image_size(path: Path, dimensions: np.ndarray) -> tuple[int, int]:
    values = dimensions.ravel()
    if len(values) < 2 or values.dtype.kind not in "fiu" or not all(1 <= v < 2**31 for v in values[:2].tolist()):
        raise BadFileError(path, "key 'dimensions'", expected="height, width, frames", found=f"{values[:3].tolist()}")
    return int(values[1]), int(values[0])
