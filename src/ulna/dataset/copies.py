"""Find exact copies of clips by the hashes in the index."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulna.dataset.dataset import Dataset


def exact_copies(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return (len(test),) bool: True for test clips whose frames equal those of a training clip."""
    hashes = dataset.hashes
    return is_among(hashes.take(test), hashes.take(train))


def is_among(hashes: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """Return (len(hashes),) bool: True for hashes that occur among the known ones."""
    return np.asarray(pc.is_in(hashes, value_set=known).to_numpy(zero_copy_only=False), dtype=bool)
