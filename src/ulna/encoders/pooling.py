"""Pooling: one vector per clip from an encoder's output, together with the clip's poses if wanted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ulna.batch import Batch, PersonSequences
from ulna.batch.transforms import resample
from ulna.core import random_stream
from ulna.encoders.base import Encoder

POSES = "+poses"
"""Suffix of a pooling: the vector also holds the clip's poses, by `poses`."""
NUM_POSES = 32


def check_pooling(encoder: Encoder, pooling: str) -> None:
    """Raise InputError if an encoder does not support a pooling, with or without "+poses"."""
    encoder.check_pooling(pooling.removesuffix(POSES))


def embedding_dim(encoder: Encoder, pooling: str) -> int:
    """Return E, the width of the vector that `embed_clips` returns per clip."""
    own = encoder.embedding_dim(pooling.removesuffix(POSES))
    return own + pooling.endswith(POSES) * 3 * NUM_POSES * encoder.spec.num_nodes


def embed_clips(encoder: Encoder, batch: Batch, pooling: str) -> Float[Tensor, "B E"]:
    """Return one vector per clip; an encoder of one person embeds persons one by one, and their vectors are averaged.

    Args:
        encoder: The encoder.
        batch: A preprocessed batch.
        pooling: How the encoder's output is pooled; with "+poses" at the end, the vector also holds the clip's poses.
    """
    if encoder.spec.num_persons > 1 or batch.num_persons == 1:
        return _embed(encoder, batch, pooling)
    persons = PersonSequences.of(batch)
    return persons.mean(_embed(encoder, persons.batch, pooling))


def _embed(encoder: Encoder, batch: Batch, pooling: str) -> Float[Tensor, "B E"]:
    embedding = encoder.embed(batch, pooling.removesuffix(POSES))
    return torch.cat([embedding, poses(batch)], dim=1) if pooling.endswith(POSES) else embedding


def poses(batch: Batch) -> Float[Tensor, "B X"]:
    """Return the poses of each clip at 32 evenly spaced times as one vector of unit length.

    An orthogonal transform (random signs, then a cosine transform over times and over coordinates) spreads every
    coordinate over the whole vector. Distances stay the same, but all of its features vary about equally. Therefore,
    standardising features does not amplify coordinates that hardly move.

    Args:
        batch: A preprocessed batch; nodes that are never visible count as zero.

    Returns:
        (B, 32 * P * K * 3).
    """
    resampled = resample(batch, NUM_POSES)
    known = torch.where(resampled.visible[..., None], resampled.position, 0)
    rows = normalize(known.reshape(batch.num_clips, -1), dim=1).unflatten(1, (NUM_POSES, -1))
    signs, times, coordinates = (torch.from_numpy(matrix).to(rows.device) for matrix in _transform(rows.shape[2]))
    return (times @ (signs * rows) @ coordinates.T).flatten(1)


@lru_cache(maxsize=8)
def _transform(num_coordinates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random signs, and cosine transforms over times and over coordinates."""
    drawn = random_stream(0, "poses").integers(0, 2, (NUM_POSES, num_coordinates))
    signs = (2 * drawn - 1).astype(np.float32)
    return signs, _cosine_transform(NUM_POSES), _cosine_transform(num_coordinates)


def _cosine_transform(size: int) -> Float[np.ndarray, "n n"]:
    """Return the orthonormal discrete cosine transform (type II)."""
    index = np.arange(size, dtype=np.float64)
    matrix = np.cos(np.pi * (index + 0.5) * index[:, None] / size) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)
