"""Random views of a batch, for tasks that compare several of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ulna.batch import Augmentation, Batch
from ulna.batch.transforms import flat, mirror, rotate


def numpy_generator() -> np.random.Generator:
    """Return a generator that is seeded by torch's global generator."""
    return np.random.default_rng(int(torch.randint(2**62, ())))


def random_views(batch: Batch, augmentation: Augmentation, num: int, *, max_frames: int) -> list[Batch]:
    """Return randomly changed copies of a preprocessed batch, drawn from torch's global generator.

    Args:
        batch: The batch.
        augmentation: The random changes.
        num: Number of copies.
        max_frames: Maximum number of frames to keep per clip.
    """
    generator = numpy_generator()
    draws = [augmentation.draw(generator, batch.num_clips) for _ in range(num)]
    return [augmentation(batch, draw, max_frames=max_frames) for draw in draws]


def shows_somebody(batch: Batch) -> Bool[Tensor, " B"]:
    """Return True for clips in which anybody is ever visible; others are placeholders for processes without clips."""
    return batch.packing.mean(batch.visible.flatten(1).any(dim=1).float()) > 0


def next_of_performance(performance: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Return the index of the next clip of the same performance, cyclically; a clip without others gets its own."""
    order = performance.argsort(stable=True)
    ordered = performance[order]
    following = torch.arange(1, len(order) + 1, device=order.device)
    is_last = ordered != ordered.roll(-1)
    if len(order):
        is_last[-1] = True
    following = torch.where(is_last, torch.searchsorted(ordered, ordered), following)
    return torch.empty_like(order).index_copy(0, order, order[following])


def hide_nodes(batch: Batch, ratio: float) -> Batch:
    """Return a copy of a batch with a random share of its nodes hidden from the encoder."""
    if not ratio:
        return batch
    return replace(batch, masked=torch.rand(batch.position.shape[:3], device=batch.position.device) < ratio)


def extreme_view(batch: Batch) -> Batch:
    """Return a strongly changed view of a batch: AimCLR (arXiv 2112.03590), section 3.2.

    Each clip is mirrored, jittered by noise of 1 cm, smoothed over time and projected along a random axis, each with
    probability 0.5, and rotated about one axis by up to 30 degrees and about the others by up to one. Positions in an
    image are projected back into it. Unlike in the released code, mirrored bodies are true mirror images, smoothing
    keeps the size of bodies, and angles have both signs.
    """
    num, device = batch.num_clips, batch.position.device
    batch = mirror(batch, torch.rand(num, device=device) < 0.5)
    main = torch.randint(3, (num, 1), device=device) == torch.arange(3, device=device)
    batch = rotate(batch, torch.deg2rad(torch.where(main, 30.0, 1.0) * (2 * torch.rand(num, 3, device=device) - 1)))
    clip = batch.packing.clip
    jittered = (torch.rand(num, device=device) < 0.5)[clip][:, None, None, None]
    position = batch.position + 0.01 * jittered * torch.randn_like(batch.position)
    width = torch.where(torch.rand(num, device=device) < 0.5, 0.1 + 1.9 * torch.rand(num, device=device), 0)
    position = _smoothed(replace(batch, position=position), width)
    dropped = (torch.rand(num, 1, device=device) < 0.5) & (
        torch.randint(3, (num, 1), device=device) == torch.arange(3, device=device)
    )
    position = position.masked_fill(dropped[clip][:, None, None] | ~batch.visible[..., None], 0)
    view = replace(batch, position=position)
    return flat(view)


def _smoothed(batch: Batch, width: Tensor) -> Tensor:
    """Smooth the visible positions of each clip over time by a Gaussian of a width (B,) in frames; 0 for none."""
    packing = batch.packing
    last = packing.of_clips(packing.lengths - 1)[packing.clip]
    spread = width[packing.clip].clamp(min=1e-3)
    total, weights = torch.zeros_like(batch.position), torch.zeros_like(batch.position[..., :1])
    for offset in range(-7, 8):
        time = packing.time + offset
        source = packing.start + time.clamp(min=0).minimum(last)
        factor = torch.exp(-(offset**2) / (2 * spread**2)) * ((time >= 0) & (time <= last))
        weight = factor[:, None, None, None] * batch.visible[source][..., None]
        total = total + weight * batch.position[source]
        weights = weights + weight
    return total / weights.clamp(min=1e-9)
