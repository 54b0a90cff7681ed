"""Positional embeddings."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sine_cosine(num: int, width: int) -> Float[Tensor, "N W"]:
    """Fixed embedding of places 0..num-1: sines on even, cosines on odd channels (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(num)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = place * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
