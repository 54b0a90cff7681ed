"""Stochastic depth in a packed batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ulna.batch import Packing


class DropPath(nn.Module):
    """Drops residual branches at random during training and divides the others by the keep probability."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor, packing: Packing | None = None) -> Tensor:
        """Drop rows of `branch` (F, ...), or whole clips if a packing is given."""
        if not self.training or self.rate == 0:
            return branch
        num = len(branch) if packing is None else packing.num_clips
        kept = torch.empty(num, device=branch.device, dtype=branch.dtype).bernoulli_(1 - self.rate) / (1 - self.rate)
        if packing is not None:
            kept = kept[packing.clip]
        return branch * kept.view(-1, *(1,) * (branch.ndim - 1))
