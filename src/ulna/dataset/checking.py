"""Measure the quality of many clips in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.core import (
    Clip,
    InputError,
    Workers,
    fingerprint_of_files,
    in_shards,
    new_file,
    open_work_folder,
    write_shards,
)
from ulna.dataset.dataset import Dataset
from ulna.formats import FORMATS, Format, Source
from ulna.formats.reading import read_file
from ulna.quality import ClipQuality, QualityReport, measure, summarise_measures

ITEMS_PER_SHARD = 10_000
MOST_CHECKED = 50  # clips that are checked for plausible units
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
        found: What the files have in common, with the first of them only.
        skip_bad: Skip files that cannot be read.
    """

    source: Path | None
    format: Format | None = None
    found: Source | None = None
    skip_bad: bool = False


def check_in_shards(
    source: Path, out: Path, workers: Workers, *, format: Format | None = None, skip_bad: bool = False
) -> QualityReport:
    """Measure every clip of a dataset, or of files, and write the measures as a folder of Parquet files.

    Works in `OUT.unfinished`; the shards that an interrupted run with the same options finished are kept.

    Args:
        source: A dataset, a folder of files, or a file.
        out: Folder to write; must not exist.
        workers: Where the work is done.
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
        job = CheckingJob(source.absolute())
        items, key = range(dataset.num_clips), dataset.fingerprint
    else:
        found = format.open(source)
        job = CheckingJob(None, format, replace(found, files=found.files[:1]), skip_bad)
        items, key = found.files, fingerprint_of_files(found.files)
    options = None if format is None else [FORMATS.name_of_config(type(format)), str(format)]
    work = open_work_folder(out, {"items": key, "format": options, "shard_size": size, "skip_bad": skip_bad})
    parts = in_shards(items, size)
    shards = {work / f"part-{number:05}.parquet": part for number, part in enumerate(parts)}
    write_shards(functools.partial(_write_part, job), shards, workers)
    work.rename(out)
    spread = np.unique(np.linspace(0, len(items) - 1, MOST_CHECKED).astype(int)).tolist()
    return _report(out, list(_clips(replace(job, skip_bad=True), [items[i] for i in spread])))


def _clips(job: CheckingJob, items: Sequence[Any]) -> Iterator[Clip]:
    """Read the clips of some files, or those of a dataset by their indices."""
    if job.source is not None:
        dataset = Dataset(job.source)
        yield from (dataset.clip(index) for index in items)
        return
    assert job.format is not None
    assert job.found is not None
    for file in items:
        result = read_file(job.format, job.found, file)
        if result.error is not None and not job.skip_bad:
            raise result.error
        yield from result.clips


def _write_part(job: CheckingJob, items: Sequence[Any], path: Path) -> None:
    """Measure the clips of one shard and write the measures."""
    rows = []
    for clip in _clips(job, items):
        quality = measure(clip)
        rows.append(asdict(quality) | {"fps": float(clip.fps), "score": quality.score})
    with new_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial)


def _report(folder: Path, some: Sequence[Clip]) -> QualityReport:
    """Return the report of measures that were written."""
    rows = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]).to_pylist()
    if not rows or not some:
        raise InputError(f"{folder}: expected at least one clip that can be read, found none")
    fps = float(np.median([row["fps"] for row in rows]))
    return summarise_measures([_measures(row) for row in rows], some, fps=fps)


def _measures(row: dict[str, Any]) -> ClipQuality:
    values: dict[str, Any] = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name not in ("fps", "score")
    }
    return ClipQuality(**values)
