"""Embed a dataset in shards, on the cores of one machine or on a cluster."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from ulna.core import Workers, WorkFolder, in_shards, new_file
from ulna.dataset import Dataset
from ulna.models.folder import WEIGHTS
from ulna.models.model import Model, load
from ulna.models.recipe import Precision

CLIPS_PER_SHARD = 50_000
BYTES_PER_SHARD = 1 << 28  # of vectors, for the default size of a shard


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
        key: Hash of the content of model and dataset; processes keep both open for as long as it is the same.
    """

    model: Path
    dataset: Path
    pooling: str | None = None
    match_joints: bool = False
    precision: Precision = "32-true"
    device: str = "auto"
    key: str = ""


def embed_in_shards(job: EmbeddingJob, out: Path, workers: Workers) -> int:
    """Write a folder of Parquet files: the rows of the dataset's index with a column `embedding`.

    Works in `OUT.unfinished`; the shards that an interrupted run with the same options finished are kept.

    Args:
        job: What is embedded.
        out: Folder to write; must not exist.
        workers: Where shards are embedded.

    Returns:
        Number of shards that already existed.

    Raises:
        ExistsError: If `out` exists.
        InputError: If an unfinished folder of other options exists, or model and dataset do not fit.
    """
    job = replace(job, model=job.model.absolute(), dataset=job.dataset.absolute())
    dataset, model = Dataset(job.dataset), load(job.model, device=job.device)
    dataset.verify()
    dim = model.embedder(dataset, pooling=job.pooling, match_joints=job.match_joints).dim
    size = workers.shard_size or max(1, min(CLIPS_PER_SHARD, BYTES_PER_SHARD // (4 * dim)))
    status = (job.model / WEIGHTS).stat()
    plan = {name: str(value) for name, value in vars(job).items()} | {
        "shard_size": size, "data": dataset.fingerprint, "weights": [status.st_size, status.st_mtime_ns],
    }  # fmt: skip
    work = WorkFolder.open(out, plan)
    if workers.backend == "local" and workers.workers is None and model.device.type != "cpu":
        workers = workers.replace(workers=1)  # processes would share the GPU
    parts = in_shards(range(dataset.num_clips), size)
    _, num_done = work.write(functools.partial(_write_part, replace(job, key=work.key)), parts, workers, ".parquet")
    work.publish()
    return num_done


def with_embeddings(table: pa.Table, vectors: Float[np.ndarray, "B E"]) -> pa.Table:
    """Return rows of an index with a column `embedding`."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return table.append_column("embedding", column)


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
