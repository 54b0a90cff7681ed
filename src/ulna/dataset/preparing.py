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

from ulna.core import Clip, InputError, check_range, refuse_existing
from ulna.dataset.dataset import Dataset
from ulna.dataset.description import REJECTED
from ulna.dataset.writing import write_dataset
from ulna.formats import FORMATS, BadFileError, Format, Source
from ulna.formats.reading import open_format

FEW_FILES = 200  # below this, starting processes costs more than it saves


def prepare(
    format: str | Format,
    source: str | Path,
    path: str | Path,
    *,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Read the files of a folder and write them as a dataset.

    Args:
        format: Name of a format, or a `Format` with options.
        source: Folder with the files.
        path: Dataset folder to write; must not exist.
        skip_bad: Skip bad files and list them in rejected.csv, instead of raising an error.
        workers: Number of processes; all cores by default.
        progress: Show a progress bar.

    Raises:
        ExistsError: If the dataset exists.
        BadFileError: If a file cannot be read.
    """
    format, source, path = open_format(format), Path(source), Path(path)
    refuse_existing(path)
    if workers is not None:
        check_range("workers", workers, 1, 4096)
    found = format.open(source)
    rejected: list[BadFileError] = []

    def clips() -> Iterator[Clip]:
        with closing(_read_all(format, found, workers)) as results:
            bar = tqdm(results, "reading", len(found.files), unit="file", disable=not progress)
            for result in bar:
                if isinstance(result, BadFileError):
                    if not skip_bad:
                        bar.close()
                        raise result
                    rejected.append(result)
                else:
                    yield from result
        if len(rejected) == len(found.files):
            raise InputError(
                f"{source}: expected at least one good file, found {len(rejected)} bad ones; {rejected[0]}"
            )

    write_dataset(
        path,
        clips(),
        found.skeleton,
        classes=found.classes,
        class_groups=found.class_groups,
        num_persons=found.num_persons,
        finish=lambda folder: _write_rejected(folder / REJECTED, rejected),
        source={"format": FORMATS.name_of_config(type(format)), "options": _portable(format)},
    )
    return Dataset(path)


def _portable(format: Format) -> dict[str, Any]:
    """Return the options of a format as JSON values, without file paths, which may not exist later."""
    values = format.to_json()
    return {name: value for name, value in values.items() if not isinstance(getattr(format, name), Path)}


def _read_all(format: Format, found: Source, workers: int | None) -> Generator[list[Clip] | BadFileError]:
    shared = replace(found, files=found.files[:1])  # sent along with every few files, so without the full list
    read = functools.partial(_read_one, format, shared)
    if workers == 1 or len(found.files) < FEW_FILES:
        yield from map(read, found.files)
    else:
        pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=16)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tasks have been successfully executed", UserWarning)
            yield from pool(delayed(read)(path) for path in found.files)


def _read_one(format: Format, found: Source, path: Path) -> list[Clip] | BadFileError:
    """Return a file's clips, or its error; a file that makes the parser fail unexpectedly also counts as bad."""
    try:
        return format.read(path, found)
    except BadFileError as error:
        return error
    except Exception as error:
        text = f"{type(error).__name__}: {error!s:.200}"
        return BadFileError(path, "whole file", expected=format.files_wanted, found=text)


def _write_rejected(path: Path, rejected: list[BadFileError]) -> None:
    """List the skipped files in a CSV file, if there are any."""
    if not rejected:
        return
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "location", "expected", "found"])
        rows.writerows([error.path, error.location, error.expected, error.found] for error in rejected)
