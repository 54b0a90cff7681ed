"""Prepare a dataset in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ulna.core import (
    Clip,
    InputError,
    Workers,
    WorkFolder,
    fingerprint_of_files,
    in_shards,
    new_folder,
    write_text,
)
from ulna.dataset.description import ARRAYS, INDEX, OPTIONAL_ARRAYS, VERSION, shard_file
from ulna.dataset.holdout import HoldOut
from ulna.dataset.windows import Cutter, Windows
from ulna.dataset.writing import Schema, Shard, finish_dataset, write_shard
from ulna.formats import BadFileError, Format, Source
from ulna.formats.reading import read_file

NOTES = "notes.json"
FILES_PER_SHARD = 10_000


@dataclass(frozen=True)
class Job:
    """How files become shards.

    Args:
        format: The format.
        found: Properties shared by the files, with the first of them only, since it is sent along with every shard.
        schema: Properties shared by all clips.
        windows: How recordings are cut.
        skip_bad: Skip bad files.
    """

    format: Format
    found: Source
    schema: Schema
    windows: Windows
    skip_bad: bool


@dataclass
class Notes:
    """What was found while shards were read.

    Args:
        cutter: Counts of annotations.
        messages: Warnings.
        rejected: Bad files that were skipped.
        num_done: Number of shards that an earlier, interrupted run had finished.
    """

    cutter: Cutter
    messages: list[str]
    rejected: list[BadFileError]
    num_done: int = 0


def prepare_shards(
    job: Job,
    files: Sequence[Path],
    path: Path,
    *,
    workers: Workers,
    source: Mapping[str, Any],
    hold_out: HoldOut | None,
    finish: Callable[[Path, Notes], None],
) -> Notes:
    """Read files in shards and write them as a dataset.

    Works in `PATH.unfinished`. If it exists, the shards that an interrupted run with the same files and options
    finished are kept. If the shards do not make a dataset, for example because an id occurs twice, they are removed.

    Args:
        job: How files become shards.
        files: The files.
        path: Dataset folder to write; must not exist.
        workers: Where files are read.
        source: Notes on the origin of the data, as JSON values.
        hold_out: What the default split keeps together.
        finish: Called with the unfinished folder and the notes, for example to add files.

    Raises:
        InputError: If an unfinished dataset of other files or options exists, or the shards do not make a dataset.
        BadFileError: If a file cannot be read.
    """
    size = workers.shard_size or FILES_PER_SHARD
    work = WorkFolder.open(path, _plan(job, files, source, size))
    parts = list(enumerate(in_shards(files, size)))
    shards, num_done = work.write(functools.partial(_write_shard, job), parts, workers)
    try:
        with new_folder(path) as folder:
            notes = Notes(Cutter(job.windows), [], [], num_done)
            made: list[Shard] = []
            for number, done in enumerate(shards):
                shard = _read_shard(done, notes)
                if shard.index is not None:
                    _link(done, number, folder, len(made))
                    made.append(shard)
            if notes.rejected and not job.skip_bad:
                raise notes.rejected[0]
            notes.cutter.check()
            finish_dataset(folder, made, job.schema, source=source, hold_out=hold_out)
            finish(folder, notes)
    except InputError:
        work.remove()
        raise
    work.remove()
    return notes


def _plan(job: Job, files: Sequence[Path], source: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return everything that the shards depend on."""
    options = [value for config in (job.format, job.windows) for value in dict(config).values()]
    inputs = [path for value in options if isinstance(value, Path) for path in [value, *sorted(value.rglob("*"))]]
    schema = [job.schema.skeleton.to_json(), job.schema.classes, job.schema.num_persons]
    return {
        "version": VERSION, "source": source, "schema": schema, "shard_size": size,
        "files": fingerprint_of_files(files), "inputs": fingerprint_of_files(inputs),
    }  # fmt: skip


def _write_shard(job: Job, shard: tuple[int, Sequence[Path]], path: Path) -> None:
    """Read the files of one shard and write its arrays, index and notes."""
    number, files = shard
    cutter = Cutter(job.windows)
    messages: list[str] = []
    rejected: list[BadFileError] = []

    def clips() -> Iterator[Clip]:
        for file in files:
            result = read_file(job.format, job.found, file)
            messages.extend(result.messages)
            if result.error is None:
                for clip in result.clips:
                    yield from cutter.clips(clip)
            elif job.skip_bad:
                rejected.append(result.error)
            else:
                raise result.error

    with new_folder(path) as folder:
        made = write_shard(folder, clips(), job.schema, cut=cutter if job.windows.is_active else None, number=number)
        if made.index is not None:
            pq.write_table(made.index, folder / INDEX)
        bad = [[str(one.path), one.location, one.expected, one.found, one.advice] for one in rejected]
        content = {
            "num_frames": made.num_frames,
            "dimensions": made.dimensions,
            "units": made.units,
            "messages": messages,
            "rejected": bad,
            "cutter": cutter.notes(),
        }
        write_text(folder / NOTES, json.dumps(content))


def _read_shard(path: Path, notes: Notes) -> Shard:
    """Return a finished shard and add its notes to those of the others."""
    content = json.loads((path / NOTES).read_text(encoding="utf-8"))
    notes.messages += content["messages"]
    for name, location, expected, found, advice in content["rejected"]:
        notes.rejected.append(BadFileError(Path(name), location, expected=expected, found=found, advice=advice))
    notes.cutter.add(content["cutter"])
    index = pq.read_table(path / INDEX) if (path / INDEX).exists() else None
    return Shard(index, content["num_frames"], content["dimensions"], content["units"])


def _link(shard: Path, number: int, folder: Path, new_number: int) -> None:
    """Link the arrays of a shard into a folder, or copy them where the file system has no links."""
    for name in (*ARRAYS, *OPTIONAL_ARRAYS):
        file = shard / shard_file(name, number)
        if file.exists():
            target = folder / shard_file(name, new_number)
            try:
                os.link(file, target)
            except OSError:
                shutil.copyfile(file, target)
