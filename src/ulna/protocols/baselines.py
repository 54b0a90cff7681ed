"""What a number must beat: chance, and the nearest neighbour on the joints themselves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ulna.data import Store, load_batch
from ulna.data.transforms import resample
from ulna.protocols.base import Labelled
from ulna.protocols.outcome import Outcome, SeedOutcome

NUM_FRAMES = 32


def raw_joints(store: Store, clips: np.ndarray) -> Tensor:
    """(B, 32 * P * K * 3): joints relative to the first centre, scaled to unit size, resampled to 32 frames."""
    centre = store.skeleton.index(store.skeleton.centre)
    features = []
    for part in np.array_split(clips, -(-len(clips) // 1024)):
        batch = load_batch(store, part)
        batch = resample(batch, np.full(batch.num_clips, NUM_FRAMES))
        origin = batch.position[batch.packing.start, :1, centre : centre + 1]
        joints = torch.where(batch.present[..., None], batch.position - origin, 0)
        rows = joints.reshape(batch.num_clips, -1)
        features.append(rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-8))
    return torch.cat(features)


def nearest_raw_joints(data: Labelled) -> Outcome:
    """1-nearest-neighbour on raw joints."""
    train, test = raw_joints(data.store, data.train), raw_joints(data.store, data.test)
    nearest = torch.cat([torch.cdist(part, train).argmin(dim=1) for part in test.split(1024)])
    return outcome_of("1-NN on raw joints", data, data.train_labels[nearest.numpy()])


def chance(data: Labelled) -> Outcome:
    """Always the class that is most frequent in training."""
    most = np.bincount(data.train_labels).argmax()
    return outcome_of("chance (most frequent class)", data, np.full(len(data.test), most))


def outcome_of(protocol: str, data: Labelled, predictions: np.ndarray) -> Outcome:
    """Outcome of a deterministic baseline."""
    return Outcome(
        protocol=protocol,
        options={},
        split=data.split,
        classes=list(data.store.classes),
        clips=data.test_ids,
        labels=data.test_labels.tolist(),
        seeds=[SeedOutcome(0, predictions.tolist())],
        groups=data.groups,
        copied=data.copied,
    )
