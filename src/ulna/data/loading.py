"""From a store to packed batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ulna.data.batch import Batch
from ulna.data.packing import Packing
from ulna.data.store import Store

SHARE_OF_MEMORY = 1 / 8  # of an accelerator's free memory that a store may take
_ROWS_AT_ONCE = 1 << 16


def load_batch(store: Store, clips: np.ndarray, *, max_frames: int | None = None) -> Batch:
    """The first `max_frames` frames of some clips as one packed batch of raw positions in metres."""
    position, present, lengths = store.read(clips, max_frames)
    label = torch.from_numpy(store.labels[clips])
    return Batch.pack(torch.from_numpy(position), torch.from_numpy(present), lengths, store.skeleton, label=label)


class ClipLoader:
    """Gives packed batches of a store's clips on a device.

    An accelerator with room for it holds the whole store, so that batches are gathered there (`is_resident`; decided
    by its free memory where None); otherwise they are read from the files and copied without waiting.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_frames: int | None = None,
        device: torch.device | str = "cpu",
        is_resident: bool | None = None,
    ) -> None:
        self.store, self.max_frames, self.device = store, max_frames, torch.device(device)
        self.is_resident = _fits(store, self.device) if is_resident is None else is_resident
        if self.is_resident:
            self._position = _moved(store.frames, torch.float32, self.device)
            self._present = _moved(store.present, torch.bool, self.device)

    def __call__(self, clips: np.ndarray) -> Batch:
        if not self.is_resident:
            batch = load_batch(self.store, clips, max_frames=self.max_frames)
            return batch.pin_memory().to(self.device) if self.device.type == "cuda" else batch.to(self.device)
        lengths = self.store.first_frames(clips, self.max_frames)
        packing = Packing(lengths, self.device)
        rows = packing.time + packing.of_clips(self.store.starts[clips])[packing.clip]
        label = packing.of_clips(self.store.labels[clips])
        return Batch.pack(self._position[rows], self._present[rows], packing, self.store.skeleton, label=label)


def _fits(store: Store, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return store.frames.nbytes + store.present.nbytes <= SHARE_OF_MEMORY * free


def _moved(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A memory-mapped array on a device, copied piece by piece."""
    moved = torch.empty(array.shape, dtype=dtype, device=device)
    for first in range(0, len(array), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        moved[part] = torch.from_numpy(np.array(array[part])).to(device)
    return moved
