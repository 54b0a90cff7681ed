"""ulna index MODEL DATASET INDEX"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run
from ulna.core import InputError, refuse_existing


def index(
    model: Positional[Path],
    data: Positional[Path],
    out: Positional[Path],
    /,
    *,
    pooling: str | None = None,
    match_joints: Flag = False,
    dims: int = 256,
    device: str = "auto",
) -> None:
    """Write an index of a dataset's clips, in which `ulna search` finds those that are most like another.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        data: Dataset, such as windows of long recordings (`ulna prepare --window 2 --stride 0.5`).
        out: Parquet file to write, or FOLDER.lance for a LanceDB database, which is faster for millions of clips but
            may miss some of the nearest (pip install 'ulna[search]'); must not exist.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        dims: Largest number of principal directions that are kept of the embeddings.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset
    from ulna.models.search import SearchIndex

    refuse_existing(out)
    if dims < 1:
        raise InputError(f"dims: expected a number of at least 1, found {dims}")
    (loaded,), dataset = load_models([model], device), Dataset(data)
    found = SearchIndex.build(loaded, dataset, pooling=pooling, match_joints=match_joints, dims=dims)
    found.save(out)
    print(f"{out}: {len(found.rows):,} clips, {found.info.dims} numbers each")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(index, arguments, prog="index")
