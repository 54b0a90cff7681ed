"""Prepare a dataset in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ulna.core import (
    Clip,
    Workers,
    fingerprint_of_files,
    in_shards,
    new_folder,
    open_work_folder,
    write_shards,
    write_text,
)
from ulna.dataset.description import ARRAYS, INDEX, OPTIONAL_ARRAYS, shard_file
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
        found: What the files have in common, with the first of them only.
        schema: What all clips have in common.
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
    finish: Any,
) -> Notes:
    """Read files in shards and write them as a dataset.

    Works in `PATH.unfinished`. If it exists, the shards that an interrupted run with the same files and options
    finished are kept.

    Args:
        job: How files become shards.
        files: The files.
        path: Dataset folder to write; must not exist.
        workers: Where the work is done.
        source: Notes on the origin of the data, as JSON values.
        hold_out: What the default split keeps together.
        finish: Called with the unfinished folder and the notes, for example to add files.

    Raises:
        InputError: If an unfinished dataset of other files or options exists.
        BadFileError: If a file cannot be read.
    """
    size = workers.shard_size or FILES_PER_SHARD
    work = open_work_folder(path, {"source": source, "shard_size": size, "files": fingerprint_of_files(files)})
    shards = {work / f"shard-{number:05}": (number, part) for number, part in enumerate(in_shards(files, size))}
    num_done = write_shards(functools.partial(_write_shard, job), shards, workers)
    with new_folder(path) as folder:
        notes = Notes(Cutter(job.windows), [], [], num_done)
        parts: list[Shard] = []
        for number, done in enumerate(shards):
            shard = _read_shard(done, notes)
            if shard.index is not None:
                _link(done, number, folder, len(parts))
                parts.append(shard)
        notes.cutter.check()
        finish_dataset(folder, parts, job.schema, source=source, hold_out=hold_out)
        finish(folder, notes)
    shutil.rmtree(work)
    return notes


def _write_shard(job: Job, shard: tuple[int, Sequence[Path]], path: Path) -> None:
    """Read the files of one shard and write its arrays, index and notes."""
    number, files = shard
    cutter = Cutter(job.windows)
    messages: list[str] = []
    rejected: list[BadFileError] = []
    found = replace(job.found, files=tuple(files[:1]))

    def clips() -> Iterator[Clip]:
        for file in files:
            result = read_file(job.format, found, file)
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
