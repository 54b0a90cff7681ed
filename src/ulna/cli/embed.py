"""ulna embed RUN --data STORE --out FILE.parquet"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.cli.arguments import option, parse, pos_embed
from ulna.core import new_file, refuse_existing
from ulna.data import Dataset


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "embed",
        "Write one vector a clip: the dataset's index with a column `embedding`.",
        [
            ("run", pos_embed(Path, "Run whose encoder to use.")),
            ("data", option(Path, "Dataset with the clips.")),
            ("out", option(Path, "Parquet file to write; must not exist.")),
        ],
        arguments,
    )  # fmt: skip
    from ulna.evaluation import extract
    from ulna.training import load

    refuse_existing(wanted.out)
    run, dataset = load(wanted.run), Dataset(wanted.data)
    run.check(dataset)
    dataset.verify()
    features = extract(run.encoder, run.form, dataset, np.arange(dataset.num_clips)).numpy()
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    with new_file(wanted.out) as partial:
        pq.write_table(dataset.table.append_column("embedding", column), partial)
    print(f"{wanted.out}: {len(features):,} clips, {features.shape[1]} numbers each")
