"""Embeddings: one vector per clip from a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulna.batch import Augmentation, Batch
from ulna.core import Clip
from ulna.dataset import Dataset
from ulna.encoders import Encoder
from ulna.preprocessing import Preprocessor

FRAMES_PER_BATCH = 8192


@dataclass(frozen=True)
class Embedder:
    """A frozen encoder with its preprocessor and a pooling: everything that turns clips into vectors.

    Args:
        encoder: The encoder; it is in eval mode while it embeds.
        preprocessor: The preprocessor the encoder was built for.
        pooling: How the encoder's output is pooled.
    """

    encoder: Encoder
    preprocessor: Preprocessor
    pooling: str = "mean"

    @property
    def dim(self) -> int:
        """E, the width of an embedding."""
        return self.encoder.embedding_dim(self.pooling)

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

        def load_part(part: np.ndarray) -> Batch:
            if load is None:
                batch = self.preprocessor.load(dataset, clips[part], self.device)
            else:
                batch = self.preprocessor(load(dataset, clips[part]).to(self.device))
            if augmentation is None or draw is None:
                return batch
            return augmentation(batch, draw[part], max_frames=self.preprocessor.config.max_frames)

        return self._embed(dataset.lengths[clips], dataset.fps[clips], load_part)

    def embed_clips(self, clips: Sequence[Clip]) -> Float[Tensor, "B E"]:
        """Return the embeddings of clips, float32 on the CPU."""
        return self._embed(
            np.array([clip.num_frames for clip in clips]),
            np.array([clip.fps for clip in clips]),
            lambda part: self.preprocessor.from_clips([clips[i] for i in part], self.device),
        )

    @torch.inference_mode()
    def _embed(
        self, lengths: Int[np.ndarray, " B"], rates: Float[np.ndarray, " B"], load: Callable[[np.ndarray], Batch]
    ) -> Float[Tensor, "B E"]:
        """Embed clips in batches of similar length."""
        was_training = self.encoder.training
        self.encoder.eval()
        kept = [
            len(self.preprocessor.frame_indices(int(length), float(fps)))
            for length, fps in zip(lengths, rates, strict=True)
        ]
        features = torch.empty(len(kept), self.dim)
        for part in _by_length(kept):
            features[part] = self.encoder.embed(load(part), self.pooling).float().cpu()
        self.encoder.train(was_training)
        return features


def _by_length(lengths: Sequence[int]) -> list[np.ndarray]:
    """Return the indices of clips, the longest first, in batches of about FRAMES_PER_BATCH frames."""
    frames = np.array(lengths)
    order = np.argsort(-frames, kind="stable")
    filled = np.cumsum(frames[order]) // FRAMES_PER_BATCH
    return [part for part in np.split(order, np.flatnonzero(np.diff(filled)) + 1) if len(part)]
