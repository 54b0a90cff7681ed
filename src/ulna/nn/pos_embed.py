"""Position embeddings."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.batch import Packing
from ulna.nn.scatter import lookup_rows


def sine_cosine(num: int, dim: int) -> Float[Tensor, "N W"]:
    """Return the fixed embedding of positions 0 to num - 1 (Vaswani et al. 2017, section 3.5).

    Sines are on even channels, cosines on odd ones.
    """
    position = torch.arange(num)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = position * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


class LearnedPosEmbed(nn.Module):
    """Adds to each frame a learned embedding of its position in the clip.

    Args:
        num_frames: Maximum number of frames per clip.
        dim: Width of a frame.
        scale: Amplitude of the sine-cosine initialisation; 0 initialises with noise near zero (BERT).
    """

    def __init__(self, num_frames: int, dim: int, scale: float = 0.0) -> None:
        super().__init__()
        noise = nn.init.trunc_normal_(torch.empty(num_frames, dim), std=0.02)
        self.table = nn.Parameter(scale * sine_cosine(num_frames, dim) if scale else noise)

    def forward(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, "F W"]:
        """Return the frames with their position embeddings added."""
        return x + lookup_rows(self.table, packing.time)
