"""Base class of formats, which read the files of one dataset or file format into clips."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ulna.core import Clip, Config, InputError, MissingError, Skeleton, known_skeleton, readable

SKIP_BAD = "Repair or remove the file, or leave bad files out with --skip-bad."


class BadFileError(InputError):
    """A file cannot be read. The message names the file, the location, what was expected and found, and what to do."""

    def __init__(self, path: Path, location: str, *, expected: str, found: str, advice: str = "") -> None:
        self.path, self.location, self.expected, self.found = path, location, readable(expected, 120), found
        self.advice = advice or SKIP_BAD
        super().__init__(str(path), location, expected, found)

    def __str__(self) -> str:
        found = readable(self.found, 120)
        return readable(f"{self.path}, {self.location}: expected {self.expected}, found {found}. {self.advice}", 480)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the error with all its parts, so that worker processes can raise it."""
        return _rebuild, (self.path, self.location, self.expected, self.found, self.advice)


def _rebuild(path: Path, location: str, expected: str, found: str, advice: str) -> BadFileError:
    return BadFileError(path, location, expected=expected, found=found, advice=advice)


@dataclass(frozen=True)
class Source:
    """Files that a format found in a folder, and the properties they share.

    Args:
        files: The files to read, in order.
        skeleton: Skeleton of all clips.
        classes: Class names, in the order of the dataset.
        class_groups: Class names of each group, by group name.
        num_persons: Maximum number of persons per clip; None if it is known only after reading.
        origin: Folder that was searched; clip ids are relative to it.
    """

    files: tuple[Path, ...]
    skeleton: Skeleton
    classes: tuple[str, ...] = ()
    class_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_persons: int | None = 1
    origin: Path | None = None


class Format(Config, ABC):
    """Base class of formats. The fields of a subclass are its user options."""

    title: ClassVar[str]
    """Name of the dataset or file format."""
    pattern: ClassVar[str]
    """Glob pattern of the file names."""
    files_wanted: ClassVar[str]
    """Human-readable description of the files."""
    splits: ClassVar[tuple[str, ...]] = ()
    """Names of the standard splits."""
    where: ClassVar[str] = ""
    """Where to get the data."""
    terms: ClassVar[str] = ""
    """Terms of use of the data."""
    cite: ClassVar[str] = ""
    """Paper to cite."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file seems to be of this format, by its name and its first bytes.

        Args:
            path: An existing file.
        """
        return path.match(cls.pattern)

    @abstractmethod
    def open(self, source: Path) -> Source:
        """List the files of a folder, or one file, and their common properties; raises InputError if there are none."""

    @abstractmethod
    def read(self, path: Path, source: Source) -> list[Clip]:
        """Read the clips of one file; raises BadFileError if its content is invalid.

        Args:
            path: The file.
            source: Result of `open`.
        """

    def read_recordings(self, path: Path, source: Source) -> list[Clip]:
        """Read the whole recordings of one file, for timelines; the same as `read`, unless that cuts them into actions.

        Args:
            path: The file.
            source: Result of `open`.
        """
        return self.read(path, source)


def list_files(source: Path, pattern: str, wanted: str) -> tuple[Path, ...]:
    """Return the files under a folder, sorted, or the given file; raises InputError if there are none."""
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise MissingError(f"{source}: expected a folder with {wanted}, found nothing. Check the path.")
    found = (path for path in source.rglob(pattern) if not path.name.startswith("."))
    files = tuple(sorted(path for path in found if path.is_file() or path.is_symlink()))
    if not files:
        raise InputError(f"{source}: expected {wanted} (files named {pattern}) in this folder, found none")
    return files


def read_text(path: Path) -> str:
    """Return the content of a text file; raises BadFileError if it is empty or not text."""
    return decoded(path, path.read_bytes())


def decoded(path: Path, content: bytes) -> str:
    """Return the text that was read from a file; raises BadFileError if it is empty or not text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(path, f"byte {error.start}", expected="text", found="bytes that are not text") from None
    if not text.strip():
        raise BadFileError(path, "whole file", expected="skeleton data", found="an empty file")
    return text


def head(path: Path, num_bytes: int = 4096) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(num_bytes)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raises BadFileError if it does not parse."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise BadFileError(path, place, expected="JSON", found=f"text that does not parse ({error.msg})") from None
    except RecursionError:
        raise BadFileError(path, "whole file", expected="JSON", found="lists nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise BadFileError(path, "whole file", expected="JSON", found=str(error)) from None


def check_finite(path: Path, position: np.ndarray, joints: tuple[str, ...]) -> None:
    """Raise BadFileError for the first frame, person and joint whose position (T, P, K, 3) is not finite."""
    finite = np.isfinite(position)
    if finite.all():
        return
    t, p, k, _ = (int(i) for i in np.argwhere(~finite)[0])
    raise BadFileError(
        path,
        f"frame {t}, person {p}, joint {joints[k]}",
        expected="finite coordinates",
        found=str(position[t, p, k].tolist()),
    )


def as_float32(path: Path, position: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """Convert positions (T, P, K, 3) to float32; raises BadFileError if any of them is not finite afterwards."""
    with np.errstate(over="ignore"):
        kept = position.astype(np.float32)
    check_finite(path, kept, joints)
    return kept


def number_table(path: Path, num_columns: int, *, separator: str | None = None) -> np.ndarray:
    """Return the numbers (rows, columns) of a text file; raises BadFileError with the line of the first mistake.

    Args:
        path: The file. Empty lines are skipped.
        num_columns: Number of columns.
        separator: What separates columns; white space by default.
    """
    return parse_table(path, path.read_bytes(), num_columns, separator=separator)


def parse_table(path: Path, content: bytes, num_columns: int, *, separator: str | None = None) -> np.ndarray:
    """Return the numbers of a text that was read from a file; see `number_table`."""
    rows = []
    for number, line in enumerate(decoded(path, content).splitlines(), 1):
        words = line.strip().rstrip(separator).split(separator)
        if words in ([], [""]):
            continue
        if len(words) != num_columns:
            raise BadFileError(path, f"line {number}", expected=f"{num_columns} numbers", found=str(len(words)))
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise BadFileError(path, f"line {number}", expected="numbers", found=repr(line[:60])) from None
    if not rows:
        raise BadFileError(path, "whole file", expected="at least one frame", found="none")
    return np.array(rows)


def named_skeleton(
    path: Path, location: str, name: str, joints: Sequence[str], edges: Sequence[tuple[int, int]], *, expected: str
) -> Skeleton:
    """Return the known skeleton with a file's joints, else one of its joints and bones.

    Args:
        path: The file.
        location: Where the file names its joints, for the message.
        name: Name of the skeleton if it is not known.
        joints: Names of the joints.
        edges: Index pairs of joints that a bone connects.
        expected: What the names must be, for the message.

    Raises:
        BadFileError: If names or bones do not make a skeleton.
    """
    try:
        return known_skeleton(joints) or Skeleton.from_edges(name, joints, edges)
    except InputError as error:
        raise BadFileError(path, location, expected=expected, found=str(error)) from None


def odd_subjects_train(subject: int) -> dict[str, str]:
    """Return the splits `xsub`, in which odd subjects train, and `xsub-dev`, in which every other one of them does."""
    splits = {"xsub": train_or_test(subject % 2 == 1)}
    if subject % 2 == 1:
        splits["xsub-dev"] = train_or_test(subject % 4 == 1)
    return splits


def train_or_test(is_train: bool) -> str:
    """Return the part of a split, "train" or "test"."""
    return "train" if is_train else "test"
