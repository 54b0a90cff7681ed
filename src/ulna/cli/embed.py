"""ulna embed MODEL --data DATASET --out FILE.parquet"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run
from ulna.core import new_file, refuse_existing


def embed(
    model: Positional[Path],
    /,
    *,
    data: Path,
    out: Path,
    pooling: str | None = None,
    match_joints: Flag = False,
    page: Path | None = None,
    device: str = "auto",
) -> None:
    """Write one vector per clip: the dataset's index with a column `embedding`.

    Args:
        model: Model folder.
        data: Dataset with the clips.
        out: Parquet file to write; must not exist.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        page: HTML file to write: a map of the embeddings whose clips play when they are clicked.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset

    refuse_existing(out)
    (loaded,), dataset = load_models([model], device), Dataset(data)
    vectors = loaded.embed(dataset, pooling=pooling, match_joints=match_joints)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    with new_file(out) as partial:
        pq.write_table(dataset.table.append_column("embedding", column), partial)
    print(f"{out}: {len(vectors):,} clips, {vectors.shape[1]} numbers each")
    if page is not None:
        from ulna.analysis.viewer import show_map

        print(show_map(dataset, vectors, page, title=data.name))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(embed, arguments, prog="embed")
