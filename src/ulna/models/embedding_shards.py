"""Embed a dataset in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from ulna.core import Workers, in_shards, new_file, open_work_folder, write_shards
from ulna.dataset import Dataset
from ulna.models.folder import WEIGHTS
from ulna.models.model import Model, load
from ulna.models.recipe import Precision

CLIPS_PER_SHARD = 50_000


@dataclass(frozen=True)
class EmbeddingJob:
    """How shards of a dataset are embedded.

    Args:
        model: Model folder.
        dataset: Dataset folder.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        precision: Precision of the computation.
        device: "cpu", "cuda", or "auto".
    """

    model: Path
    dataset: Path
    pooling: str | None = None
    match_joints: bool = False
    precision: Precision = "32-true"
    device: str = "auto"


def embed_in_shards(job: EmbeddingJob, out: Path, workers: Workers) -> int:
    """Write a folder of Parquet files: the rows of the dataset's index with a column `embedding`.

    Works in `OUT.unfinished`; the shards that an interrupted run with the same options finished are kept.

    Args:
        job: What is embedded.
        out: Folder to write; must not exist.
        workers: Where the work is done.

    Returns:
        How many shards existed already.

    Raises:
        ExistsError: If `out` exists.
        InputError: If an unfinished folder of other options exists, or model and dataset do not fit.
    """
    dataset = Dataset(job.dataset)
    dataset.verify()
    load(job.model, device=job.device).embedder(dataset, pooling=job.pooling, match_joints=job.match_joints)
    size = workers.shard_size or CLIPS_PER_SHARD
    status = (job.model / WEIGHTS).stat()
    plan = {name: str(value) for name, value in vars(job).items()} | {
        "shard_size": size, "data": dataset.fingerprint, "weights": [status.st_size, status.st_mtime_ns],
    }  # fmt: skip
    work = open_work_folder(out, plan)
    parts = in_shards(range(dataset.num_clips), size)
    shards = {work / f"part-{number:05}.parquet": part for number, part in enumerate(parts)}
    done = write_shards(functools.partial(_write_part, _absolute(job)), shards, workers)
    work.rename(out)
    return done


def with_embeddings(table: pa.Table, vectors: Float[np.ndarray, "B E"]) -> pa.Table:
    """Return rows of an index with a column `embedding`."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return table.append_column("embedding", column)


def _absolute(job: EmbeddingJob) -> EmbeddingJob:
    """Return the job with paths that do not depend on the working folder."""
    return replace(job, model=job.model.absolute(), dataset=job.dataset.absolute())


def _write_part(job: EmbeddingJob, clips: range, path: Path) -> None:
    """Embed one shard and write it."""
    dataset, model = _opened(job)
    embedder = replace(
        model.embedder(dataset, pooling=job.pooling, match_joints=job.match_joints, check=False),
        precision=job.precision,
    )
    vectors = embedder.embed_dataset(dataset, np.arange(clips.start, clips.stop)).numpy()
    with new_file(path) as partial:
        pq.write_table(with_embeddings(dataset.table.slice(clips.start, len(clips)), vectors), partial)


@functools.lru_cache(maxsize=1)
def _opened(job: EmbeddingJob) -> tuple[Dataset, Model]:
    """Open dataset and model once per process."""
    return Dataset(job.dataset), load(job.model, device=job.device)
