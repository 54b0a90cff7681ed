"""All-gather with gradients, for losses over the samples of all processes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed


def all_rows(x: Shaped[Tensor, "n D"]) -> tuple[Shaped[Tensor, "N D"], int]:
    """Return the rows of all processes, concatenated, and the index of this process's first row.

    Gradients flow back to the process that each row came from.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return x, 0
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, torch.tensor([len(x)], device=x.device))
    sizes = [int(count) for count in counts]
    return _AllRows.apply(x, sizes), sum(sizes[: distributed.get_rank()])


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        parts = [x.new_zeros(max(sizes), x.shape[1]) for _ in sizes]
        own = x.new_zeros(max(sizes), x.shape[1])
        own[: len(x)] = x
        distributed.all_gather(parts, own)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        grad = grad.contiguous()
        distributed.all_reduce(grad)
        rank = distributed.get_rank()
        first = sum(ctx.sizes[:rank])
        return grad[first : first + ctx.sizes[rank]], None
