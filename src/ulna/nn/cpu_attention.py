"""Attention on CPUs, in chunks that fit into the cache; the backward pass recomputes the attention maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ulna.nn.dropout import draw_kept

PIECE = 1 << 19  # values of attention maps per chunk
KEPT = 1 << 26  # values of attention maps up to which they are kept for the backward pass


def attend(
    qkv: Float[Tensor, "N L 3 H d"], mask: Bool[Tensor, "*any"] | None = None, dropout: float = 0.0
) -> Float[Tensor, "N L X"]:
    """Return softmax attention of L queries over L keys in N sequences.

    Products of queries and keys and the softmax are computed in float32 even if `qkv` is bfloat16. Small attention maps
    are kept for the backward pass, in the type of `qkv`; large ones are computed again.

    Args:
        qkv: Queries, keys and values.
        mask: (N or 1, 1, L or 1, L), True for keys that a query may attend to.
        dropout: Dropout rate of the attention weights.
    """
    return _Attend.apply(qkv, mask, dropout)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        num, length, _, num_heads, width = qkv.shape
        shape = (num, num_heads, length, length)
        is_training = ctx.needs_input_grad[0]
        heads = qkv.new_empty(3, num, num_heads, length, width) if is_training else None
        kept = torch.empty(shape, dtype=torch.int8) if dropout else None
        maps = qkv.new_empty(shape) if is_training and torch.Size(shape).numel() <= KEPT else None
        y = qkv.new_empty(num, length, num_heads, width)
        with torch.autocast("cpu", enabled=False):
            for part in _pieces(y):
                own = qkv[part].permute(2, 0, 3, 1, 4)
                q, k, v = own.contiguous() if heads is None else heads[:, part].copy_(own)
                weights = _softmax(q, k, mask, part)
                if maps is not None:
                    maps[part] = weights
                if kept is not None:
                    kept[part] = draw_kept(weights.shape, dropout)
                y[part].transpose(1, 2).copy_(_dropped(weights, kept, part).to(v.dtype) @ v)
        ctx.scale = 1 / (1 - dropout)
        if kept is not None:
            y.mul_(ctx.scale)
        ctx.save_for_backward(heads, mask, kept, maps)
        return y.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        heads, mask, kept, maps = ctx.saved_tensors
        _, num, num_heads, length, width = heads.shape
        result = grad.new_empty(num, length, 3, num_heads, width, dtype=heads.dtype)
        grad = grad.unflatten(-1, (num_heads, width)) * ctx.scale
        for part in _pieces(grad):
            q, k, v = heads[:, part]
            g = grad[part].transpose(1, 2).contiguous()
            weights = _softmax(q, k, mask, part) if maps is None else exact(maps[part])
            dv = _dropped(weights, kept, part).to(g.dtype).transpose(-1, -2) @ g
            of_weights = _dropped(exact(g) @ exact(v).transpose(-1, -2), kept, part)
            mean = (of_weights * weights).sum(dim=-1, keepdim=True)
            of_scores = of_weights.sub_(mean).mul_(weights).to(heads.dtype)
            factor = width**-0.5
            dq, dk = (of_scores @ k).mul_(factor), (of_scores.transpose(-1, -2) @ q).mul_(factor)
            for kind, value in enumerate((dq, dk, dv)):
                result[part, :, kind].transpose(1, 2).copy_(value)
        return result, None, None


def _pieces(y: Tensor) -> Iterator[slice]:
    """Return the sequences of each chunk of (N, L, H, d)."""
    num, length, num_heads, _ = y.shape
    size = max(1, PIECE // (num_heads * length * length))
    return (slice(first, first + size) for first in range(0, num, size))


def exact(x: Tensor) -> Tensor:
    """Return half-precision values in float32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _softmax(q: Tensor, k: Tensor, mask: Tensor | None, part: slice) -> Tensor:
    scores = (exact(q) * q.shape[-1] ** -0.5) @ exact(k).transpose(-1, -2)
    if mask is not None:
        scores.masked_fill_(~(mask[part] if len(mask) > 1 else mask), float("-inf"))
    return scores.softmax(dim=-1)


def _dropped(weights: Tensor, kept: Tensor | None, part: slice) -> Tensor:
    return weights if kept is None else kept[part].to(weights.dtype).mul_(weights)
