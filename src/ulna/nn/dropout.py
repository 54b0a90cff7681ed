"""Dropout with masks that are cheap to draw on CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 2**16


class Dropout(nn.Module):
    """Sets values to zero at random during training and divides the others by the keep probability.

    On CPUs, one random number is used for four values; the rate is exact to 1/65536.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.rate)
        return _Dropout.apply(x, draw_kept(x.shape, self.rate), 1 / (1 - self.rate))


def draw_kept(shape: tuple[int, ...] | torch.Size, rate: float) -> Tensor:
    """Return an int8 mask: 0 for dropped values, with probability `rate`, and 1 for the others.

    Seeded by torch's CPU generator.
    """
    num = torch.Size(shape).numel()
    source = np.random.SFC64(torch.randint(2**63 - 1, (1,)).numpy())  # twice as fast as torch
    bits = torch.from_numpy(source.random_raw(-(-num // 4)).view(np.int16)[:num])
    kept = torch.ge(
        bits, round(rate * _LEVELS) - _LEVELS // 2, out=torch.empty_like(bits)
    )  # without changing the dtype, which is fast
    return kept.to(torch.int8).view(shape)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return x * kept.to(x.dtype).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (kept,) = ctx.saved_tensors
        return grad * kept.to(grad.dtype).mul_(ctx.scale), None, None
