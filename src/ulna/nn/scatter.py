"""Scatter, gather and look up rows, with fast gradients."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def scatter_rows(x: Float[Tensor, "F ..."], index: Int[Tensor, " F"], num: int) -> Float[Tensor, "N ..."]:
    """Return `num` rows with `x` at unique indices and zeros elsewhere."""
    return _Scatter.apply(x, index, num)


def gather_rows(x: Float[Tensor, "N ..."], index: Int[Tensor, " F"]) -> Float[Tensor, "F ..."]:
    """Return the rows of `x` at unique indices."""
    return x.index_select(0, index) if torch.compiler.is_exporting() else _Gather.apply(x, index)


def lookup_rows(table: Float[Tensor, "N ..."], index: Int[Tensor, " F"]) -> Float[Tensor, "F ..."]:
    """Return the rows of a table at indices that may repeat, such as position embeddings.

    On CPUs the gradient is added row by row, which is 50 times faster than that of indexing. On accelerators indexing
    is used, whose gradient is deterministic.
    """
    return table.index_select(0, index) if table.device.type == "cpu" else table[index]


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, num: int) -> Tensor:
        ctx.save_for_backward(index)
        return x.new_zeros(num, *x.shape[1:]).index_copy_(0, index, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.num = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return grad.new_zeros(ctx.num, *grad.shape[1:]).index_copy_(0, index, grad), None
