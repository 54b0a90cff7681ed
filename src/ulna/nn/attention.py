"""Multi-head attention over the slots of a frame, or over the frames of a clip in a packed batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from ulna.data import Packing
from ulna.nn.rows import gather_rows, scatter_rows


class _Attention(nn.Module):
    """What both share: one linear X -> 3X, heads, softmax, one linear X -> X."""

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0, attention_dropout: float = 0.0) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"expected a width that {num_heads} heads divide, got {width}")
        self.num_heads, self.attention_dropout = num_heads, attention_dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., N, X) -> queries, keys and values, each (..., heads, N, X / heads)."""
        q, k, v = self._project(x).unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        return q, k, v

    def _project(self, x: Tensor) -> Tensor:
        """Queries, keys and values side by side; in float32 at least on CPUs, whose attention is slow in bfloat16."""
        qkv = self.qkv(x)
        return qkv.float() if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16 else qkv

    @property
    def _dropout_now(self) -> float:
        return self.attention_dropout if self.training else 0.0


class SlotAttention(_Attention):
    """Attention among the slots of each frame by itself: joints, whole bodies, persons."""

    def forward(
        self, x: Float[Tensor, "F S D"], mask: Bool[Tensor, "#F 1 #S S"] | None = None
    ) -> Float[Tensor, "F S D"]:
        """`mask` says which keys a query may see; all where None."""
        q, k, v = self._heads(x)
        if x.device.type == "cpu":  # thousands of tiny maps: plain products beat the fused kernel
            with torch.autocast("cpu", enabled=False):
                y = dropout(_softmax(q, k, mask), self._dropout_now) @ v
        else:
            y = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self._dropout_now)
        return self.dropout(self.proj(y.transpose(-3, -2).flatten(-2)))

    def weights(self, x: Float[Tensor, "F S D"], mask: Tensor | None = None) -> Float[Tensor, "F H S S"]:
        """Attention of each query (second last axis) over the keys (last axis)."""
        q, k, _ = self._heads(x)
        return _softmax(q, k, mask)


class FrameAttention(_Attention):
    """Attention among the frames of each clip of a packed batch; clips of like length are padded together."""

    def forward(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, "F W"]:
        qkv = scatter_rows(self._project(x), packing.place, packing.num_padded)
        parts = []
        for group in packing.groups:
            rows = qkv[group.places].view(*group.shape, 3, self.num_heads, -1)
            q, k, v = rows.permute(2, 0, 3, 1, 4)  # (b, h, T, d)
            mask = None if group.valid is None else group.valid[:, None, None]
            y = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self._dropout_now)
            parts.append(y.transpose(1, 2).flatten(2).flatten(0, 1))
        return self.dropout(self.proj(gather_rows(torch.cat(parts), packing.place)))

    def weights(self, x: Float[Tensor, "F W"], packing: Packing) -> tuple[Float[Tensor, "H T T"], ...]:
        """One map a clip: attention of each query frame (second last axis) over key frames (last axis)."""
        maps = []
        for clip in packing.split(x):
            q, k, _ = self._heads(clip)
            maps.append(_softmax(q, k, None))
        return tuple(maps)


def _softmax(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1)
