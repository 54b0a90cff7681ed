"""Search: an index of embeddings, and the clips that are most like another."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import Clip, Config, Count, InputError, MissingError, new_file, refuse_existing, spread_evenly
from ulna.dataset import Dataset
from ulna.dataset.description import hash_file
from ulna.dataset.where import where
from ulna.models.folder import WEIGHTS
from ulna.models.model import Model
from ulna.models.standardisation import principal_directions, standardisation

VECTOR = "vector"
KEY, LANCE = b"ulna", ".lance"
MOST_FITTED = 4000  # clips that the principal directions are computed from
ROWS_AT_ONCE = 65_536
ADVICE = "Write it again with `ulna index`."


class IndexInfo(Config):
    """What an index was made of, and how embeddings become its vectors."""

    version: Literal[1] = 1
    model: str
    """Folder or name of the model."""
    sha256: str
    """SHA-256 hash of the model's weights."""
    pooling: Annotated[str, Field(max_length=60)]
    """How the encoder's output was pooled."""
    match_joints: bool
    """Whether joints were matched by name."""
    dataset: str
    """Folder of the dataset."""
    fingerprint: str
    """Fingerprint of the dataset."""
    longest: Annotated[float, Field(gt=0)]
    """Duration of the longest clip in seconds."""
    embedding_dim: Count
    """E, the width of an embedding."""
    dims: Count
    """R, the width of a vector."""
    arrays: dict[str, str]
    """Mean (E,) and standard deviation (E,) in single precision, and principal directions (E, R) in half precision, as
    base64."""


@dataclass(frozen=True)
class Hit:
    """A clip that was found.

    Args:
        clip: Id of the clip.
        similarity: Cosine similarity to the query, -1 to 1.
        row: Everything else that the index says about the clip: label, recording, begin and duration in seconds, ...
    """

    clip: str
    similarity: float
    row: dict[str, Any] = field(repr=False)


class Rows(ABC):
    """The clips of an index: how they are stored and compared."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of clips."""

    @abstractmethod
    def nearest(self, vectors: Float[Tensor, "B R"], k: int, condition: str) -> list[list[Hit]]:
        """Return the k nearest clips of each vector that meet a condition; none if no clip meets it."""


@dataclass(frozen=True)
class ExactRows(Rows):
    """Clips in memory; every one is compared.

    Args:
        table: One row per clip: the dataset's index, and the column `vector`.
    """

    table: pa.Table

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.table)

    def nearest(self, vectors: Float[Tensor, "B R"], k: int, condition: str) -> list[list[Hit]]:
        """Return the k nearest clips of each vector that meet a condition, by cosine similarity."""
        table = where(self.table, condition) if condition else self.table
        best, place = torch.full((len(vectors), 0), -2.0), torch.zeros(len(vectors), 0, dtype=torch.long)
        for start in range(0, len(table), ROWS_AT_ONCE):
            known = _matrix(table[VECTOR].slice(start, ROWS_AT_ONCE), vectors.shape[1])
            similarity, order = (vectors @ known.T).topk(min(k, len(known)), dim=1)
            best, place = torch.cat([best, similarity], dim=1), torch.cat([place, order + start], dim=1)
            best, chosen = best.topk(min(k, best.shape[1]), dim=1)
            place = place.gather(1, chosen)
        described = table.drop_columns([VECTOR])
        return [
            [
                Hit(row["id"], float(value), row)
                for value, row in zip(values, described.take(rows.numpy()).to_pylist(), strict=True)
            ]
            for values, rows in zip(best, place, strict=True)
        ]


@dataclass(frozen=True)
class SearchIndex:
    """Vectors of a dataset's clips, to find those that are most like another clip.

    Args:
        rows: The clips.
        info: What the index was made of.
    """

    rows: Rows
    info: IndexInfo

    @classmethod
    def build(
        cls,
        model: Model,
        dataset: Dataset,
        *,
        pooling: str | None = None,
        match_joints: bool = False,
        dims: int = 256,
    ) -> SearchIndex:
        """Embed the clips of a dataset.

        Embeddings are standardised and projected onto the principal directions of the dataset, so that similarities
        hardly change and the index stays small.

        Args:
            model: A model with a folder.
            dataset: The dataset.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            match_joints: Accept a dataset of another skeleton and match joints by name.
            dims: Largest width of a vector.

        Raises:
            InputError: If skeletons do not fit.
            MissingError: If the model was not saved.
        """
        if model.path is None:
            raise MissingError("expected a model folder to index with, found a model that was not saved")
        if dataset.num_clips < 2:
            raise InputError(f"{dataset.path}: expected at least two clips to search among, found {dataset.num_clips}")
        vectors = torch.from_numpy(model.embed(dataset, pooling=pooling, match_joints=match_joints))
        some = vectors[spread_evenly(len(vectors), MOST_FITTED)]
        mean, sd = standardisation(some)
        basis = principal_directions((some - mean) / sd, dims)
        info = IndexInfo(
            model=str(model.path.absolute()),
            sha256=hash_file(model.path / WEIGHTS),
            pooling=pooling or model.recipe.pooling,
            match_joints=match_joints,
            dataset=str(dataset.path.absolute()),
            fingerprint=dataset.fingerprint,
            longest=float((dataset.lengths / dataset.fps).max()),
            embedding_dim=vectors.shape[1],
            dims=basis.shape[1],
            arrays={name: _encoded(name, array) for name, array in (("mean", mean), ("sd", sd), ("directions", basis))},
        )
        described = _described(dataset)
        index = cls(ExactRows(described), info)  # projects with the numbers that are stored
        return cls(ExactRows(described.append_column(VECTOR, vector_column(index.project(vectors)))), info)

    def save(self, path: Path) -> None:
        """Write the index.

        Args:
            path: Parquet file to write, or folder of a LanceDB database (FOLDER.lance), which finds the nearest clips
                of millions faster, but not always all of them.

        Raises:
            ExistsError: If it exists.
            MissingError: If LanceDB is asked for and not installed.
        """
        refuse_existing(path)
        if not isinstance(self.rows, ExactRows):
            raise InputError("expected an index in memory to write, found a database. Index the dataset again.")
        if path.suffix == LANCE:
            from ulna.models.search_lance import write_lance

            write_lance(self.rows.table, self.info.model_dump_json(), path)
            return
        metadata = {KEY: self.info.model_dump_json().encode()}
        with new_file(path) as partial:
            pq.write_table(self.rows.table.replace_schema_metadata(metadata), partial)

    @classmethod
    def open(cls, path: Path) -> SearchIndex:
        """Open an index.

        Raises:
            MissingError: If there is no such file.
            InputError: If it is no index, damaged or empty.
        """
        if path.suffix == LANCE and path.is_dir():
            from ulna.models.search_lance import open_lance

            rows, text = open_lance(path)
            return cls(rows, _info(path, text))
        if not path.is_file():
            raise MissingError(f"{path}: expected an index, found none. Write one with `ulna index`.")
        try:
            table = pq.read_table(path)
            table.validate(full=True)  # text that is not UTF-8
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: expected an index, found a damaged file ({error}). {ADVICE}") from None
        stored = (table.schema.metadata or {}).get(KEY)
        if stored is None or VECTOR not in table.column_names or "id" not in table.column_names:
            raise InputError(f"{path}: expected an index, found another Parquet file. {ADVICE}")
        info = _info(path, stored)
        times = [table.schema.field(name).type for name in ("begin", "duration") if name in table.column_names]
        if times != [pa.float64()] * 2 or any(column.null_count for column in table.select(["begin", "duration"])):
            raise InputError(f"{path}: expected begin and duration of each clip in seconds, found others. {ADVICE}")
        if table.schema.field(VECTOR).type != pa.list_(pa.float16(), info.dims):
            raise InputError(f"{path}: expected vectors of {info.dims} half-precision numbers, found others. {ADVICE}")
        if table[VECTOR].null_count or any(chunk.flatten().null_count for chunk in table[VECTOR].chunks):
            raise InputError(f"{path}: expected a vector of each clip, found missing ones. {ADVICE}")
        if not len(table):
            raise InputError(f"{path}: expected an index of at least one clip, found an empty one. {ADVICE}")
        return cls(ExactRows(table), info)

    @cached_property
    def _projection(self) -> tuple[Tensor, Tensor, Tensor]:
        wide, narrow = self.info.embedding_dim, self.info.dims
        shapes = {"mean": (wide,), "sd": (wide,), "directions": (wide, narrow)}
        mean, sd, directions = (_decoded(name, self.info.arrays, shape) for name, shape in shapes.items())
        return mean, sd, directions

    def project(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, "B R"]:
        """Return the vectors of embeddings, of unit length."""
        mean, sd, directions = self._projection
        return normalize((embeddings - mean) / sd @ directions, dim=1)

    def check(self, model: Model) -> None:
        """Raise InputError if a model is not the one that the index was made with."""
        if model.path is None or hash_file(model.path / WEIGHTS) != self.info.sha256:
            raise InputError(
                f"expected the model of the index ({self.info.model}), found another ({model.name}). Index the dataset "
                "with this model, or pass --model."
            )

    def like(self, model: Model, clip: Clip, *, k: int = 10, condition: str = "") -> list[Hit]:
        """Return the clips that are most like a clip.

        Args:
            model: The model that the index was made with.
            clip: The clip to compare with.
            k: Number of clips to return.
            condition: Condition on the clips, such as "subject = 3 and view = 1".

        Raises:
            InputError: If the model is another, the clip is much longer than any in the index, or no clip meets the
                condition.
        """
        self.check(model)
        if not clip.visible.any():
            raise InputError(f"{clip.id}: expected a visible person to compare with, found none")
        duration = clip.num_frames / clip.fps
        if duration > 1.5 * self.info.longest:
            raise InputError(
                f"{clip.id}: expected at most {1.5 * self.info.longest:.1f} seconds, since the clips of the index have "
                f"up to {self.info.longest:.1f}, found {duration:.1f}. Choose a part with --start and --end."
            )
        vector = model.embed([clip], pooling=self.info.pooling, match_joints=self.info.match_joints)
        return self.nearest(self.project(torch.from_numpy(vector)), k=k, condition=condition)[0]

    def nearest(self, vectors: Float[Tensor, "B R"], *, k: int = 10, condition: str = "") -> list[list[Hit]]:
        """Return the nearest clips of each vector, by cosine similarity.

        Args:
            vectors: Vectors of the queries, by `project`.
            k: Number of clips to return.
            condition: Condition on the clips.

        Raises:
            InputError: If no clip meets the condition.
        """
        found = self.rows.nearest(vectors, min(k, len(self.rows)), condition)
        if not all(found):
            raise InputError(f"where: expected clips that meet {condition!r}, found none")
        return found


def _info(path: Path, content: bytes) -> IndexInfo:
    """Return what an index says about itself; raises InputError if it is damaged."""
    try:
        return IndexInfo.from_text(content.decode(errors="replace"))
    except InputError as error:
        raise InputError(f"{path}: expected an index, found a damaged description ({error}). {ADVICE}") from None


def _described(dataset: Dataset) -> pa.Table:
    """Return the index of a dataset with names of classes, and the time of each clip in its recording."""
    begin = dataset.parts[1] / dataset.fps
    table = dataset.table.drop_columns([name for name in ("start", "hash") if name in dataset.table.column_names])
    table = table.set_column(table.column_names.index("label"), "label", pa.array(dataset.label_names, pa.string()))
    table = table.append_column("begin", pa.array(begin.round(3)))
    return table.append_column("duration", pa.array((dataset.lengths / dataset.fps).round(3)))


def vector_column(vectors: Float[Tensor, "N R"]) -> pa.FixedSizeListArray:
    """Return vectors as a column of an index, in half precision."""
    flat = vectors.numpy().astype(np.float16).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])


def _matrix(column: pa.ChunkedArray, width: int) -> Float[Tensor, "N R"]:
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return torch.from_numpy(flat.reshape(-1, width)).float()


_TYPES = {"mean": "<f4", "sd": "<f4", "directions": "<f2"}


def _encoded(name: str, array: Tensor) -> str:
    return base64.b64encode(array.numpy().astype(_TYPES[name]).tobytes()).decode()


def _decoded(name: str, arrays: Mapping[str, str], shape: Sequence[int]) -> Tensor:
    try:
        numbers = np.frombuffer(base64.b64decode(arrays.get(name, ""), validate=True), _TYPES[name]).reshape(shape)
    except ValueError:
        raise InputError(f"expected numbers of shape {tuple(shape)} in the index, found others. {ADVICE}") from None
    return torch.from_numpy(numbers.astype(np.float32))
