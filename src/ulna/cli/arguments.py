"""What the verbs share: options chosen by a reference_person name, and parsing them with tyro."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import tyro


def reference_person(arguments: Sequence[str], what: str, known: Sequence[str]) -> tuple[str | None, list[str]]:
    """The name that a verb's options depend on, and the rest; None where help is asked for without a name."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    if arguments and arguments[0] in ("-h", "--help"):
        return None, list(arguments)
    raise ValueError(f"expected {what} first; known: {', '.join(known)}")


def value_of(arguments: Sequence[str], flag: str, default: str) -> str:
    """The value of a flag that decides which other flags there are."""
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return default


def pos_embed(kind: Any, help: str, **more: Any) -> Any:
    """Type of an argument given by its place."""
    return Annotated[kind, tyro.conf.PosEmbed, tyro.conf.arg(help=help, **more)]


def option(kind: Any, help: str) -> Any:
    """Type of an argument given as --name VALUE."""
    return Annotated[kind, tyro.conf.arg(help=help)]


def flag(help: str) -> Any:
    """Type of an argument that is on when given."""
    return Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=help)]


def inline(kind: Any) -> Any:
    """Type of a dataclass whose fields are arguments of their own, without a common prefix."""
    return Annotated[kind, tyro.conf.arg(name="")]


def parse(
    prog: str, description: str, fields: Sequence[tuple[str, Any] | tuple[str, Any, Any]], arguments: Sequence[str]
) -> Any:
    """Parse arguments into a dataclass made of (name, type[, default]) rows; unknown ones are answered by tyro."""
    rows = [row if len(row) == 2 else (row[0], row[1], dataclasses.field(default=row[2])) for row in fields]
    made = dataclasses.make_dataclass("Arguments", rows, frozen=True)
    made.__doc__ = description
    return tyro.cli(made, prog=f"ulna {prog}", description=description, args=list(arguments))
