"""What commands share: annotations of their parameters, and parsing with tyro."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from ulna.core import InputError, Workers, unknown_name

Flag = FlagCreatePairsOff[bool]
"""An option that is on if given."""
Models = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MODEL [MODEL ...]"), tyro.conf.Positional]
"""One or more model folders, by position."""
Files = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE ...]"), tyro.conf.Positional]
"""One or more files or folders, by position."""
INLINE: Any = tyro.conf.arg(name="")
"""Annotation of a parameter whose fields are options without a common prefix."""

SOURCE: Any = tyro.conf.arg(metavar="SOURCE")
"""Annotation of the file, folder or dataset that a command reads, by position."""
DATASET: Any = tyro.conf.arg(metavar="DATASET")
"""Annotation of the dataset that a command writes, by position."""
DEST: Any = tyro.conf.arg(metavar="DEST")
"""Annotation of the file that a command writes, by position."""

LOCAL = Workers()
"""Work on this machine, not in shards."""

__all__ = [
    "DATASET",
    "DEST",
    "INLINE",
    "LOCAL",
    "SOURCE",
    "Files",
    "Flag",
    "Models",
    "Positional",
    "choose",
    "run",
    "value_of",
]


def run(function: Callable[..., None], arguments: Sequence[str], *, prog: str) -> None:
    """Parse arguments by a function's signature and call it. Its docstring documents every option.

    Args:
        function: The command.
        arguments: Words after the command.
        prog: Command as it is shown in the help.
    """
    tyro.cli(function, prog=f"ulna {prog}", args=list(arguments))


def choose(arguments: Sequence[str], kind: str, known: Iterable[str], usage: str) -> tuple[str, list[str]]:
    """Return the name that a command's options depend on, and the remaining arguments.

    Prints the usage and exits if help is asked for without a name.

    Args:
        arguments: Words after the command.
        kind: What the name is a name of, such as "recipe".
        known: Known names.
        usage: Text to show for --help.

    Raises:
        InputError: If there is no name or an unknown one.
    """
    known = list(known)
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        raise SystemExit(0)
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"expected a {kind} first; known: {', '.join(known)}")
    if arguments[0] not in known:
        raise InputError(unknown_name(kind, arguments[0], known))
    return arguments[0], list(arguments[1:])


def value_of(arguments: Sequence[str], option: str, default: str) -> str:
    """Return the value of an option that other options depend on."""
    for i, word in enumerate(arguments):
        if word == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return default
