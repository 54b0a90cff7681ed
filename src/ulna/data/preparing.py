"""Prepare: files -> store, on all cores."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from ulna.core import Clip, new_file, refuse_existing
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
    found = reader.open(source)
    rejected: list[BadFile] = []

    def clips() -> Iterator[Clip]:
        bar = tqdm(_read_all(reader, found, workers), "reading", len(found.files), unit="file", disable=not progress)
        for outcome in bar:
            if isinstance(outcome, BadFile):
                if not skip_bad:
                    raise outcome
                rejected.append(outcome)
            else:
                yield from outcome

    written = write_store(
        store,
        clips(),
        found.skeleton,
        classes=found.classes,
        class_groups=found.class_groups,
        num_persons=found.num_persons,
        source={"reader": READERS.name_of(type(reader))} | {k: str(v) for k, v in asdict(reader).items()},  # type: ignore[call-overload]
    )
    if rejected:
        _write_rejected(store / REJECTED, rejected)
    return written


def _read_all(reader: Reader, found: Source, workers: int | None) -> Iterator[list[Clip] | BadFile]:
    read = functools.partial(_read_one, reader, found)
    if workers == 1 or len(found.files) < FEW_FILES:
        yield from map(read, found.files)
    else:
        pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=16)
        yield from pool(delayed(read)(path) for path in found.files)


def _read_one(reader: Reader, found: Source, path: Path) -> list[Clip] | BadFile:
    try:
        return reader.read(path, found)
    except BadFile as error:
        return error


def _write_rejected(path: Path, rejected: list[BadFile]) -> None:
    with new_file(path) as partial, partial.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "place", "expected", "got"])
        rows.writerows([error.path, error.place, error.expected, error.got] for error in rejected)
