"""Read files into clips."""

from __future__ import annotations

import warnings
from pathlib import Path

from ulna.core import Clip, InputError, MissingError, UlnaWarning
from ulna.formats.base import BadFileError, Format


def read(source: str | Path, format: str | Format | None = None, *, skip_bad: bool = False) -> list[Clip]:
    """Read recordings into clips.

    Args:
        source: A folder, which is searched recursively, or a single file.
        format: Name of a format (`ulna datasets` lists them), or a `Format` with options, for example
            `ulna.formats.FORMATS["bvh"](units="m")`. By default it is detected from the file names.
        skip_bad: Skip files that cannot be read, with one warning per file, instead of raising an error.

    Returns:
        The clips, in metres, y up, sorted by file.

    Raises:
        MissingError: If `source` does not exist.
        BadFileError: If a file cannot be read.
        InputError: If there are no files of that format, or the format cannot be detected.
    """
    path = Path(source)
    reader = open_format(detect_format(path) if format is None else format)
    found = reader.open(path)
    clips: list[Clip] = []
    for file in found.files:
        try:
            clips += reader.read(file, found)
        except BadFileError as error:
            if not skip_bad:
                raise
            warnings.warn(f"skipped {error}", UlnaWarning, stacklevel=2)
    if not clips:
        raise InputError(f"{path}: expected at least one clip, found none")
    return clips


def open_format(format: str | Format) -> Format:
    """Return the format with a given name and default options; a `Format` is returned unchanged."""
    from ulna.formats import FORMATS

    return format if isinstance(format, Format) else FORMATS[format]()


def detect_format(source: Path) -> str:
    """Return the name of the format that matches the file names in a folder.

    Raises:
        MissingError: If the folder does not exist.
        InputError: If no format matches, or more than one.
    """
    from ulna.formats import FORMATS

    if not source.exists():
        raise MissingError(f"{source}: expected a folder or a file, found nothing. Check the path.")
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    found = [name for name in FORMATS if any(path.match(FORMATS[name].pattern) for path in files)]
    if len(found) != 1:
        raise InputError(
            f"{source}: expected files of one known format, found files of {' and '.join(found) or 'none'}. "
            f"Name the format: {', '.join(FORMATS)}."
        )
    return found[0]
