"""Streams: joints, bones and motion, computed from the same preprocessed clips."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ulna.batch import Batch

Stream = Literal["joint", "bone", "motion"]


def bones(batch: Batch) -> Float[Tensor, "F P K 3"]:
    """Return each node relative to its neighbour nearer to the centre; zeros where one of both is missing.

    The centre itself keeps its position, and a root keeps the translation.
    """
    skeleton, root = batch.skeleton, batch.layout.root
    node = {skeleton.index(name): k for k, name in enumerate(batch.layout.names)}
    pairs = [(node[one], node[two]) for one, two in skeleton.outwards if one in node and two in node]
    pairs = [(one, two) for one, two in pairs if two != root]  # nodes are relative to the root already
    result = batch.position
    if pairs:
        one, two = (torch.tensor(own, device=result.device) for own in zip(*pairs, strict=True))
        both = batch.visible[:, :, one] & batch.visible[:, :, two]
        difference = batch.position[:, :, one] - batch.position[:, :, two]
        result = result.index_copy(2, one, torch.where(both[..., None], difference, 0))
    return result


def motion(batch: Batch) -> Float[Tensor, "F P K 3"]:
    """Return the displacement to the next frame; zeros in the last frame, and where a node is missing in either."""
    following = batch.packing.following
    both = batch.visible & batch.visible[following]
    return torch.where(both[..., None], batch.position[following] - batch.position, 0)


def streams_of(batch: Batch, streams: tuple[Stream, ...]) -> Float[Tensor, "F P K C"]:
    """Return the channels of some streams, concatenated, three each."""
    if streams == ("joint",):
        return batch.position
    made = {"joint": lambda: batch.position, "bone": lambda: bones(batch), "motion": lambda: motion(batch)}
    return torch.cat([made[name]() for name in streams], dim=-1)
