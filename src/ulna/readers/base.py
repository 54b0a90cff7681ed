"""What every reader is: files of one data set or format -> clips in metres, y up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ulna.core import Clip, Skeleton


class BadFile(ValueError):
    """A source file that cannot be read: says which, where, what was expected, what came and what to do."""

    def __init__(self, path: Path, place: str, *, expected: str, got: str, advice: str = "") -> None:
        self.path, self.place, self.expected, self.got = path, place, expected, got
        self.advice = advice or "repair or remove the file (`ulna prepare --skip-bad` goes on without bad ones)"
        super().__init__(str(path), place, expected, got)

    def __str__(self) -> str:
        return f"{self.path}, {self.place}: expected {self.expected}, got {self.got}; {self.advice}"

    def __reduce__(self) -> tuple[object, ...]:
        """Crosses from worker processes whole."""
        return _rebuild, (self.path, self.place, self.expected, self.got, self.advice)


def _rebuild(path: Path, place: str, expected: str, got: str, advice: str) -> BadFile:
    return BadFile(path, place, expected=expected, got=got, advice=advice)


@dataclass(frozen=True)
class Source:
    """What a reader found in a folder before reading the files one by one."""

    files: tuple[Path, ...]
    skeleton: Skeleton
    classes: tuple[str, ...] = ()
    class_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_persons: int = 1
    origin: Path | None = None


class Reader(ABC):
    """Reads one kind of data. The fields of a subclass (a frozen dataclass) are the options a user can set."""

    title: ClassVar[str]
    files_wanted: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ()
    where: ClassVar[str] = ""
    terms: ClassVar[str] = ""
    cite: ClassVar[str] = ""

    @abstractmethod
    def open(self, source: Path) -> Source:
        """List the files of a folder (or one file) and what they share; ValueError if there are none."""

    @abstractmethod
    def read(self, path: Path, source: Source) -> list[Clip]:
        """Read one file into its clips; BadFile if it does not hold what it should."""


def list_files(source: Path, pattern: str, wanted: str) -> tuple[Path, ...]:
    """Files under a folder (or the one file given) in name order; ValueError if there are none."""
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: expected a folder with {wanted}, got nothing there; check the path")
    found = (path for path in source.rglob(pattern) if not path.name.startswith("."))
    files = tuple(sorted(path for path in found if path.is_file() or path.is_symlink()))
    if not files:
        raise ValueError(f"{source}: expected {wanted} (files named {pattern}) in this folder, got none")
    return files


def read_text(path: Path) -> str:
    """A text file's content; BadFile if it is empty or not text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(path, f"byte {error.start}", expected="text", got="bytes that are no text") from None
    if not text.strip():
        raise BadFile(path, "whole file", expected="skeleton data", got="an empty file")
    return text


def check_finite(path: Path, position: np.ndarray, joints: tuple[str, ...]) -> None:
    """BadFile naming the first frame, person and joint of positions (T, P, K, 3) that are NaN or infinite."""
    finite = np.isfinite(position)
    if finite.all():
        return
    t, p, k, _ = (int(i) for i in np.argwhere(~finite)[0])
    raise BadFile(
        path,
        f"frame {t}, person {p}, joint {joints[k]}",
        expected="finite coordinates",
        got=str(position[t, p, k].tolist()),
    )


def as_float32(path: Path, position: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """Positions (T, P, K, 3) as the store keeps them; BadFile if one is not finite then."""
    with np.errstate(over="ignore"):
        kept = position.astype(np.float32)
    check_finite(path, kept, joints)
    return kept


def train_or_test(is_train: bool) -> str:
    return "train" if is_train else "test"
