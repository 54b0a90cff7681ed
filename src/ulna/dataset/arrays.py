"""Arrays of a dataset: one .npy file, or several opened as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class Rows:
    """Rows of one or several .npy files, one file after another. Slices are memory-mapped.

    Args:
        paths: The files, in order, written by this library.
        counts: Number of rows of each file.
        row: Shape of a row.
        dtype: Type of the values.
    """

    def __init__(
        self, paths: Sequence[Path], counts: Sequence[int], row: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.paths, self.counts, self.ends = tuple(paths), tuple(counts), np.cumsum(counts)
        self.shape, self.dtype = (int(self.ends[-1]), *row), dtype
        self.row_bytes = math.prod(row) * dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return len(self) * self.row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: object) -> np.ndarray:
        """Return consecutive rows; those of one file are not copied.

        Args:
            part: A slice.

        Raises:
            TypeError: If `part` is not a slice with a step of 1.
        """
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"expected a slice of consecutive frames, found {part!r}. Read clips with Dataset.read.")
        first, last, _ = part.indices(len(self))
        parts: list[np.ndarray] = []
        while first < last or not parts:
            shard, row = self.locate(first)
            parts.append(self._map(shard)[row : row + max(0, last - first)])
            first += max(1, len(parts[-1]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _map(self, shard: int) -> np.ndarray:
        """Return the rows of a file. Each open map costs a file descriptor, so only that of a single file is kept."""
        return self._only if len(self.paths) == 1 else np.load(self.paths[shard], mmap_mode="r", allow_pickle=False)

    @cached_property
    def _only(self) -> np.ndarray:
        return np.load(self.paths[0], mmap_mode="r", allow_pickle=False)

    def locate(self, row: int) -> tuple[int, int]:
        """Return the number of the file that holds a row, and the row in that file."""
        shard = min(int(np.searchsorted(self.ends, row, "right")), len(self.ends) - 1)
        return shard, row - int(self.ends[shard - 1] if shard else 0)

    def read(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Read runs of rows into newly allocated memory rather than through the memory map.

        Reading a large dataset therefore does not fill memory with mapped pages.

        Args:
            starts: (N,) first row of each run; a run lies in one file.
            lengths: (N,) number of rows of each run.

        Returns:
            All runs, concatenated.

        Raises:
            EOFError: If a file is shorter than expected; its only argument is the file.
        """
        array = np.empty((int(lengths.sum()), *self.shape[1:]), self.dtype)
        shards = np.minimum(np.searchsorted(self.ends, starts, "right"), len(self.ends) - 1)
        begins = np.concatenate([[0], self.ends[:-1]])[shards]
        ends = np.cumsum(lengths)
        for shard in np.unique(shards).tolist():
            header = self.paths[shard].stat().st_size - self.counts[shard] * self.row_bytes
            with self.paths[shard].open("rb", buffering=0) as file:
                for run in np.flatnonzero(shards == shard).tolist():
                    file.seek(header + int(starts[run] - begins[run]) * self.row_bytes)
                    _fill(file, array[ends[run] - lengths[run] : ends[run]])
        return array


def _fill(file: BinaryIO, array: np.ndarray) -> None:
    """Fill an array with the next bytes of a file."""
    left = array.data.cast("B")
    while left:
        num = file.readinto(left)  # type: ignore[attr-defined]
        if not num:
            raise EOFError(file.name)
        left = left[num:]
