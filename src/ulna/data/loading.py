"""From a store to packed batches."""

from __future__ import annotations

import numpy as np
import torch

from ulna.data.batch import Batch
from ulna.data.store import Store


def load_batch(store: Store, clips: np.ndarray, *, max_frames: int | None = None) -> Batch:
    """The first `max_frames` frames of some clips as one packed batch of raw positions in metres."""
    rows, lengths = store.rows(clips, max_frames)
    return Batch.pack(
        torch.from_numpy(store.frames[rows]),
        torch.from_numpy(store.present[rows]),
        lengths.tolist(),
        store.skeleton,
        label=torch.from_numpy(store.labels[clips]),
    )
