"""Measure the quality of many clips in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.core import (
    InputError,
    UlnaWarning,
    Workers,
    WorkFolder,
    fingerprint_of_files,
    in_shards,
    new_file,
    spread_evenly,
    with_absolute_paths,
)
from ulna.dataset.dataset import Dataset
from ulna.formats import FORMATS, Format, Source
from ulna.formats.reading import FileResult, read_file
from ulna.quality import ClipQuality, QualityReport, measure, summarise_measures

ITEMS_PER_SHARD = 10_000
MOST_CHECKED = 50  # clips that are checked for plausible units
MOST_WARNINGS = 10
MESSAGES = b"messages"
SCHEMA = pa.schema(
    {
        "clip": pa.string(), "num_frames": pa.int64(), "fps": pa.float64(), "score": pa.float64(),
        **dict.fromkeys(("empty", "repeated", "size", "height", "farthest"), pa.float64()),
        "num_fast": pa.int64(), "swaps": pa.int64(), "up": pa.string(),
        **dict.fromkeys(("missing", "confidence", "jitter", "fast", "bone_spread"), pa.list_(pa.float64())),
    }
)  # fmt: skip


@dataclass(frozen=True)
class CheckingJob:
    """Where clips come from.

    Args:
        source: Dataset folder, or None for files.
        format: Format of the files.
        found: Properties shared by the files, with the first of them only.
        skip_bad: Skip files that cannot be read.
        key: Hash of the content of the dataset.
    """

    source: Path | None
    format: Format | None = None
    found: Source | None = None
    skip_bad: bool = False
    key: str = ""


def check_in_shards(
    source: Path, out: Path, workers: Workers, *, format: Format | None = None, skip_bad: bool = False
) -> QualityReport:
    """Measure every clip of a dataset, or of files, and write the measures as a folder of Parquet files.

    Works in `OUT.unfinished`; the shards that an interrupted run with the same options finished are kept.

    Args:
        source: A dataset, a folder of files, or a file.
        out: Folder to write; must not exist.
        workers: Where the work runs.
        format: Format of the files; None for a dataset.
        skip_bad: Skip files that cannot be read, instead of raising an error.

    Raises:
        ExistsError: If `out` exists.
        BadFileError: If a file cannot be read.
    """
    size = workers.shard_size or ITEMS_PER_SHARD
    items: Sequence[Any]
    if format is None:
        dataset = Dataset(source)
        job = CheckingJob(source.absolute(), key=dataset.fingerprint)
        items, plan = range(dataset.num_clips), {"data": dataset.fingerprint}
    else:
        format = with_absolute_paths(format)
        found = format.open(source.absolute())
        job = CheckingJob(None, format, replace(found, files=found.files[:1]), skip_bad)
        items, plan = found.files, {"data": fingerprint_of_files(found.files)}
        plan["format"] = f"{FORMATS.name_of_config(type(format))} {format}"
    work = WorkFolder.open(out, plan | {"shard_size": size, "skip_bad": skip_bad})
    files, _ = work.write(functools.partial(_write_part, job), in_shards(items, size), workers, ".parquet")
    report = _report(files, job, items)
    work.publish()
    return report


def _clips(job: CheckingJob, items: Sequence[Any]) -> Iterator[FileResult]:
    """Read some files, or clips of a dataset by their indices."""
    if job.source is not None:
        dataset = _opened(job.source, job.key)
        yield from (FileResult([dataset.clip(index)], []) for index in items)
        return
    assert job.format is not None
    assert job.found is not None
    for file in items:
        yield read_file(job.format, job.found, file)


@functools.lru_cache(maxsize=1)
def _opened(path: Path, key: str) -> Dataset:  # noqa: ARG001
    """Open a dataset once per process, for as long as its content is the same."""
    return Dataset(path)


def _write_part(job: CheckingJob, items: Sequence[Any], path: Path) -> None:
    """Measure the clips of one shard and write the measures; messages are kept in the metadata of the file."""
    rows, messages = [], []
    for result in _clips(job, items):
        messages += result.messages
        if result.error is not None:
            if not job.skip_bad:
                raise result.error
            messages.append(f"skipped {result.error}")
        for clip in result.clips:
            quality = measure(clip)
            rows.append(asdict(quality) | {"fps": float(clip.fps), "score": quality.score})
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({MESSAGES: json.dumps(messages)}))
    with new_file(path) as partial:
        pq.write_table(table, partial)


def _report(files: Sequence[Path], job: CheckingJob, items: Sequence[Any]) -> QualityReport:
    """Return the report of measures that were written, and warn about files that were skipped."""
    tables = [pq.read_table(file) for file in files]
    messages = [message for table in tables for message in json.loads(table.schema.metadata[MESSAGES])]
    for message in messages[:MOST_WARNINGS]:
        warnings.warn(message, UlnaWarning, stacklevel=4)
    if len(messages) > MOST_WARNINGS:
        warnings.warn(f"{len(messages) - MOST_WARNINGS} more warnings about files", UlnaWarning, stacklevel=4)
    measures = [one for table in tables if len(table) for one in _measures(table)]
    if not measures:
        raise InputError(f"expected at least one clip that can be read, found none; {messages[0] if messages else ''}")
    spread = [items[i] for i in spread_evenly(len(items), MOST_CHECKED)]
    some = [clip for result in _clips(job, spread) for clip in result.clips]
    some = some or next(result.clips for result in _clips(job, items) if result.clips)
    fps = float(np.median(np.concatenate([table["fps"].to_numpy() for table in tables])))
    return summarise_measures(measures, some, fps=fps)


def _measures(table: pa.Table) -> Iterator[ClipQuality]:
    """Yield the measures of a shard; lists of numbers are rows of one array, which takes a fifth of the memory."""
    columns: dict[str, Any] = {}
    for name in (column for column in SCHEMA.names if column not in ("fps", "score")):
        column = table[name].combine_chunks()
        is_list = pa.types.is_list(column.type)
        columns[name] = column.flatten().to_numpy().reshape(len(table), -1) if is_list else column.to_pylist()
    for row in range(len(table)):
        yield ClipQuality(**{name: values[row] for name, values in columns.items()})
