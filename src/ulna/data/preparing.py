"""Prepare: files -> store, on all cores."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from ulna.core import Clip, refuse_existing, within
from ulna.data.store import REJECTED, Store
from ulna.data.writing import write_store
from ulna.readers import READERS, BadFile, Reader, Source

FEW_FILES = 200  # below this, starting processes costs more than it saves


def prepare(
    reader: Reader,
    source: str | Path,
    store: str | Path,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """Read a folder's files and write them as a store.

    A bad file raises BadFile; with `skip_bad` it is left out and listed in the store's rejected.csv. `workers` is the
    number of processes (all cores by default). Raises FileExistsError if the store exists.
    """
    source, store = Path(source), Path(store)
    refuse_existing(store)
    if workers is not None:
        within("workers", workers, 1)
    found = reader.open(source)
    rejected: list[BadFile] = []

    def clips() -> Iterator[Clip]:
        bar = tqdm(_read_all(reader, found, workers), "reading", len(found.files), unit="file", disable=not progress)
        for outcome in bar:
            if isinstance(outcome, BadFile):
                if not skip_bad:
                    bar.close()
                    raise outcome
                rejected.append(outcome)
            else:
                yield from outcome
        if len(rejected) == len(found.files):
            raise ValueError(f"{source}: expected at least one good file, got {len(rejected)} bad ones; {rejected[0]}")

    return write_store(
        store,
        clips(),
        found.skeleton,
        classes=found.classes,
        class_groups=found.class_groups,
        num_persons=found.num_persons,
        finish=lambda folder: _write_rejected(folder / REJECTED, rejected),
        source={"reader": READERS.name_of(type(reader)), "options": _plain(asdict(reader))},  # type: ignore[call-overload]
    )


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as JSON holds them; files that they name are left out, since they need not be there later."""
    return {name: value for name, value in options.items() if not isinstance(value, Path)}


def _read_all(reader: Reader, found: Source, workers: int | None) -> Iterator[list[Clip] | BadFile]:
    shared = replace(found, files=found.files[:1])  # a process gets it with every few files: not the whole list
    read = functools.partial(_read_one, reader, shared)
    if workers == 1 or len(found.files) < FEW_FILES:
        yield from map(read, found.files)
    else:
        pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=16)
        yield from pool(delayed(read)(path) for path in found.files)


def _read_one(reader: Reader, found: Source, path: Path) -> list[Clip] | BadFile:
    """A file's clips, or what is wrong with it: a file that breaks its reader is a bad file too."""
    try:
        return reader.read(path, found)
    except BadFile as error:
        return error
    except Exception as error:
        return BadFile(path, "whole file", expected=reader.files_wanted, got=f"{type(error).__name__}: {error!s:.200}")


def _write_rejected(path: Path, rejected: list[BadFile]) -> None:
    """List what was left out, if anything was."""
    if not rejected:
        return
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "place", "expected", "got"])
        rows.writerows([error.path, error.place, error.expected, error.got] for error in rejected)
