"""Baselines: chance level, and the nearest neighbour on raw joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ulna.batch import Batch, load_batch
from ulna.batch.transforms import resample
from ulna.dataset import Dataset
from ulna.evaluation.few_labels import FewLabels
from ulna.evaluation.protocol import LabelledSplit, Protocol
from ulna.evaluation.results import EvalResult, Kind, ResultKey, SeedResult

NUM_FRAMES = 32


def raw_joints(dataset: Dataset, clips: np.ndarray) -> Tensor:
    """Return clips as vectors (B, 32 * P * K * 3) of joint positions.

    Joints are relative to the first person's centre in the first frame, resampled to 32 frames and scaled to unit
    length.
    """
    parts = np.array_split(clips, -(-len(clips) // 1024))
    return torch.cat([raw_joints_of(load_batch(dataset, part)) for part in parts])


def raw_joints_of(batch: Batch) -> Tensor:
    """Return the clips of a raw batch as `raw_joints` does."""
    centre = batch.skeleton.index(batch.skeleton.centre)
    batch = resample(batch, NUM_FRAMES)
    origin = batch.position[batch.packing.start, :1, centre : centre + 1]
    joints = torch.where(batch.visible[..., None], batch.position - origin, 0)
    rows = joints.reshape(batch.num_clips, -1)
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-8)


def nearest_raw_joints(
    data: LabelledSplit, protocol: Protocol | None = None, seeds: Sequence[int] = (0,)
) -> EvalResult:
    """Return the result of the nearest neighbour on raw joints.

    Args:
        data: Labelled training and test clips.
        protocol: Protocol that draws few labels, which the neighbours have as well; all labels by default.
        seeds: Seeds of the draws.
    """
    few = protocol if isinstance(protocol, FewLabels) and protocol.amount else None
    train, test = raw_joints(data.dataset, data.train), raw_joints(data.dataset, data.test)
    found = []
    for seed in seeds if few else (0,):
        clips = few.labelled(data, seed) if few else data.train
        known = train[np.isin(data.train, clips)]
        nearest = torch.cat([torch.cdist(part, known).argmin(dim=1) for part in test.split(1024)])
        predictions = data.dataset.labels[clips][nearest.numpy()]
        found.append(SeedResult(seed=seed, predictions=predictions.tolist()))
    return _result("raw_joints", data, found, few)


def chance_level(data: LabelledSplit) -> EvalResult:
    """Return the result of always predicting the most frequent class of the training clips."""
    most = int(np.bincount(data.train_labels).argmax())
    return _result("chance", data, [SeedResult(seed=0, predictions=[most] * len(data.test))])


def _result(kind: Kind, data: LabelledSplit, seeds: list[SeedResult], few: FewLabels | None = None) -> EvalResult:
    variant, options = (few.amount_name, few.amount) if few else ("", {})
    key = ResultKey(
        protocol=kind, variant=variant, options=options, split=data.split, min_frames=data.min_frames, kind=kind
    )
    return data.result(key, seeds)
