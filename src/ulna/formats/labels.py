"""CSV tables of labels, subjects and splits for a user's own files."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulna.core import TEST, TRAIN, InputError, MissingError, Skeleton
from ulna.formats.base import BadFileError, Source

NUMBERS = ("subject", "view", "setup")
TEXTS = ("label", "group")
SPLIT = "split:"


@dataclass(frozen=True)
class Known:
    """Clip id of a file, and its metadata from the table."""

    id: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Labels:
    """Metadata by file name; classes are the labels in alphabetical order."""

    classes: tuple[str, ...]
    rows: dict[str, dict[str, Any]]

    def check(self, files: Sequence[Path], origin: Path) -> None:
        """Raise InputError if the table has rows, but none for any of these files."""
        if self.rows and not any(self.of(path, origin).metadata for path in files):
            row = next(iter(self.rows))
            name = self.of(files[0], origin).id
            raise InputError(f"expected labels of files like {name}, found a table of files like {row}")

    def of(self, path: Path, origin: Path | None) -> Known:
        """Return the id and metadata of a file.

        The table may list a file by its path relative to the source folder or by its name, with or without extension.
        """
        is_inside = origin is not None and origin.is_dir() and path.is_relative_to(origin)
        name = path.relative_to(origin) if origin and is_inside else Path(path.name)
        for key in (name.as_posix(), name.with_suffix("").as_posix(), path.name, path.stem):
            if key in self.rows:
                return Known(name.with_suffix("").as_posix(), self.rows[key])
        return Known(name.with_suffix("").as_posix(), {})

    @staticmethod
    def read(path: Path | None) -> Labels:
        """Read a table with columns file and label, and optionally group, subject, view, setup and split:NAME."""
        if path is None:
            return Labels((), {})
        if not path.is_file():
            raise MissingError(f"{path}: expected a CSV table of labels, found none")
        status = path.stat()
        return _read_labels(path, status.st_mtime_ns, status.st_size)


@functools.cache
def _read_labels(path: Path, modified: int, size: int) -> Labels:  # noqa: ARG001
    """Read a table of labels, once for as long as the file does not change."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        unknown = [c for c in columns if c not in ("file", *TEXTS, *NUMBERS) and not c.startswith(SPLIT)]
        if "file" not in columns or unknown:
            wanted = f"columns file, {', '.join((*TEXTS, *NUMBERS))}, {SPLIT}NAME"
            raise InputError(f"{path}: expected {wanted}, found {', '.join(columns) or 'an empty file'}")
        table = list(reader)
    _check_table(path, table)
    classes = tuple(sorted({row["label"] for row in table if row.get("label")}))
    rows = {row["file"]: _metadata(path, number, row) for number, row in enumerate(table, 2)}
    return Labels(classes, rows)


def labelled_source(
    files: tuple[Path, ...],
    source: Path,
    labels: Path | None,
    skeleton_of: Callable[[Path], Skeleton],
    *,
    num_persons: int | None = 1,
) -> Source:
    """Return the source of a user's own files: their table of labels, and the skeleton of the first readable file.

    Args:
        files: The files to read.
        source: File or folder that was given.
        labels: Table of labels, None if there is none.
        skeleton_of: Returns the skeleton of a file; raises BadFileError if it cannot be read.
        num_persons: Maximum number of persons per clip; None if it is known only after reading.

    Raises:
        BadFileError: That of the first file, if no file can be read.
        InputError: If the table lists none of the files.
    """
    origin = source if source.is_dir() else source.parent
    table = Labels.read(labels)
    table.check(files, origin)
    errors = []
    for path in files:
        try:
            return Source(files, skeleton_of(path), table.classes, num_persons=num_persons, origin=origin)
        except BadFileError as error:
            errors.append(error)
    raise errors[0]


def _check_table(path: Path, table: list[dict[str, str]]) -> None:
    """Raise InputError for rows with too many cells or without a file, and for files listed twice."""
    seen = set()
    for number, row in enumerate(table, 2):
        if None in row or not row["file"] or row["file"] in seen:
            found = "too many cells" if None in row else f"{row['file']!r} again" if row["file"] else "no file"
            raise InputError(f"{path}, line {number}: expected one row per file, found {found}")
        seen.add(row["file"])


def _metadata(path: Path, number: int, row: dict[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"splits": {}}
    metadata |= {column: row[column] for column in TEXTS if row.get(column)}
    for column, value in row.items():
        if not value or column in ("file", *TEXTS):
            continue
        is_split = column.startswith(SPLIT)
        if (is_split and value not in (TRAIN, TEST)) or (not is_split and not re.fullmatch(r"-?[0-9]{1,9}", value)):
            expected = f"{TRAIN} or {TEST}" if is_split else "a whole number"
            raise InputError(f"{path}, line {number}, column {column}: expected {expected}, found {value!r}")
        if is_split:
            metadata["splits"][column.removeprefix(SPLIT)] = value
        else:
            metadata[column] = int(value)
    return metadata
