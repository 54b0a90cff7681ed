"""Performances: which clips show the same movement, recorded by several cameras."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ulna.core import InputError, shown


def number_performances(ids: Sequence[str], pattern: str) -> np.ndarray:
    """Number the performances that clips show, from the names of the clips.

    Args:
        ids: Name of each clip (N).
        pattern: Regular expression for a whole name; its groups, taken together, name the performance. For example,
            `(.*)_v[0-9]+` leaves out the number of the camera at the end.

    Returns:
        (N,) number of each clip's performance. A clip whose name does not match has one of its own.

    Raises:
        InputError: If the pattern is not a regular expression with a group, or no two clips show the same performance.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"performances: expected a regular expression, found {shown(pattern)}: {error}") from None
    if not expression.groups:
        raise InputError(f"performances: expected a group in parentheses, found none in {shown(pattern)}")
    numbers: dict[tuple[str | None, ...] | int, int] = {}
    found = [expression.fullmatch(name) for name in ids]
    keys = [number if match is None else match.groups() for number, match in enumerate(found)]
    performance = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    if len(numbers) == len(ids):
        raise InputError(
            f"performances: expected several clips of one performance, found none by the pattern {shown(pattern)}. "
            f"Names of clips look like {shown(ids[0])}."
        )
    return performance
