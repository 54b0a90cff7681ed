"""Embeddings: one vector per clip from a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulna.batch import Augmentation, Batch, load_batch
from ulna.core import Clip
from ulna.dataset import Dataset
from ulna.encoders import Encoder
from ulna.encoders.pooling import embed_clips, embedding_dim
from ulna.models.recipe import Precision
from ulna.preprocessing import Preprocessor

FRAMES_PER_BATCH = {"cpu": 3072}  # on CPUs a batch should fit into the cache
FRAMES_OTHERWISE = 8192


@dataclass(frozen=True, eq=False)
class Embedder:
    """A frozen encoder with its preprocessor and a pooling: everything that turns clips into vectors.

    Embedders are equal only to themselves.

    Args:
        encoder: The encoder; it is in eval mode while it embeds.
        preprocessor: The preprocessor the encoder was built for.
        pooling: How the encoder's output is pooled.
        precision: "32-true", or "bf16-mixed": faster, with vectors that differ by about 1 %.
    """

    encoder: Encoder
    preprocessor: Preprocessor
    pooling: str = "mean"
    precision: Precision = "32-true"

    @property
    def dim(self) -> int:
        """E, the width of an embedding."""
        return embedding_dim(self.encoder, self.pooling)

    @property
    def device(self) -> torch.device:
        """Device of the encoder."""
        return next(self.encoder.parameters()).device

    def embed_dataset(
        self,
        dataset: Dataset,
        clips: np.ndarray,
        *,
        augmentation: Augmentation | None = None,
        generator: np.random.Generator | None = None,
        load: Callable[[Dataset, np.ndarray], Batch] | None = None,
    ) -> Float[Tensor, "B E"]:
        """Return the embeddings of a dataset's clips, float32 on the CPU.

        Args:
            dataset: The dataset.
            clips: (B,) indices of clips.
            augmentation: Random changes of every clip; none by default.
            generator: Random numbers of the augmentation.
            load: Loads raw clips of some indices; by default the frames that the preprocessor needs are read.
        """
        draw = Augmentation.draw(generator, len(clips)) if augmentation and generator else None
        read = load or self._read

        def ready(raw: Batch, part: np.ndarray) -> Batch:
            batch = self.preprocessor(raw.to(self.device))
            if augmentation is None or draw is None:
                return batch
            return augmentation(batch, draw[part], max_frames=self.preprocessor.config.max_frames)

        lengths, rates = dataset.lengths[clips], dataset.fps[clips]
        return self._embed(lengths, rates, lambda part: read(dataset, clips[part]), ready)

    def embed_clips(self, clips: Sequence[Clip]) -> Float[Tensor, "B E"]:
        """Return the embeddings of clips, float32 on the CPU."""
        return self._embed(
            np.array([clip.num_frames for clip in clips]),
            np.array([clip.fps for clip in clips]),
            lambda part: self.preprocessor.pack([clips[i] for i in part]),
            lambda raw, part: self.preprocessor(raw.to(self.device)),  # noqa: ARG005
        )

    def _read(self, dataset: Dataset, clips: np.ndarray) -> Batch:
        """Load the frames that the preprocessor needs."""
        return load_batch(dataset, clips, max_frames=self.preprocessor.frames_to_read(dataset.fps[clips]))

    @torch.inference_mode()
    def _embed(
        self,
        lengths: Int[np.ndarray, " B"],
        rates: Float[np.ndarray, " B"],
        read: Callable[[np.ndarray], Batch],
        ready: Callable[[Batch, np.ndarray], Batch],
    ) -> Float[Tensor, "B E"]:
        """Embed clips in batches of similar length.

        Args:
            lengths: Number of frames of each clip.
            rates: Frames per second of each clip.
            read: Returns a batch of raw clips by their indices; called in another thread.
            ready: Returns the input of the encoder from a raw batch and the indices of its clips.
        """
        was_training = self.encoder.training
        if was_training:
            self.encoder.eval()
        kept = self._kept_frames(lengths, rates)
        parts = by_length(kept, FRAMES_PER_BATCH.get(self.device.type, FRAMES_OTHERWISE))
        features = torch.empty(len(kept), self.dim)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            for part, raw in _ahead(read, parts):
                features[part] = embed_clips(self.encoder, ready(raw, part), self.pooling).float().cpu()
        if was_training:
            self.encoder.train()
        return features

    def _kept_frames(self, lengths: Int[np.ndarray, " B"], rates: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """Return the number of frames that the encoder receives of each clip."""
        pairs, index = np.unique(np.stack([lengths, rates], axis=1), axis=0, return_inverse=True)
        counts = [len(self.preprocessor.frame_indices(int(length), float(rate))) for length, rate in pairs]
        return np.array(counts)[index.reshape(-1)]  # numpy 2.0 returns two dimensions


def by_length(lengths: Int[np.ndarray, " B"], num_frames: int) -> list[np.ndarray]:
    """Return the indices of clips, the longest first, in batches of about `num_frames` frames."""
    order = np.argsort(-lengths, kind="stable")
    filled = np.cumsum(lengths[order]) // num_frames
    return [part for part in np.split(order, np.flatnonzero(np.diff(filled)) + 1) if len(part)]


def _ahead(read: Callable[[np.ndarray], Batch], parts: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield each part with its batch, which is read while the previous one is used."""
    if len(parts) < 2:
        yield from ((part, read(part)) for part in parts)
        return
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(read, parts[0])
        for number, part in enumerate(parts):
            batch = following.result()
            if number + 1 < len(parts):
                following = thread.submit(read, parts[number + 1])
            yield part, batch
