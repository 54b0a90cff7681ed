"""SBU Kinect Interaction: two persons, normalised coordinates in text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulna.core import Clip, get_skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, read_text, train_or_test

ACTIONS = ("approach", "depart", "kick", "push", "shake hands", "hug", "exchange object", "punch")
FOLDS = (
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)
FOLDERS = tuple(f"{action:02d}" for action in range(1, len(ACTIONS) + 1))
NUM_JOINTS, NUM_PERSONS = 15, 2
COLUMNS = 1 + NUM_PERSONS * NUM_JOINTS * 3


class SBU(Format):
    """Reads `sXXsYY/CC/TTT/skeleton_pos.txt` (frame number, 2 x 15 x (x, y, z)) at 15 fps, converted to metres, y up.

    Splits: `fold1` to `fold5` (the standard folds of pairs: test on one, train on the other four) and `fold1-dev` to
    `fold5-dev`, which validate on the next fold of the training part.
    """

    title = "SBU Kinect Interaction (8 two-person classes, 21 pairs of 7 people)"
    pattern = "skeleton_pos.txt"
    files_wanted = "sXXsYY/CC/TTT/skeleton_pos.txt"
    splits = (*(f"fold{k}" for k in range(1, 6)), *(f"fold{k}-dev" for k in range(1, 6)))
    where = "the dataset page at Stony Brook University (clean set)"
    terms = "academic use; do not redistribute"
    cite = "Yun et al.: Two-person interaction detection using body-pose features, CVPR workshops 2012"

    def open(self, source: Path) -> Source:
        files = list_files(source, "skeleton_pos.txt", "SBU skeletons")
        groups = {"two-person": ACTIONS}
        return Source(files, get_skeleton("sbu"), ACTIONS, groups, NUM_PERSONS)

    def read(self, path: Path, source: Source) -> list[Clip]:
        pair, action, trial = path.resolve().parts[-4:-1]
        fold = next((k for k, pairs in enumerate(FOLDS, 1) if pair in pairs), None)
        if fold is None or action not in FOLDERS:
            raise BadFileError(
                path,
                "path",
                expected="sXXsYY/CC/TTT/skeleton_pos.txt with a known pair and action 01 to 08",
                found=str(path),
            )
        table = _table(path)
        if not table.any():
            raise BadFileError(path, "whole file", expected="a body", found="only zeros (a clip with no body)")
        position = as_float32(path, _metres(table), source.skeleton.joints)
        return [
            Clip(
                id=f"{pair}_{action}_{trial}",
                position=position,
                skeleton=source.skeleton,
                fps=15.0,
                label=ACTIONS[FOLDERS.index(action)],
                subject=int(pair[1:3]),
                setup=fold,
                splits=_splits(fold),
            )
        ]


def _splits(fold: int) -> dict[str, str]:
    splits = {f"fold{k}": train_or_test(k != fold) for k in range(1, 6)}
    return splits | {f"fold{k}-dev": train_or_test(k % 5 + 1 != fold) for k in range(1, 6) if k != fold}


def _table(path: Path) -> np.ndarray:
    """Return the numbers (T, 90) that follow the frame numbers, which count up by one."""
    rows = []
    before: float | None = None
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.strip().rstrip(",").split(",")
        if words == [""]:
            continue
        if len(words) != COLUMNS:
            raise BadFileError(path, f"line {number}", expected=f"{COLUMNS} numbers", found=f"{len(words)}")
        try:
            frame = float(words[0])
            rows.append(np.array(words[1:], dtype=np.float64))
        except ValueError:
            raise BadFileError(path, f"line {number}", expected=f"{COLUMNS} numbers", found="text among them") from None
        if before is not None and frame != before + 1:
            expected = f"frame {before + 1:g} after frame {before:g}"
            raise BadFileError(path, f"line {number}", expected=expected, found=f"frame {frame:g}")
        before = frame
    if not rows:
        raise BadFileError(path, "whole file", expected="at least one frame", found="none")
    return np.stack(rows)


def _metres(table: np.ndarray) -> np.ndarray:
    """Return metres (T, 2, 15, 3): X = 1280 - 2560 x, Y = 960 - 1920 y, Z = 10000 z / 7.8125 in millimetres."""
    x, y, z = np.moveaxis(table.reshape(-1, NUM_PERSONS, NUM_JOINTS, 3), -1, 0)
    millimetres = np.stack([1280 - 2560 * x, 960 - 1920 * y, 10000 * z / 7.8125], axis=-1)
    return np.asarray(millimetres / 1000)
