"""Positional embeddings."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.data import Packing


def sine_cosine(num: int, width: int) -> Float[Tensor, "N W"]:
    """Fixed embedding of places 0..num-1: sines on even, cosines on odd channels (Vaswani et al. 2017, section 3.5)."""
    place = torch.arange(num)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = place * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class LearnedPositions(nn.Module):
    """Adds to each frame what was learnt for its place in the clip.

    It starts from noise near zero (BERT), or from sines and cosines of size `start`.
    """

    def __init__(self, num_frames: int, width: int, start: float = 0.0) -> None:
        super().__init__()
        noise = nn.init.trunc_normal_(torch.empty(num_frames, width), std=0.02)
        self.table = nn.Parameter(start * sine_cosine(num_frames, width) if start else noise)

    def forward(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, "F W"]:
        return x + self.table[packing.time]
