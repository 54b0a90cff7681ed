"""MATLAB level-5 .mat files: arrays of numbers and text, read without scipy, whose reader crashes on damaged files.

Source: MAT-File Format, MathWorks, version R2023b.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ulna.core import InputError, shown
from ulna.formats.base import BadFileError

HEADER = 128
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXT = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, COMPRESSED = 14, 15
CHAR_CLASS = 4
NUMBER_CLASSES = range(6, 16)
IS_COMPLEX = 0x0800
LARGEST = 2**31  # bytes of an array


def read_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays of a level-5 .mat file.

    Args:
        path: The file.
        names: Names of the arrays that are needed. Other variables are skipped, whatever their type.

    Returns:
        Arrays by name; text is an array of rows of text.

    Raises:
        BadFileError: If the file is damaged or an array is missing.
    """
    content = path.read_bytes()
    if not content:
        raise BadFileError(path, "whole file", expected="a .mat file", found="an empty file")
    found: dict[str, np.ndarray] = {}
    try:
        order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER])
        if order is None:
            raise InputError("no header of a level-5 file")
        for name, array in _variables(memoryview(content)[HEADER:], order, names):
            found[name] = array
    except (InputError, struct.error, zlib.error, ValueError, OverflowError) as error:
        raise BadFileError(
            path, "whole file", expected="a MATLAB level-5 file", found=f"what cannot be read ({error})"
        ) from None
    if missing := [name for name in names if name not in found]:
        raise BadFileError(path, "top level", expected=f"key {missing[0]!r}", found=f"keys {shown(sorted(found))}")
    return found


@dataclass(frozen=True)
class _Element:
    kind: int
    content: memoryview


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Yield the data elements of a part of a file; each is a tag, then content padded to 8 bytes."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # small element: size and type share the first word, the content is in the second
            size, kind, start, following = kind >> 16, kind & 0xFFFF, at + 4, at + 8
            if size > 4:
                raise InputError(f"a small element of {size} bytes")
        else:
            start = at + 8
            following = start + size if kind == COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(content):
            raise InputError("an unexpected end of the file")
        yield _Element(kind, content[start : start + size])
        at = following


def _variables(content: memoryview, order: str, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    for element in _elements(content, order):
        if element.kind == COMPRESSED:
            inflater = zlib.decompressobj()
            raw = inflater.decompress(element.content, LARGEST)
            yield from _variables(memoryview(raw), order, names)
        elif element.kind == MATRIX:
            parts = _elements(element.content, order)
            flags, shape, name = (next(parts, None) for _ in range(3))
            if flags is None or shape is None or name is None:
                raise InputError("a variable without flags, dimensions and name")
            own = bytes(name.content).decode("latin-1")
            if own in names:
                yield own, _array(flags, shape, next(parts, None), order)


def _array(flags: _Element, shape: _Element, values: _Element | None, order: str) -> np.ndarray:
    (word,) = struct.unpack_from(f"{order}I", flags.content)
    kind = word & 0xFF
    sizes = [int(n) for n in np.frombuffer(shape.content, f"{order}i4")]
    if values is None or word & IS_COMPLEX or not (kind == CHAR_CLASS or kind in NUMBER_CLASSES):
        raise InputError(f"an array of class {kind}")
    if len(sizes) < 2 or any(not 0 <= n < LARGEST for n in sizes):
        raise InputError(f"an array of {sizes}")
    if kind == CHAR_CLASS:
        return _text(values, sizes, order)
    if values.kind not in NUMBERS:
        raise InputError(f"numbers of type {values.kind}")
    numbers = np.frombuffer(values.content, order + NUMBERS[values.kind])
    num = 1
    for size in sizes:
        num *= size
    if num != len(numbers):
        raise InputError(f"{len(numbers)} numbers for an array of {sizes}")
    return numbers.reshape(sizes, order="F")


def _text(values: _Element, sizes: list[int], order: str) -> np.ndarray:
    """Return the rows of an array of characters."""
    if values.kind not in TEXT:
        raise InputError(f"text of type {values.kind}")
    encoding = TEXT[values.kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    text = bytes(values.content).decode(encoding)
    rows, columns = sizes[0], sizes[1]
    if len(sizes) > 2 or rows * columns != len(text):
        raise InputError(f"{len(text)} characters for an array of {sizes}")
    return np.array([text[row::rows] if rows else "" for row in range(rows)])
