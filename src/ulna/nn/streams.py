"""Streams: joints, bones and motion, computed from the same preprocessed clips."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulna.batch import Batch

Stream = Literal["joint", "bone", "motion"]


def bones(batch: Batch) -> Float[Tensor, "F P K 3"]:
    """Return each node relative to its neighbour nearer to the centre; zeros where one of both is missing or masked.

    The centre itself keeps its position, and a root keeps the translation.
    """
    skeleton, root = batch.skeleton, batch.layout.root
    node = {skeleton.index(name): k for k, name in enumerate(batch.layout.names)}
    pairs = [(node[one], node[two]) for one, two in skeleton.outwards if one in node and two in node]
    pairs = [(one, two) for one, two in pairs if two != root]  # nodes are relative to the root already
    result = joints(batch)
    if pairs:
        one, two = (torch.tensor(own, device=result.device) for own in zip(*pairs, strict=True))
        known = _known(batch)
        both = known[:, :, one] & known[:, :, two]
        difference = batch.position[:, :, one] - batch.position[:, :, two]
        result = result.index_copy(2, one, torch.where(both[..., None], difference, 0))
    return result


def motion(batch: Batch) -> Float[Tensor, "F P K 3"]:
    """Return the displacement to the next frame; zeros in the last frame, and where a node is missing or masked."""
    following, known = batch.packing.following, _known(batch)
    both = known & known[following]
    return torch.where(both[..., None], batch.position[following] - batch.position, 0)


def joints(batch: Batch) -> Float[Tensor, "F P K 3"]:
    """Return the positions; zeros where a node is masked."""
    return batch.position if batch.masked is None else batch.position.masked_fill(batch.masked[..., None], 0)


def _known(batch: Batch) -> Bool[Tensor, "F P K"]:
    """Return True for nodes that are visible and not masked."""
    return batch.visible if batch.masked is None else batch.visible & ~batch.masked


_STREAMS = {"joint": joints, "bone": bones, "motion": motion}


def streams_of(batch: Batch, streams: tuple[Stream, ...]) -> Float[Tensor, "F P K C"]:
    """Return the channels of some streams, concatenated, three each."""
    made = [_STREAMS[name](batch) for name in streams]
    return made[0] if len(made) == 1 else torch.cat(made, dim=-1)
