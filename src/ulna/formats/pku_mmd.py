"""PKU-MMD I and II: long recordings in text files, cut into the actions listed in label files."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ulna.core import Clip, InputError, MissingError, get_skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, read_text, train_or_test

NAME = re.compile(r"([A-Z]?[0-9]+(?:N[0-9]+)?)-([LMR])")
VIEWS = {"L": 1, "M": 2, "R": 3}
NUM_JOINTS, NUM_PERSONS = 25, 2
FPS = 30
COLUMNS = NUM_JOINTS * NUM_PERSONS * 3
CLASSES = (
    "bow", "brush hair", "brush teeth", "check time", "cheer up", "clapping", "cross hands in front", "drink water",
    "drop", "eat meal", "falling", "giving something", "hand waving", "handshaking", "hopping", "hugging", "jump up",
    "kicking someone", "kicking something", "phone call", "pat on back", "pick up", "play with phone or tablet",
    "point finger at someone", "point to something", "punch or slap", "pushing", "put on a hat or cap",
    "put something into pocket", "reading", "rub two hands", "salute", "sit down", "stand up", "take off a hat or cap",
    "take off glasses", "take off jacket", "take something out of pocket", "taking a selfie", "tear up paper", "throw",
    "touch back", "touch chest", "touch head", "touch neck", "type on a keyboard", "fan self", "put on jacket",
    "put on glasses", "wipe face", "writing",
)  # fmt: skip
TWO_PERSON_ACTIONS = (12, 14, 16, 18, 21, 24, 26, 27)


class PKUMMD(Format):
    """Reads `NAME-L.txt` (cameras L, M, R), 150 numbers per frame: two bodies of 25 Kinect v2 joints in metres.

    Each line `action,start,end[,confidence]` of a recording's label file defines one clip, from frame start up to but
    not including frame end; clips without a body are skipped. Splits: `xsub` and `xview`, as defined by the official
    lists of training recordings, each with a `-dev` split of its training part, which validates on recordings whose
    number is divisible by 5 (`xsub-dev`) or on camera R (`xview-dev`).
    """

    labels: Path | None = None
    """Folder of label files; by default a folder in or next to the source whose name contains "label"."""
    cross_subject: Path | None = None
    """Official cross-subject split file; by default the one found in or next to the source."""
    cross_view: Path | None = None
    """Official cross-view split file; by default the one found in or next to the source."""

    title = "PKU-MMD I and II (51 and 41 classes, 3 views, recordings with many actions)"
    pattern = "[0-9A-Z]*-[LMR].txt"
    files_wanted = "NAME-L.txt with 150 numbers per line, and label files of the same names"
    splits = ("xsub", "xsub-dev", "xview", "xview-dev")
    where = "the STRUCT group's PKU-MMD page (skeletons, labels, split files)"
    terms = "research use, cite the paper; do not redistribute"
    cite = "Liu et al.: PKU-MMD, a large scale benchmark for continuous multi-modal human action understanding, 2017"

    def open(self, source: Path) -> Source:
        found = list_files(source, "*.txt", "PKU-MMD skeletons")
        own = self.labels.resolve() if self.labels else None
        files = tuple(f for f in found if NAME.fullmatch(f.stem) and not _is_label(f.resolve(), source.resolve(), own))
        if not files:
            raise InputError(f"{source}: expected PKU-MMD skeletons (files named 0002-L.txt), found none")
        two = tuple(CLASSES[action - 1] for action in TWO_PERSON_ACTIONS)
        groups = {"one-person": tuple(c for c in CLASSES if c not in two), "two-person": two}
        return Source(files, get_skeleton("kinect_v2"), CLASSES, groups, NUM_PERSONS, source)

    def read(self, path: Path, source: Source) -> list[Clip]:
        whole = self._recording(path, source)
        actions = _actions(_label_file(path, self.labels, _root(path, source)))
        position, clips = whole.position, []
        for number, (line, label, start, end) in enumerate(actions):
            if not 0 <= start < end <= len(position):
                raise BadFileError(
                    path,
                    f"action {number} (line {line} of its label file)",
                    expected=f"frames within the {len(position)} of the recording, start before end",
                    found=f"{start} to {end}",
                )
            visible = whole.visible[start:end]
            if not visible.any():
                continue
            start += int(visible.any(axis=(1, 2)).argmax())
            clips.append(
                replace(
                    whole,
                    id=f"{path.stem}_{number:03d}",
                    position=position[start:end],
                    visible=whole.visible[start:end],
                    label=CLASSES[label],
                )
            )
        return clips

    def read_recordings(self, path: Path, source: Source) -> list[Clip]:
        return [self._recording(path, source)]

    def _recording(self, path: Path, source: Source) -> Clip:
        """Return a whole recording."""
        match = NAME.fullmatch(path.stem)
        if not match:
            raise BadFileError(path, "file name", expected="NAME-L.txt, NAME-M.txt or NAME-R.txt", found=path.name)
        position = _positions(path, source.skeleton.joints)
        seen = (position != 0).any(axis=(2, 3))  # (T, bodies)
        return Clip(
            id=path.stem,
            position=position,
            skeleton=source.skeleton,
            visible=np.repeat(seen[:, :, None], NUM_JOINTS, axis=2),
            view=VIEWS[match[2]],
            splits=self._splits(path.stem, match[2], _root(path, source)),
        )

    def _splits(self, name: str, camera: str, root: Path) -> dict[str, str]:
        trains = {
            split: trained
            for split, file, pattern in (
                ("xsub", self.cross_subject, "cross[-_]subject*.txt"),
                ("xview", self.cross_view, "cross[-_]view*.txt"),
            )
            if (trained := _training(file, pattern, root)) is not None
        }
        splits = {
            split: train_or_test(name in names) for split, (names, all_names) in trains.items() if name in all_names
        }
        number = int(re.sub(r"\D", "", name.rpartition("-")[0]))
        validates = {"xsub": number % 5 == 0, "xview": camera == "R"}
        return splits | {
            f"{s}-dev": train_or_test(not validates[s]) for s, (names, _) in trains.items() if name in names
        }


def is_label_file(path: Path) -> bool:
    """Return whether a file is named like the label file of a recording."""
    return path.suffix == ".txt" and NAME.fullmatch(path.stem) is not None


def read_labels(path: Path) -> list[tuple[int, float, float, str]]:
    """Return line, start and end in seconds, and class of each action in a label file.

    Raises:
        BadFileError: If the file is damaged.
    """
    return [(line, start / FPS, end / FPS, CLASSES[label]) for line, label, start, end in _actions(path)]


def _root(path: Path, source: Source) -> Path:
    """Return the folder in or next to which labels and split files are."""
    root = (source.origin or path).resolve()
    return root if root.is_dir() else root.parent


@functools.lru_cache(maxsize=8)
def _label_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders in or next to the source whose names contain "label"."""
    near = [*root.rglob("*"), *root.parent.iterdir()]
    return tuple(sorted({p for p in near if p.is_dir() and "label" in p.name.lower()}))


def _is_label(file: Path, source: Path, labels: Path | None) -> bool:
    """Return True if a file is in the label folder, or under any folder whose name contains "label"."""
    between = file.relative_to(source).parts[:-1] if file.is_relative_to(source) else ()
    return any("label" in part.lower() for part in between) or (labels is not None and file.is_relative_to(labels))


def _label_file(path: Path, labels: Path | None, root: Path) -> Path:
    for folder in (labels,) if labels else _label_folders(root):
        file = folder / path.name
        if file.is_file():
            return file
    where = labels or f"a folder with 'label' in its name in or beside {root}"
    raise BadFileError(
        path, "labels", expected=f"a label file {path.name} in {where}", found="none", advice="Pass --labels FOLDER."
    )


def _actions(path: Path) -> list[tuple[int, int, int, int]]:
    """Return (line, label, start, end) of each action in a label file."""
    actions = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        words = [word.strip() for word in line.split(",")]
        is_whole = len(words) >= 3 and all(re.fullmatch(r"[0-9]{1,9}", word) for word in words[:3])
        if not is_whole or not 1 <= int(words[0]) <= len(CLASSES):
            expected = f"action (1 to {len(CLASSES)}), start and end frame, parted by commas"
            raise BadFileError(path, f"line {number}", expected=expected, found=repr(line.strip()[:60]))
        actions.append((number, int(words[0]) - 1, int(words[1]), int(words[2])))
    return actions


def _positions(path: Path, joints: tuple[str, ...]) -> np.ndarray:
    """Return positions (T, 2, 25, 3) float32."""
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != COLUMNS:
            raise BadFileError(path, f"line {number}", expected=f"{COLUMNS} numbers", found=f"{len(words)}")
        try:
            rows.append(np.array(words, dtype=np.float64))
        except ValueError:
            raise BadFileError(path, f"line {number}", expected=f"{COLUMNS} numbers", found="other text") from None
    return as_float32(path, np.stack(rows).reshape(-1, NUM_PERSONS, NUM_JOINTS, 3), joints)


@functools.lru_cache(maxsize=8)
def _training(file: Path | None, pattern: str, root: Path) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the names of the training recordings (second line of an official split file) and of all recordings."""
    if file is None:
        found = sorted({*root.rglob(pattern), *root.parent.glob(pattern)})
        if not found:
            return None
        if len(found) > 1:
            raise InputError(
                f"expected one split file {pattern} in or beside {root}, found {', '.join(f.name for f in found)}; "
                "name the right one (--cross-subject FILE, --cross-view FILE)"
            )
        file = found[0]
    if not file.is_file():
        raise MissingError(f"{file}: expected an official PKU-MMD split file, found none")
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    names = frozenset(match[0] for match in NAME.finditer(lines[1])) if len(lines) > 1 else frozenset()
    if not names:
        raise BadFileError(file, "line 2", expected="names of the training recordings, parted by commas", found="none")
    return names, frozenset(match[0] for line in lines for match in NAME.finditer(line))
