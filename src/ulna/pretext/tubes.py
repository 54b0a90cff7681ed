"""Tube masks: neighbouring joints of one body part over a stretch of time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ulna.batch import Batch
from ulna.core import NodeLayout

TRIES = 10  # proposals in a row that may add nothing before a mask is left as it is


def tube_groups(layout: NodeLayout) -> list[list[int]]:
    """Return the nodes of each body part; all nodes as one group if the skeleton has no parts."""
    parts = {} if layout.skeleton is None else layout.skeleton.parts
    groups = [[layout.names.index(joint) for joint in part if joint in layout.names] for part in parts.values()]
    left = sorted(set(range(len(layout))) - {node for group in groups for node in group})
    return [group for group in [*groups, left] if group]


def random_tubes(
    num_steps: int, num_nodes: int, groups: Sequence[Sequence[int]], ratio: float, generator: np.random.Generator
) -> np.ndarray:
    """Return a random mask (num_steps, num_nodes), True for masked tokens: Do et al. (SLiM), semantic tubes.

    A tube covers neighbouring joints of one group over consecutive steps. Tubes are added until the share `ratio` is
    masked, which is not exceeded; at least one token is masked and one is left, if there are two.

    Args:
        num_steps: Number of tokens of a joint.
        num_nodes: Number of nodes.
        groups: Nodes of each body part.
        ratio: Share of the tokens to mask.
        generator: Random numbers.
    """
    masked = np.zeros((num_steps, num_nodes), dtype=bool)
    wanted = max(1, min(int(ratio * masked.size), masked.size - 1))
    tries = 0
    while (left := wanted - masked.sum()) > 0 and tries < TRIES:
        group = groups[int(generator.integers(len(groups)))]
        most = min(left, masked.size // 2 or 1)
        width = int(generator.integers(1, min(len(group), most) + 1))
        first = int(generator.integers(len(group) - width + 1))
        area = generator.uniform(min(num_steps, most), most)
        height = int(np.clip(round(area / width), 1, num_steps))
        start = int(generator.integers(num_steps - height + 1))
        tube = np.zeros_like(masked)
        tube[start : start + height, list(group[first : first + width])] = True
        added = int((tube & ~masked).sum())
        tries = 0 if 0 < added <= most else tries + 1
        if 0 < added <= most:
            masked |= tube
    return masked


def random_tokens(num_steps: int, num_nodes: int, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """Return a random mask (num_steps, num_nodes) of single tokens."""
    num = num_steps * num_nodes
    wanted = max(1, min(int(ratio * num), num - 1))
    return (generator.permutation(num) < wanted).reshape(num_steps, num_nodes)


def mask_nodes(batch: Batch, masks: Sequence[Sequence[np.ndarray]], token_frames: int) -> Tensor:
    """Return (F, P, K) True for masked nodes.

    Args:
        batch: The batch.
        masks: A mask (steps, K) per clip and person.
        token_frames: Number of frames per step.
    """
    parts = [
        np.stack([mask[np.arange(length) // token_frames] for mask in persons], axis=1)
        for length, persons in zip(batch.lengths, masks, strict=True)
    ]
    return torch.from_numpy(np.concatenate(parts)).to(batch.position.device)
