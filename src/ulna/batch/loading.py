"""Load packed batches from a dataset."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ulna.batch.batch import Batch
from ulna.batch.packing import Packing
from ulna.dataset import Dataset
from ulna.dataset.arrays import Rows

SHARE_OF_MEMORY = 1 / 8  # share of an accelerator's free memory that a dataset may occupy
_FRAMES_AT_ONCE = 1 << 16


def load_batch(dataset: Dataset, clips: np.ndarray, *, max_frames: int | None = None) -> Batch:
    """Load the first frames of some clips as one packed batch of raw positions.

    Args:
        dataset: The dataset.
        clips: (B,) indices of the clips.
        max_frames: Maximum number of frames per clip; None loads all.
    """
    position, visible, lengths = dataset.read(clips, max_frames)
    return Batch.pack(
        torch.from_numpy(position),
        torch.from_numpy(visible),
        lengths,
        dataset.skeleton,
        label=torch.from_numpy(dataset.labels[clips]),
        fps=dataset.fps[clips],
        dimensions=dataset.dimensions,
        units=dataset.units,
        index=np.asarray(clips),
    )


class ClipLoader:
    """Loads packed batches of a dataset's clips onto a device.

    Args:
        dataset: The dataset.
        max_frames: Maximum number of frames per clip; None loads all.
        device: Device of the batches.
        is_resident: Keep the whole dataset in device memory and gather batches there, which is the default on an
            accelerator with enough free memory. Otherwise, clips are read from the files and copied asynchronously.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        max_frames: int | None = None,
        device: torch.device | str = "cpu",
        is_resident: bool | None = None,
    ) -> None:
        self.dataset, self.max_frames, self.device = dataset, max_frames, torch.device(device)
        self.is_resident = _fits(dataset, self.device) if is_resident is None else is_resident
        if self.is_resident:
            self._position = _moved(dataset.frames, torch.float32, self.device)
            self._visible = _moved(dataset.visible, torch.bool, self.device)

    def __call__(self, clips: np.ndarray) -> Batch:
        """Load the clips with the given indices (B,)."""
        if not self.is_resident:
            batch = load_batch(self.dataset, clips, max_frames=self.max_frames)
            return batch.pin_memory().to(self.device) if self.device.type == "cuda" else batch.to(self.device)
        lengths = self.dataset.lengths_up_to(clips, self.max_frames)
        packing = Packing(lengths, self.device)
        frames = packing.time + packing.of_clips(self.dataset.starts[clips])[packing.clip]
        label = packing.of_clips(self.dataset.labels[clips])
        return Batch.pack(
            self._position[frames],
            self._visible[frames],
            packing,
            self.dataset.skeleton,
            label=label,
            fps=self.dataset.fps[clips],
            dimensions=self.dataset.dimensions,
            units=self.dataset.units,
            index=np.asarray(clips),
        )


def _fits(dataset: Dataset, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return dataset.frames.nbytes + dataset.visible.nbytes <= SHARE_OF_MEMORY * free


def _moved(array: Rows, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copy a memory-mapped array to a device in chunks."""
    moved = torch.empty(array.shape, dtype=dtype, device=device)
    for first in range(0, len(array), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        moved[part] = torch.from_numpy(np.array(array[part])).to(device)
    return moved
