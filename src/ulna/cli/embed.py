"""ulna embed MODEL --data DATASET --out FILE.parquet|FOLDER"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from ulna.cli.options import INLINE, LOCAL, Flag, Positional, run
from ulna.core import InputError, Workers, new_file, refuse_existing


def embed(
    model: Positional[Path],
    /,
    *,
    data: Path,
    out: Path,
    pooling: str | None = None,
    match_joints: Flag = False,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    page: Path | None = None,
    device: str = "auto",
    workers: Annotated[Workers, INLINE] = LOCAL,
) -> None:
    """Write one vector per clip: the dataset's index with a column `embedding`.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        data: Dataset with the clips.
        out: Parquet file to write, or with shards a folder of Parquet files; must not exist.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        precision: Precision of the computation. "bf16-mixed" is up to three times as fast on CPUs with bf16
            instructions.
        page: HTML file to write: a map of the embeddings whose clips play when they are clicked.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        workers: Where shards are embedded. Without shards, one process uses all cores.
    """
    import pyarrow.parquet as pq

    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset
    from ulna.models.embedding_shards import EmbeddingJob, embed_in_shards, with_embeddings

    refuse_existing(out)
    workers.refuse_if_unsharded()
    if workers.is_sharded:
        if page is not None:
            raise InputError("page: expected one Parquet file to draw, found shards. Leave out --page or the shards.")
        job = EmbeddingJob(model, data, pooling, match_joints, precision, device)
        done = embed_in_shards(job, out, workers)
        kept = f" ({done} of an interrupted run)" if done else ""
        print(f"{out}: {Dataset(data).num_clips:,} clips in {len(list(out.glob('*.parquet'))):,} files{kept}")
        return
    (loaded,), dataset = load_models([model], device), Dataset(data)
    vectors = loaded.embed(dataset, pooling=pooling, match_joints=match_joints, precision=precision)
    with new_file(out) as partial:
        pq.write_table(with_embeddings(dataset.table, vectors), partial)
    print(f"{out}: {len(vectors):,} clips, {vectors.shape[1]} numbers each")
    if page is not None:
        from ulna.analysis.viewer import show_map

        print(show_map(dataset, vectors, page, title=data.name))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(embed, arguments, prog="embed")
