"""Clips that commands are given as files, folders or datasets."""

from __future__ import annotations

from pathlib import Path

from ulna.core import Clip
from ulna.dataset import Dataset
from ulna.dataset.description import DESCRIPTION
from ulna.formats import read


def is_dataset(path: Path) -> bool:
    """Return whether a path is a dataset's folder."""
    return (path / DESCRIPTION).is_file()


def read_clips(source: Path, format: str | None, *, skip_bad: bool = False) -> list[Clip]:
    """Read the clips of files in any format, or of a dataset.

    Args:
        source: A file, a folder of files, or a dataset.
        format: Name of the format; detected by default.
        skip_bad: Leave bad files out, with a warning.
    """
    if is_dataset(source):
        dataset = Dataset(source)
        return [dataset.clip(number) for number in range(dataset.num_clips)]
    return read(source, format, skip_bad=skip_bad)
