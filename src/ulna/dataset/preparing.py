"""Prepare a dataset from files, using all cores."""

from __future__ import annotations

import csv
import functools
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from ulna.core import (
    Clip,
    Config,
    InputError,
    UlnaWarning,
    Workers,
    refuse_existing,
    spread_evenly,
    with_absolute_paths,
)
from ulna.dataset.dataset import Dataset
from ulna.dataset.description import DESCRIPTION, REJECTED
from ulna.dataset.holdout import HoldOut
from ulna.dataset.preparing_shards import Job, prepare_shards
from ulna.dataset.windows import Cutter, Windows
from ulna.dataset.writing import Schema, write_dataset
from ulna.formats import FORMATS, BadFileError, Format, Source
from ulna.formats.reading import FileResult, detect_format, open_format, read_file
from ulna.quality import plausibility

MOST_WARNINGS = 10
MOST_CHECKED = 50  # files whose clips are checked for plausibility
FEW_FILES = 200  # below this, starting processes costs more than it saves


def prepare(
    format: str | Format | None,
    source: str | Path,
    path: str | Path,
    *,
    windows: Windows | None = None,
    hold_out: HoldOut | None = None,
    skip_bad: bool = False,
    workers: Workers | int | None = None,
    progress: bool = True,
) -> Dataset:
    """Read the files of a folder and write them as a dataset.

    Args:
        format: Name of a format, or a `Format` with options; None detects it.
        source: Folder with the files, one file, or a dataset whose clips are cut anew.
        path: Dataset folder to write; must not exist.
        windows: How long recordings are cut into clips; by default they are not.
        hold_out: What the default split keeps together: "group", "subject", "recording" or "clip". By default the first
            of them that all labelled clips state.
        skip_bad: Skip bad files and list them in rejected.csv, instead of raising an error.
        workers: Where files are read, and in what shards; or the number of processes, all cores by default. Each shard
            becomes a file of its own for every array, and the same call continues after an interruption.
        progress: Show a progress bar.

    Raises:
        ExistsError: If the dataset exists.
        BadFileError: If a file cannot be read.
    """
    source, path = Path(source), Path(path)
    refuse_existing(path)
    if (source / DESCRIPTION).is_file():
        if isinstance(workers, Workers) and workers != Workers():
            raise InputError(f"{source}: expected files to read in shards or processes, found a dataset")
        return _recut(Dataset(source), path, windows or Windows(), hold_out)
    format = open_format(detect_format(source) if format is None else format)
    if not isinstance(workers, Workers):
        workers = Workers(workers=workers)
    options = windows or Windows()
    if workers.is_sharded:  # other machines may have another working folder
        source, format, options = source.absolute(), with_absolute_paths(format), with_absolute_paths(options)
    found = format.open(source)
    notes = {"format": FORMATS.name_of_config(type(format)), "options": _portable(format)}
    notes |= {"windows": _portable(options)} if options.is_active else {}
    num_persons = 1 if options.persons == "separate" else found.num_persons
    if workers.is_sharded:
        messages = _in_shards(
            format, found, path, workers=workers, windows=options, num_persons=num_persons, skip_bad=skip_bad,
            source=notes, hold_out=hold_out,
        )  # fmt: skip
    else:
        messages = _in_one(
            format, found, path, folder=source, workers=workers.workers, windows=options, num_persons=num_persons,
            skip_bad=skip_bad, source=notes, hold_out=hold_out, progress=progress,
        )  # fmt: skip
    for message in messages[:MOST_WARNINGS]:
        warnings.warn(message, UlnaWarning, stacklevel=2)
    if len(messages) > MOST_WARNINGS:
        warnings.warn(f"{len(messages) - MOST_WARNINGS} more warnings about files", UlnaWarning, stacklevel=2)
    return Dataset(path)


def _in_shards(
    format: Format,
    found: Source,
    path: Path,
    *,
    workers: Workers,
    windows: Windows,
    num_persons: int | None,
    skip_bad: bool,
    source: dict[str, Any],
    hold_out: HoldOut | None,
) -> list[str]:
    """Write a dataset in shards; returns warnings."""
    if num_persons is None:
        raise InputError(
            "shards: expected a format with a known number of persons, found one that counts them while reading. "
            "Use --persons separate, or prepare without shards."
        )
    classes = Cutter(windows).with_labels(found.classes)
    schema = Schema(found.skeleton, classes, num_persons, found.class_groups)
    job = Job(format, replace(found, files=found.files[:1]), schema, windows, skip_bad)
    notes = prepare_shards(
        job, found.files, path, workers=workers, source=source, hold_out=hold_out,
        finish=lambda folder, notes: _write_rejected(folder / REJECTED, notes.rejected),
    )  # fmt: skip
    made = Dataset(path)
    some = [made.clip(i) for i in spread_evenly(made.num_clips, MOST_CHECKED)]
    done = [f"{notes.num_done} shards of an interrupted run were kept"] if notes.num_done else []
    return [*done, *plausibility(some), *notes.cutter.warnings(), *notes.messages]


def _in_one(
    format: Format,
    found: Source,
    path: Path,
    *,
    folder: Path,
    workers: int | None,
    windows: Windows,
    num_persons: int | None,
    skip_bad: bool,
    source: dict[str, Any],
    hold_out: HoldOut | None,
    progress: bool,
) -> list[str]:
    """Write a dataset with one file per array; returns warnings."""
    cutter = Cutter(windows)
    rejected: list[BadFileError] = []
    messages: list[str] = []
    checked: list[Clip] = []

    def clips() -> Iterator[Clip]:
        with closing(_read_all(format, found, workers)) as results:
            bar = tqdm(results, "reading", len(found.files), unit="file", disable=not progress)
            spacing = max(1, len(found.files) // MOST_CHECKED)
            for number, result in enumerate(bar):
                messages.extend(result.messages)
                if result.error is None:
                    checked.extend(result.clips[: MOST_CHECKED if number % spacing == 0 else 0])
                    for clip in result.clips:
                        yield from cutter.clips(clip)
                    continue
                if not skip_bad:
                    bar.close()
                    raise result.error
                rejected.append(result.error)
        cutter.check()
        if len(rejected) == len(found.files):
            raise InputError(
                f"{folder}: expected at least one good file, found {len(rejected)} bad ones; {rejected[0]}"
            )

    write_dataset(
        path,
        clips(),
        found.skeleton,
        classes=cutter.with_labels(found.classes),
        class_groups=found.class_groups,
        num_persons=num_persons,
        cut=cutter if windows.is_active else None,
        hold_out=hold_out,
        finish=lambda made: _write_rejected(made / REJECTED, rejected),
        source=source,
    )
    return [*plausibility(checked), *cutter.warnings(), *messages]


def _recut(dataset: Dataset, path: Path, windows: Windows, hold_out: HoldOut | None) -> Dataset:
    """Cut the clips of a dataset and write them as another."""
    if "recording" in dataset.table.column_names and len(set(dataset.recordings)) < dataset.num_clips:
        raise InputError(f"{dataset.path}: expected whole recordings to cut, found windows. Cut the recordings again.")
    cutter = Cutter(windows)

    def clips() -> Iterator[Clip]:
        for clip in range(dataset.num_clips):
            yield from cutter.clips(dataset.clip(clip))
        cutter.check()

    write_dataset(
        path,
        clips(),
        dataset.skeleton,
        classes=cutter.with_labels(dataset.classes),
        class_groups=dataset.class_groups,
        num_persons=1 if windows.persons == "separate" else dataset.num_persons,
        cut=cutter if windows.is_active else None,
        hold_out=hold_out,
        source=dataset.description.source | ({"windows": _portable(windows)} if windows.is_active else {}),
    )
    for message in cutter.warnings():
        warnings.warn(message, UlnaWarning, stacklevel=3)
    return Dataset(path)


def _portable(format: Config) -> dict[str, Any]:
    """Return options as JSON values, without file paths, which may not exist later."""
    values = format.to_json()
    return {name: value for name, value in values.items() if not isinstance(getattr(format, name), Path)}


def _read_all(format: Format, found: Source, workers: int | None) -> Generator[FileResult]:
    shared = replace(found, files=found.files[:1])  # sent along with every few files, so without the full list
    read = functools.partial(read_file, format, shared)
    if workers == 1 or len(found.files) < FEW_FILES:
        yield from map(read, found.files)
    else:
        pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=16)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tasks have been successfully executed", UserWarning)
            yield from pool(delayed(read)(path) for path in found.files)


def _write_rejected(path: Path, rejected: list[BadFileError]) -> None:
    """List the skipped files in a CSV file, if there are any."""
    if not rejected:
        return
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "location", "expected", "found"])
        rows.writerows([error.path, error.location, error.expected, error.found] for error in rejected)
