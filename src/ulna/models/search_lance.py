"""An index in a LanceDB database, for millions of clips: approximate neighbours, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from ulna.core import InputError, MissingError, new_folder, write_text
from ulna.dataset.where import as_sql
from ulna.models.search import ADVICE, VECTOR, Hit, Rows

TABLE, INFO = "clips", "ulna.json"
LEAST_INDEXED = 10_000  # below, LanceDB compares all clips
PROBES, REFINED = 20, 10  # partitions that are looked into, and candidates per clip that are compared exactly


@dataclass(frozen=True)
class LanceRows(Rows):
    """Clips in a LanceDB table.

    Args:
        table: The table.
    """

    table: Any

    def __len__(self) -> int:
        """Return the number of clips."""
        return int(self.table.count_rows())

    def nearest(self, vectors: Float[Tensor, "B R"], k: int, condition: str) -> list[list[Hit]]:
        """Return about the k nearest clips of each vector that meet a condition, by cosine similarity."""
        columns = [name for name in self.table.schema.names if name != VECTOR]
        found = []
        for vector in vectors:
            query = self.table.search(vector.numpy(), vector_column_name=VECTOR).distance_type("cosine").limit(k)
            query = query.nprobes(PROBES).refine_factor(REFINED).select([*columns, "_distance"])
            if condition:
                query = query.where(as_sql(condition, columns), prefilter=True)
            try:
                rows = query.to_list()
            except (ValueError, RuntimeError) as error:
                if not condition:
                    raise InputError(f"expected an index, found a damaged database ({error}). {ADVICE}") from None
                raise InputError(f"where: expected a condition on columns, found {condition!r} ({error})") from None
            found.append([Hit(row["id"], 1 - row.pop("_distance"), row) for row in rows])
        return found


def write_lance(table: pa.Table, info: str, path: Path) -> None:
    """Write an index as a LanceDB database; raises MissingError if LanceDB is not installed."""
    lancedb = _lancedb()
    with new_folder(path) as folder:
        opened = lancedb.connect(str(folder)).create_table(TABLE, table.replace_schema_metadata(None))
        if len(table) >= LEAST_INDEXED:
            opened.create_index(metric="cosine", vector_column_name=VECTOR, index_type="IVF_FLAT")
        write_text(folder / INFO, info)


def open_lance(path: Path) -> tuple[LanceRows, bytes]:
    """Return the clips of a database, and what the index says about itself.

    Raises:
        InputError: If it is no index.
        MissingError: If LanceDB is not installed.
    """
    if not (path / INFO).is_file():
        raise InputError(f"{path}: expected an index, found another folder. {ADVICE}")
    lancedb = _lancedb()
    try:
        table = lancedb.connect(str(path)).open_table(TABLE)
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: expected an index, found a damaged database ({error}). {ADVICE}") from None
    return LanceRows(table), (path / INFO).read_bytes()


def _lancedb() -> Any:
    try:
        import lancedb
    except ImportError:
        raise MissingError("expected the package lancedb. pip install 'ulna[search]'") from None
    return lancedb
