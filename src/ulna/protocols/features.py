"""Features: one embedding a clip from a frozen encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ulna.data import Augmentation, Batch, Store, load_batch
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled
from ulna.protocols.classifier import standardisation

FRAMES_AT_ONCE = 8192


@torch.inference_mode()
def extract(
    encoder: Encoder,
    form: InputForm,
    store: Store,
    clips: np.ndarray,
    *,
    augmentation: Augmentation | None = None,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Embeddings (B, E) float32 of a store's clips, by the encoder in eval mode (its mode is put back).

    `augmentation` with a `generator` changes each clip as in pretraining; without, clips are taken as they are.
    """
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    features = torch.empty(len(clips), encoder.embedding_width)
    draw = Augmentation.draw(generator, len(clips)) if augmentation and generator else None
    for places in _batches(np.array([len(form.frames(int(length))) for length in store.lengths[clips]])):
        raw = load_batch(store, clips[places], max_frames=form.crop).to(device)
        batch = form(widen(raw, encoder.num_persons))
        if augmentation and draw:
            batch = augmentation(batch, draw[places], max_frames=form.max_frames)
        features[places] = encoder.embed(batch).float().cpu()
    encoder.train(was_training)
    return features


def extract_parts(encoder: Encoder, form: InputForm, data: Labelled, *, standardise: bool) -> tuple[Tensor, Tensor]:
    """Embeddings of a split's training and test clips, if asked for scaled by the training clips' mean and spread."""
    train, test = (extract(encoder, form, data.store, clips) for clips in (data.train, data.test))
    if not standardise:
        return train, test
    mean, sd = standardisation(train)
    return (train - mean) / sd, (test - mean) / sd


def widen(batch: Batch, num_persons: int) -> Batch:
    """The batch with absent persons added, up to the number that an encoder takes."""
    missing = num_persons - batch.position.shape[1]
    if missing <= 0:
        return batch
    position = torch.nn.functional.pad(batch.position, (0, 0, 0, 0, 0, missing))
    present = torch.nn.functional.pad(batch.present, (0, 0, 0, missing))
    return Batch.pack(position, present, batch.lengths, batch.skeleton, label=batch.label)


def _batches(lengths: np.ndarray) -> list[np.ndarray]:
    """Places of clips, the longest first, in batches of about FRAMES_AT_ONCE frames."""
    order = np.argsort(-lengths, kind="stable")
    filled = np.cumsum(lengths[order]) // FRAMES_AT_ONCE
    return [part for part in np.split(order, np.flatnonzero(np.diff(filled)) + 1) if len(part)]
