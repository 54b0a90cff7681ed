"""Errors and warnings that are caused by what a user gave, and the text they carry."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

MOST_LISTED = 20  # items of a list in a message
MESSAGE_LIMIT = 480  # characters of a message; longer ones are cut in the middle


class UlnaError(Exception):
    """Base of all errors that are caused by input: a value, a file, a folder, or data that do not fit together."""

    def __str__(self) -> str:
        return readable(super().__str__(), MESSAGE_LIMIT)


class InputError(UlnaError, ValueError):
    """A value or the content of a file is not what was expected."""


class MissingError(UlnaError, FileNotFoundError):
    """A file or folder that was expected does not exist."""


class ExistsError(UlnaError, FileExistsError):
    """A file or folder that would be written exists already."""


class UlnaWarning(UserWarning):
    """Something that does not stop the work but may spoil its result, such as test clips seen in pretraining."""


def readable(text: str, limit: int = 60) -> str:
    """Return a text without control characters, its middle left out where it is longer than `limit` characters."""
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def shown(value: object, limit: int = 60) -> str:
    """Return the `repr` of a value as one readable line of at most `limit` characters."""
    if isinstance(value, list | tuple | dict | set) and len(value) > MOST_LISTED:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        return readable(repr(value), limit)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of more than 4,300 digits
        return f"a {type(value).__name__}"


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the nearest known name, then all of them."""
    known = list(known)
    nearest = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    more = f", and {len(known) - MOST_LISTED} more" if len(known) > MOST_LISTED else ""
    listed = ", ".join(known[:MOST_LISTED]) + more
    return f"unknown {kind} {shown(name)}; {hint}known: {listed}"


def check_range(
    name: str, value: int | float, low: int | float, high: int | float = math.inf, *, open_low: bool = False
) -> None:
    """Check that a number lies between two bounds.

    Args:
        name: What the number is called in the message.
        value: The number; NaN and infinity are never in range.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Do not allow `low` itself.

    Raises:
        InputError: If the number is out of range.
    """
    in_range = math.isfinite(value) and (low < value if open_low else low <= value) and value <= high
    if not in_range:
        bound = f"above {low:g}" if open_low else f"of at least {low:g}"
        limit = f" and at most {high:g}" if math.isfinite(high) else ""
        raise InputError(f"{name}: expected a number {bound}{limit}, found {shown(value)}")
