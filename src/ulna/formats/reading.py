"""Read files into clips."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ulna.core import Clip, InputError, MissingError, UlnaWarning
from ulna.formats.base import BadFileError, Format, Source

EXAMPLES = 20


def read(source: str | Path, format: str | Format | None = None, *, skip_bad: bool = False) -> list[Clip]:
    """Read recordings into clips.

    Args:
        source: A folder, which is searched recursively, or a single file.
        format: Name of a format (`ulna datasets` lists them), or a `Format` with options, for example
            `ulna.formats.FORMATS["bvh"](units="m")`. By default it is detected from the file names.
        skip_bad: Skip files that cannot be read, with one warning per file, instead of raising an error.

    Returns:
        The clips, sorted by file: in metres, y up, or in image coordinates (2-D formats).

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
        result = read_file(reader, found, file)
        if result.error is not None and not skip_bad:
            raise result.error
        for message in result.messages:
            warnings.warn(message, UlnaWarning, stacklevel=2)
        if result.error is not None:
            warnings.warn(f"skipped {result.error}", UlnaWarning, stacklevel=2)
        clips += result.clips
    if not clips:
        raise InputError(f"{path}: expected at least one clip, found none")
    return clips


@dataclass(frozen=True)
class FileResult:
    """What reading one file gave.

    Args:
        clips: Its clips.
        messages: Warnings.
        error: Why it cannot be read, None if it was.
    """

    clips: list[Clip]
    messages: list[str]
    error: BadFileError | None = None


def read_file(format: Format, source: Source, path: Path) -> FileResult:
    """Read one file; a file that makes its parser fail unexpectedly also counts as bad.

    Args:
        format: The format.
        source: Result of its `open`.
        path: The file.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UlnaWarning)
        clips: list[Clip] = []
        error: BadFileError | None = None
        try:
            clips = format.read(path, source)
        except BadFileError as bad:
            error = bad
        except MissingError:
            raise
        except Exception as bad:
            found = f"{type(bad).__name__}: {bad!s:.200}"
            error = BadFileError(path, "whole file", expected=format.files_wanted, found=found)
    messages = [str(one.message) for one in caught if issubclass(one.category, UlnaWarning)]
    return FileResult(clips, messages, error)


def open_format(format: str | Format) -> Format:
    """Return the format with a given name and default options; a `Format` is returned unchanged."""
    from ulna.formats import FORMATS

    return format if isinstance(format, Format) else FORMATS[format]()


def detect_format(source: Path) -> str:
    """Return the name of the format of the files in a folder, by their names and first bytes.

    Raises:
        MissingError: If the folder does not exist.
        InputError: If no format matches, or more than one.
    """
    from ulna.formats import FORMATS

    if not source.exists():
        raise MissingError(f"{source}: expected a folder or a file, found nothing. Check the path.")
    found = sorted({name for path in _examples(source) for name in FORMATS if FORMATS[name].recognises(path)})
    if len(found) != 1:
        raise InputError(
            f"{source}: expected files of one known format, found files of {' and '.join(found) or 'none'}. "
            f"Name the format: {', '.join(FORMATS)}."
        )
    return found[0]


def _examples(source: Path) -> list[Path]:
    """Return some files of a folder: up to 20 of each ending."""
    if source.is_file():
        return [source]
    if (source / "dataset.json").is_file():
        raise InputError(f"{source}: expected files of one known format, found a dataset. Open it with ulna.Dataset.")
    counts: Counter[str] = Counter()
    examples = []
    for path in source.rglob("*"):
        if counts[path.suffix] < EXAMPLES and not path.name.startswith(".") and path.is_file():
            counts[path.suffix] += 1
            examples.append(path)
    return examples
