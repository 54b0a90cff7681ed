"""Search for near copies in shards of test clips, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.audit.alignment import Alignment
from ulna.audit.near_copies import ClipSet, NearCopy, Search
from ulna.core import Workers, WorkFolder, in_shards, new_file
from ulna.dataset import Dataset

CLIPS_PER_SHARD = 20_000
SCHEMA = pa.schema(
    {
        "clip": pa.int64(), "part": pa.int32(), "known": pa.int64(), "is_too_short": pa.bool_(),
        **dict.fromkeys(("distance", "degrees", "metres", "speed", "overlap"), pa.float64()),
    }
)  # fmt: skip


@dataclass(frozen=True)
class AuditJob:
    """What test clips are compared with; small, since it is sent along with every shard.

    Args:
        test: Folder of the dataset of the test clips.
        known: Folder of each dataset of known clips, and a file with the indices of its clips.
        test_joints: See `Search`.
        known_joints: See `Search`.
        threshold: See `Search`.
        key: Hash of the clips; processes keep the search tree for as long as it is the same.
    """

    test: Path
    known: tuple[tuple[Path, Path], ...]
    test_joints: tuple[int, ...]
    known_joints: tuple[tuple[int, ...], ...]
    threshold: float
    key: str


def near_copies_in_shards(
    test: ClipSet, known: Sequence[ClipSet], threshold: float, *, out: Path, workers: Workers
) -> tuple[list[NearCopy], list[int]]:
    """Find near copies as `near_copies` does, and write them as a folder of Parquet files.

    Every process builds the search tree of the known clips once. Works in `OUT.unfinished`; the shards that an
    interrupted run with the same options finished are kept.

    Args:
        test: Test clips.
        known: Known clips.
        threshold: Maximum root mean square distance of a near copy, in metres.
        out: Folder to write; must not exist.
        workers: Where shards of test clips are compared.
    """
    size = workers.shard_size or CLIPS_PER_SHARD
    search = Search.of(test, known, threshold)
    sets = [
        [part.dataset.fingerprint, hashlib.sha256(part.clips.astype("<i8").tobytes()).hexdigest()]
        for part in (test, *known)
    ]
    work = WorkFolder.open(out, {"sets": sets, "threshold": threshold, "shard_size": size})
    files = []
    for number, part in enumerate(known):
        files.append((part.dataset.path.absolute(), work.folder / f"known-{number}.npy"))
        np.save(files[-1][1], part.clips)
    path, theirs = test.dataset.path.absolute(), search.known_joints
    job = AuditJob(path, tuple(files), search.test_joints, theirs, threshold, work.key)
    parts = in_shards(test.clips.tolist(), size)
    written, _ = work.write(functools.partial(_write_part, job), parts, workers, ".parquet")
    found = _read(written)
    work.publish()
    return found


def _write_part(job: AuditJob, clips: Sequence[int], path: Path) -> None:
    """Find the near copies among the clips of one shard and write them."""
    test, search = _opened(job)
    found, too_short = search(ClipSet(test, np.array(clips)))
    rows = [
        {"clip": copy.clip, "part": copy.part, "known": copy.known, "is_too_short": False} | asdict(copy.alignment)
        for copy in found
    ]
    rows += [{"clip": clip, "is_too_short": True} for clip in too_short]
    with new_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial)


@functools.lru_cache(maxsize=1)
def _opened(job: AuditJob) -> tuple[Dataset, Search]:
    """Open the datasets and build the search tree once per process."""
    known = tuple(ClipSet(Dataset(path), np.load(clips, allow_pickle=False)) for path, clips in job.known)
    return Dataset(job.test), Search(known, job.test_joints, job.known_joints, job.threshold, threads=1)


def _read(files: Sequence[Path]) -> tuple[list[NearCopy], list[int]]:
    """Return the near copies that were written, and the clips with too few frames."""
    rows = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    too_short = [row["clip"] for row in rows if row["is_too_short"]]
    names = ("distance", "degrees", "metres", "speed", "overlap")
    copies = [
        NearCopy(row["clip"], row["part"], row["known"], Alignment(**{name: row[name] for name in names}))
        for row in rows
        if not row["is_too_short"]
    ]
    return copies, too_short
