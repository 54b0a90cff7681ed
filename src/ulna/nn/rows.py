"""Moving rows between layouts: each row has one place, so that gradients are moved back rather than added up."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def scatter_rows(x: Float[Tensor, "F ..."], place: Int[Tensor, " F"], num: int) -> Float[Tensor, "N ..."]:
    """Rows at their places among `num`, zeros elsewhere; `place` names none twice."""
    return _Scatter.apply(x, place, num)


def gather_rows(x: Float[Tensor, "N ..."], place: Int[Tensor, " F"]) -> Float[Tensor, "F ..."]:
    """Rows taken from their places; `place` names none twice."""
    return _Gather.apply(x, place)


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, num: int) -> Tensor:
        ctx.save_for_backward(place)
        return x.new_zeros(num, *x.shape[1:]).index_copy_(0, place, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return grad.index_select(0, place), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.num = len(x)
        return x.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return grad.new_zeros(ctx.num, *grad.shape[1:]).index_copy_(0, place, grad), None
