"""Clips that commands are given as files, folders or datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ulna.cli.options import run
from ulna.core import Clip, Config
from ulna.dataset import Dataset
from ulna.dataset.description import DESCRIPTION
from ulna.formats import FORMATS, Format, detect_format, read


class NoFormat(Config):
    """Stands for the options of a format where clips come from a dataset."""


def is_dataset(path: Path) -> bool:
    """Return whether a path is a dataset's folder."""
    return (path / DESCRIPTION).is_file()


def read_clips(source: Path, reading: Config, *, skip_bad: bool = False) -> list[Clip]:
    """Read the clips of files in any format, or of a dataset.

    Args:
        source: A file, a folder of files, or a dataset.
        reading: A format with options, or `NoFormat`.
        skip_bad: Leave bad files out, with a warning.
    """
    if is_dataset(source):
        dataset = Dataset(source)
        return [dataset.clip(number) for number in range(dataset.num_clips)]
    return read(source, reading if isinstance(reading, Format) else None, skip_bad=skip_bad)


def split_format(arguments: Sequence[str]) -> tuple[Config, list[str]]:
    """Return the format that arguments begin with, or that of their first file, and the other arguments.

    Args:
        arguments: Words after the command: [FORMAT] SOURCE ...
    """
    words = list(arguments)
    if words and words[0] in FORMATS:
        return FORMATS[words[0]](), words[1:]
    if words and Path(words[0]).exists() and not is_dataset(Path(words[0])):
        return FORMATS[detect_format(Path(words[0]))](), words
    return NoFormat(), words


def run_with_format(command: Callable[[Config], Callable[..., None]], arguments: Sequence[str], *, prog: str) -> None:
    """Run a command whose options include those of a format: `ulna PROG [FORMAT] SOURCE ...`.

    Args:
        command: Returns the command with the options of a format.
        arguments: Words after the command.
        prog: Name of the command.
    """
    reading, rest = split_format(arguments)
    name = FORMATS.name_of_config(type(reading)) if isinstance(reading, Format) else "[FORMAT]"
    run(command(reading), rest, prog=f"{prog} {name}")
