"""Scaling of whole clips to [-1, 1], and subsampling of long ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ulna.batch import Batch, Packing

SHORTEST = 1e-6  # an axis with a smaller range is not scaled but zero


def scaled(position: torch.Tensor, visible: torch.Tensor, packing: Packing, *, uniform: bool = False) -> torch.Tensor:
    """Scale each axis of each clip to [-1, 1] over its visible joints; zeros where a joint is missing.

    An axis along which nothing moves or extends, such as the depth of positions in an image, becomes zero.

    Args:
        position: (F, P, K, 3).
        visible: (F, P, K) visibility mask.
        packing: Start and length of each clip.
        uniform: Use one factor for all axes, so that only the longest one fills [-1, 1] and angles are kept.
    """
    mask = visible[..., None]
    low, high = (_extreme(position, mask, packing, sign) for sign in (1.0, -1.0))
    size = high - low
    if uniform:
        low, size = (low + high - size.amax(dim=1, keepdim=True)) / 2, size.amax(dim=1, keepdim=True)
    size, low = size[:, None, None], low[:, None, None]
    return torch.where(mask & (size > SHORTEST), 2 * (position - low) / size.clamp(min=SHORTEST) - 1, 0)


def _extreme(position: torch.Tensor, mask: torch.Tensor, packing: Packing, sign: float) -> torch.Tensor:
    """Return (F, 3) the minimum (sign 1) or maximum (-1) of each axis in each frame's clip; 0 if nobody is visible."""
    least = torch.where(mask, sign * position, torch.inf).amin(dim=(1, 2))  # (F, 3)
    of_clip = least.new_full((packing.num_clips, 3), torch.inf)
    of_clip = of_clip.scatter_reduce(0, packing.clip[:, None].expand_as(least), least, "amin")
    return (sign * torch.where(of_clip.isfinite(), of_clip, 0))[packing.clip]


def every_nth_frame(length: int, max_frames: int) -> np.ndarray:
    """Return the indices of the frames that `every_nth` keeps of a clip."""
    return np.arange(0, length, max(1, length // max_frames))[:max_frames]


def every_nth(batch: Batch, max_frames: int) -> Batch:
    """Keep every n-th frame of each clip, n = max(1, floor(length / max_frames)), and at most `max_frames` of them."""
    old = batch.packing
    new, steps = old.every_nth(max_frames)
    time = torch.minimum(new.time * steps[new.clip], (old.sizes - 1)[new.clip])
    frames = old.first[new.clip] + time
    return replace(batch, position=batch.position[frames], visible=new.within(batch.visible[frames]), packing=new)
