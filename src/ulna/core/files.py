"""Folders and files that appear complete or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ulna.errors import ExistsError


def refuse_existing(path: Path) -> None:
    """Raise ExistsError if a file or folder of that name exists."""
    if path.exists() or path.is_symlink():
        raise ExistsError(f"{path} exists already. Choose another name or remove it first.")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that is renamed to `path` when the block succeeds.

    Raises ExistsError if `path` exists. If the block fails, nothing is left behind.
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
    """Yield a temporary path beside `path` that replaces it by rename when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return a name that no other process uses, not even one with the same number in another container."""
    return path.parent / f".{path.name}.partial-{secrets.token_hex(6)}"


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see either the old content or the new one, never a part."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
