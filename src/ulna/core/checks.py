"""Checks of users' values, with messages that say what was expected."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import fields
from typing import Any


def within(
    name: str, value: int | float, low: int | float, high: int | float = math.inf, *, open_low: bool = False
) -> None:
    """ValueError unless low <= value <= high (low < value where `open_low`); NaN and infinity never are."""
    is_in = math.isfinite(value) and (low < value if open_low else low <= value) and value <= high
    if not is_in:
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        limit = f" and at most {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{name}: expected a number {bound}{limit}, got {value}")


def all_within(
    low: int | float, high: int | float = math.inf, /, *, open_low: bool = False, **numbers: int | float
) -> None:
    """`within` for several numbers, named by their keywords."""
    for name, value in numbers.items():
        within(name, value, low, high, open_low=open_low)


def one_of(name: str, value: object, known: object) -> None:
    """ValueError unless a value is among those of a Literal type."""
    choices = typing.get_args(known)
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_types(instance: Any, hints: dict[str, Any]) -> None:
    """ValueError where a dataclass field does not hold what its annotation says; whole numbers pass for floats."""
    for field in fields(instance):
        value, hint = getattr(instance, field.name), hints[field.name]
        if not _fits(value, hint):
            wanted = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
            raise ValueError(f"{field.name}: expected {wanted.replace('typing.', '')}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True
