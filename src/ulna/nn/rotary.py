"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_angles(position: Int[Tensor, " F"], width: int) -> Float[Tensor, "F d"]:
    """Return the angles by which the channels of a head are rotated.

    Args:
        position: Position of each token; 0 is not rotated.
        width: d, the width of a head, even. Channels i and i + d / 2 are a pair of frequency 10000^(-2i / d).
    """
    rate = torch.exp(torch.arange(0, width, 2, device=position.device) * (-math.log(10000.0) / width))
    return (position[:, None] * rate).repeat(1, 2)


def rotate_pairs(x: Float[Tensor, "F ... d"], angles: Float[Tensor, "F d"]) -> Float[Tensor, "F ... d"]:
    """Rotate the pairs of channels of every head, in full precision."""
    angles = angles.view(angles.shape[0], *(1,) * (x.ndim - 2), -1)
    one, two = x.float().chunk(2, dim=-1)
    turned = torch.cat([-two, one], dim=-1)
    return (x.float() * angles.cos() + turned * angles.sin()).to(x.dtype)
