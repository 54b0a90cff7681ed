"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def refuse_existing(path: Path) -> None:
    """FileExistsError if something is in the way of a new folder."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists already; choose another name or remove it first")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path` that becomes `path` by rename when the block ends well.

    Raises FileExistsError if `path` exists. If the block fails, nothing is left behind.
    """
    refuse_existing(path)
    made = [parent for parent in path.absolute().parents if not parent.exists()]
    partial = _beside(path)
    partial.mkdir(parents=True)
    try:
        yield partial
        refuse_existing(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that replaces it by rename when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name that nobody else takes, not even a process of the same number in another container."""
    return path.parent / f".{path.name}.partial-{secrets.token_hex(6)}"


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never half of it."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
