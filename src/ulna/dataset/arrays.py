"""Arrays of a dataset: one .npy file, or several opened as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class Rows:
    """Rows of one or several .npy files, one file after another, memory-mapped when they are indexed.

    Args:
        paths: The files, in order; all have rows of the same shape and type.
        counts: Number of rows of each file.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]) -> None:
        self.paths, self.ends = tuple(paths), np.cumsum(counts)

    @cached_property
    def maps(self) -> list[np.memmap]:
        """The files, memory-mapped."""
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in self.paths]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together."""
        return (int(self.ends[-1]), *self.maps[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.maps[0].dtype

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(one.nbytes for one in self.maps)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return consecutive rows; those of one file are not copied."""
        first, last, step = part.indices(len(self))
        assert step == 1, "rows are read in order"
        parts: list[np.ndarray] = []
        while first < last or not parts:
            shard, row = self.locate(first)
            parts.append(self.maps[shard][row : row + last - first])
            first += max(1, len(parts[-1]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

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
        size = array.strides[0]
        shards = np.minimum(np.searchsorted(self.ends, starts, "right"), len(self.ends) - 1)
        begins = np.concatenate([[0], self.ends[:-1]])[shards]
        offsets = np.array([one.offset for one in self.maps])[shards] + (starts - begins) * size
        ends = np.cumsum(lengths)
        for shard in np.unique(shards).tolist():
            with self.paths[shard].open("rb", buffering=0) as file:
                for run in np.flatnonzero(shards == shard).tolist():
                    file.seek(int(offsets[run]))
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
