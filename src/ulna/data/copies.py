"""Exact copies among clips, found by the hashes that the store keeps."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulna.data.store import Store


def exact_copies(store: Store, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(len(test),) bool: which test clips have exactly the frames of one of the training clips."""
    hashes = store.hashes
    return is_among(hashes.take(test), hashes.take(train))


def is_among(hashes: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """Which content hashes are among known ones."""
    return np.asarray(pc.is_in(hashes, value_set=known).to_numpy(zero_copy_only=False), dtype=bool)
