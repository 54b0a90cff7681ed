"""NTU RGB+D 60 and 120: `.skeleton` text files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from ulna.core import Clip, InputError, MissingError, get_skeleton
from ulna.formats.base import BadFileError, Format, Source, check_finite, decoded, list_files, train_or_test
from ulna.formats.ntu_classes import NTU_CLASSES, TWO_PERSON_ACTIONS

Bodies = Literal["first", "motion"]

NAME = re.compile(r"S([0-9]{3})C([0-9]{3})P([0-9]{3})R([0-9]{3})A([0-9]{3})")
NUM_JOINTS, BODY_FIELDS, JOINT_FIELDS = 25, 10, 12
NUM_PERSONS, MOST_BODIES = 2, 4
SUBJECTS_60 = frozenset([1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38])
SUBJECTS_120 = SUBJECTS_60 | {
    45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89, *range(91, 96), 97, 98, 100, 103,
}  # fmt: skip


class NTU(Format):
    """Reads `SsssCcccPpppRrrrAaaa.skeleton`: Kinect v2, metres, up to two persons; leading empty frames are dropped.

    Splits: `xsub` (the official training subjects of NTU-60 or, if setups above 17 or actions above 60 occur, of
    NTU-120), `xview` (train on cameras 2 and 3), `xset` (train on even setups), each with a `-dev` split of its
    training part.
    """

    bodies: Bodies = "first"
    """Which two bodies to keep: the first two of each frame ("first", NTU-60), or the two of the first four that move
    most ("motion", NTU-120)."""
    skip_list: Path | None = None
    """Text file with the names of clips to skip, one per line, such as the official lists of incomplete files."""

    title = "NTU RGB+D 60 and 120 (60 / 120 classes, 40 / 106 subjects, 3 views)"
    pattern = "S[0-9][0-9][0-9]C*.skeleton"
    files_wanted = "SsssCcccPpppRrrrAaaa.skeleton"
    splits = ("xsub", "xsub-dev", "xview", "xview-dev", "xset", "xset-dev")
    where = "the ROSE Lab's dataset page, after registration (nturgbd_skeletons_*.zip)"
    terms = "academic use after signing the release agreement; do not redistribute"
    cite = "Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019"

    def open(self, source: Path) -> Source:
        skipped = _read_skip_list(self.skip_list)
        files = tuple(f for f in list_files(source, "*.skeleton", "NTU skeletons") if f.stem not in skipped)
        if not files:
            raise InputError(f"{source}: expected files that {self.skip_list} does not list, found none")
        names = (match for f in files if (match := NAME.fullmatch(f.stem)))
        is_120 = any(int(name[1]) > 17 or int(name[5]) > 60 for name in names)
        classes = NTU_CLASSES if is_120 else NTU_CLASSES[:60]
        two = tuple(classes[a - 1] for a in TWO_PERSON_ACTIONS if a <= len(classes))
        groups = {"one-person": tuple(c for c in classes if c not in two), "two-person": two}
        return Source(files, get_skeleton("kinect_v2"), classes, groups, NUM_PERSONS)

    def read(self, path: Path, source: Source) -> list[Clip]:
        match = NAME.fullmatch(path.stem)
        num_classes = len(source.classes)
        if not match or not 1 <= int(match[5]) <= num_classes:
            raise BadFileError(
                path,
                "file name",
                expected=f"SsssCcccPpppRrrrAaaa with an action from 1 to {num_classes}",
                found=path.name,
            )
        setup, camera, subject, _, action = (int(part) for part in match.groups())
        position, visible = _read_bodies(path, self.bodies)
        clip = Clip(
            id=path.stem,
            position=position,
            skeleton=source.skeleton,
            visible=visible,
            label=source.classes[action - 1],
            subject=subject,
            view=camera,
            setup=setup,
            splits=_splits(setup, camera, subject, SUBJECTS_120 if num_classes > 60 else SUBJECTS_60),
        )
        return [clip]


def read_skeleton(path: str | Path, *, bodies: Bodies = "first") -> Clip:
    """Read one `.skeleton` file as a clip (T, 2, 25, 3) in metres; raises BadFileError if its content is invalid."""
    path = Path(path)
    position, visible = _read_bodies(path, bodies)
    return Clip(id=path.stem, position=position, skeleton=get_skeleton("kinect_v2"), visible=visible)


def _splits(setup: int, camera: int, subject: int, train_subjects: frozenset[int]) -> dict[str, str]:
    trains = {"xsub": subject in train_subjects, "xview": camera != 1, "xset": setup % 2 == 0}
    validates = {"xsub": subject % 4 == 1, "xview": camera == 3, "xset": setup % 4 == 0}
    splits = {name: train_or_test(is_train) for name, is_train in trains.items()}
    return splits | {f"{name}-dev": train_or_test(not validates[name]) for name, is_train in trains.items() if is_train}


def _read_bodies(path: Path, bodies: Bodies) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (T, 2, 25, 3) float32 and visibility mask (T, 2, 25), from the first frame with a body on."""
    counts, joints = _parse(path)  # (T,), (sum of counts, 25, 3)
    frame = np.repeat(np.arange(len(counts)), counts)
    node = np.arange(len(joints)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = node < (NUM_PERSONS if bodies == "first" else MOST_BODIES)
    position = np.zeros((len(counts), NUM_PERSONS if bodies == "first" else MOST_BODIES, NUM_JOINTS, 3), np.float32)
    position[frame[kept], node[kept]] = joints[kept]
    seen = (position != 0).any(axis=(2, 3))  # (T, bodies)
    if not seen.any():
        raise BadFileError(path, "whole file", expected="a body in at least one frame", found="a clip with no body")
    if bodies == "motion":
        frames = [position[seen[:, body], body] for body in range(MOST_BODIES)]
        spread = [there.std(axis=(0, 1)).sum() if len(there) else -1.0 for there in frames]
        most = np.argsort(spread, kind="stable")[::-1][:NUM_PERSONS]
        position, seen = position[:, most], seen[:, most]
    first = int(seen.any(axis=1).argmax())
    position, seen = position[first:], seen[first:]
    joint_names = get_skeleton("kinect_v2").joints
    check_finite(path, position, joint_names)
    return position, np.repeat(seen[..., None], NUM_JOINTS, axis=2)


def _parse(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of bodies per frame (T,) and the joints (bodies, 25, 3) float32 of all frames, concatenated."""
    content = path.read_bytes()
    found = _parse_plain(content)
    return _parse_lines(path, decoded(path, content)) if found is None else found


def _parse_plain(content: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Parse a file whose fields are separated by single spaces, without a Python step per line.

    Returns None for a file with a mistake or any other white space, which `_parse_lines` reads or reports.
    """
    content = content if content.endswith(b"\n") else content + b"\n"
    letters = np.frombuffer(content, np.uint8)
    white = np.flatnonzero(letters <= ord(" "))
    kind = letters[white]
    is_end, is_return = kind == ord("\n"), kind == ord("\r")
    known = (kind == ord(" ")) | is_end | is_return
    is_followed = np.append(np.diff(white) == 1, False)  # a carriage return and its line feed, nothing else
    if not known.all() or white[0] == 0 or (is_followed != is_return).any() or not is_end[1:][is_return[:-1]].all():
        return None
    if (letters >= 128).any() or len(content) >= 2**31:
        return None
    last = np.flatnonzero(is_end)
    first = np.append(0, last[:-1] + 1)  # index of each line's first separator
    start = np.append(0, white[last[:-1]] + 1)
    num_fields = last - first - is_return[last - 1] + 1
    layout = _layout(content, start, white[first], num_fields)
    if layout is None:
        return None
    counts, joints = layout
    rows = (joints[:, None] + np.arange(NUM_JOINTS)).ravel()
    if (num_fields[rows] != JOINT_FIELDS).any():
        return None
    one, two, three = (white[first[rows] + i] for i in range(3))
    offsets = np.stack([start[rows], one, one + 1, two, two + 1, three], axis=1).astype(np.int32).ravel()
    words = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(content))
    is_number = np.arange(len(offsets) - 1) % 2 == 0  # every other word is what separates two numbers
    try:
        return counts, _numbers(words.filter(pa.array(is_number))).reshape(-1, NUM_JOINTS, 3)
    except ValueError:
        return None


def _layout(
    content: bytes, start: np.ndarray, end: np.ndarray, num_fields: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the number of bodies per frame (T,) and the first line of each body's joints; None if lines do not fit.

    Args:
        content: Content of the file.
        start: (N,) first byte of each line.
        end: (N,) first byte after each line's first field.
        num_fields: (N,) number of fields of each line.
    """
    counts, joints = [], []
    starts, ends, fields = start.tolist(), end.tolist(), num_fields.tolist()

    def number(line: int) -> int:
        word = content[starts[line] : ends[line]]
        return int(word) if fields[line] == 1 and word.isdigit() and len(word) < 10 else -1

    try:
        num_frames, line = number(0), 1
        for _ in range(num_frames):
            counts.append(number(line))
            line += 1
            for _ in range(counts[-1]):
                if fields[line] != BODY_FIELDS or number(line + 1) != NUM_JOINTS:
                    return None
                joints.append(line + 2)
                line += 2 + NUM_JOINTS
    except IndexError:
        return None
    if num_frames < 1 or min(counts) < 0 or not joints or line != len(starts):
        return None
    return np.array(counts, dtype=int), np.array(joints)


def _parse_lines(path: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Parse a file line by line; raises BadFileError with the line of the first mistake."""
    lines = _Lines(path, text)
    num_frames = lines.number("the number of frames")
    counts: list[int] = []
    words: list[str] = []
    for frame in range(num_frames):
        counts.append(lines.number(f"the number of bodies of frame {frame} of {num_frames}"))
        for body in range(counts[-1]):
            place = f"frame {frame}, body {body}"
            lines.rows(place, 1, BODY_FIELDS)
            num_joints = lines.number(f"{place}: the number of joints")
            if num_joints != NUM_JOINTS:
                raise lines.bad(f"{NUM_JOINTS} joints", str(num_joints))
            rows = lines.rows(f"{place}: the joints", NUM_JOINTS, JOINT_FIELDS)
            words += [word for fields in rows for word in fields[:3]]
    lines.end(num_frames)
    try:
        joints = _numbers(pa.array(words, pa.string()))
    except ValueError:
        raise lines.first_that_is_no_number() from None
    return np.array(counts, dtype=int), joints.reshape(-1, NUM_JOINTS, 3)


def _numbers(words: pa.StringArray) -> np.ndarray:
    """Convert decimal numbers to float32, rounded once from float64; raises ValueError if a word is not a number."""
    with np.errstate(over="ignore"):  # infinite numbers are refused later, with their frame and joint
        return words.cast(pa.float64()).to_numpy().astype(np.float32)


class _Lines:
    """Parses a file line by line and reports the line of an error."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.next = path, 0
        self.lines = text.splitlines()

    def bad(self, expected: str, got: str) -> BadFileError:
        """Return the error for the line that was read last."""
        return BadFileError(self.path, f"line {self.next}", expected=expected, found=got)

    def rows(self, what: str, num: int, num_fields: int) -> list[list[str]]:
        """Read the next lines, split into fields."""
        taken = [line.split() for line in self.lines[self.next : self.next + num]]
        for words in taken:
            self.next += 1
            if len(words) != num_fields:
                raise self.bad(f"{what} ({num_fields} fields)", f"{len(words)} fields")
        if len(taken) < num:
            self.next += 1
            raise self.bad(what, "the end of the file (it is truncated)")
        return taken

    def number(self, what: str) -> int:
        """Read the next line as a whole number."""
        text = self.lines[self.next].strip() if self.next < len(self.lines) else None
        self.next += 1
        if text is None:
            raise self.bad(what, "the end of the file (it is truncated)")
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise self.bad(what, repr(text[:60]))
        return int(text)

    def end(self, num_frames: int) -> None:
        """Raise BadFileError if there was no frame, or if any line left is not empty."""
        rest = sum(1 for line in self.lines[self.next :] if line.strip())
        self.next += 1
        if not num_frames:
            raise self.bad("at least one frame", "no frame at all")
        if rest:
            raise self.bad(f"the end after the {num_frames} frames that line 1 announces", f"{rest} more lines")

    def first_that_is_no_number(self) -> BadFileError:
        """Return the error for the first joint line whose coordinates are not numbers."""
        for number, line in enumerate(self.lines, 1):
            words = line.split()
            for word in words[:3] if len(words) == JOINT_FIELDS else ():
                try:
                    _numbers(pa.array([word], pa.string()))
                except ValueError:
                    return BadFileError(
                        self.path, f"line {number}", expected="coordinates in numbers", found=repr(word[:60])
                    )
        return BadFileError(self.path, "whole file", expected="coordinates in numbers", found="other text")


def _read_skip_list(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    if not path.is_file():
        raise MissingError(f"{path}: expected a text file with the names of clips to skip, found none")
    return frozenset(match[0] for line in path.read_text().splitlines() if (match := NAME.search(line)))
