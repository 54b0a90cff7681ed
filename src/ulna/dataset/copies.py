"""Find copies of clips by the index: equal frames by their hashes, shared frames by their place in the file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulna.dataset.dataset import Dataset


def exact_copies(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return (len(test),) bool: True for test clips that equal a training clip or share frames with one."""
    hashes = dataset.hashes
    return is_among(hashes.take(test), hashes.take(train)) | (overlapping(dataset, train, test)[1] > 0)


def is_among(hashes: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """Return (len(hashes),) bool: True for hashes that occur among the known ones."""
    return np.asarray(pc.is_in(hashes, value_set=known).to_numpy(zero_copy_only=False), dtype=bool)


def overlapping(dataset: Dataset, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the training clip that each test clip shares most frames with, as windows of one recording do.

    Args:
        dataset: The dataset.
        train: Indices of training clips.
        test: (N,) indices of test clips.

    Returns:
        (N,) index of the training clip, -1 if there is none, and (N,) number of shared frames.
    """
    owner, shared = np.full(len(test), -1), np.zeros(len(test), dtype=np.int64)
    if not len(train):
        return owner, shared
    train = train[np.argsort(dataset.starts[train], kind="stable")]
    starts = dataset.starts[train]
    ends = starts + dataset.lengths[train]
    longest = int(dataset.lengths[train].max())
    for number, clip in enumerate(test.tolist()):
        begin = int(dataset.starts[clip])
        end = begin + int(dataset.lengths[clip])
        near = slice(np.searchsorted(starts, begin - longest, "right"), np.searchsorted(starts, end, "left"))
        common = np.minimum(ends[near], end) - np.maximum(starts[near], begin)
        if len(common) and common.max() > 0:
            owner[number], shared[number] = train[near][common.argmax()], common.max()
    return owner, shared
