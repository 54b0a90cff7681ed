"""ulna embed RUN --data STORE --out FILE.parquet"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.cli.arguments import option, parse, positional
from ulna.core import new_file, refuse_existing
from ulna.data import Store


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "embed",
        "Write one vector a clip: the store's index with a column `embedding`.",
        [
            ("run", positional(Path, "Run whose encoder to use.")),
            ("data", option(Path, "Store with the clips.")),
            ("out", option(Path, "Parquet file to write; must not exist.")),
        ],
        arguments,
    )  # fmt: skip
    from ulna.protocols import extract
    from ulna.train import load

    refuse_existing(wanted.out)
    run, store = load(wanted.run), Store(wanted.data)
    run.check(store)
    store.verify()
    features = extract(run.encoder, run.form, store, np.arange(store.num_clips)).numpy()
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    with new_file(wanted.out) as partial:
        pq.write_table(store.table.append_column("embedding", column), partial)
    print(f"{wanted.out}: {len(features):,} clips, {features.shape[1]} numbers each")
