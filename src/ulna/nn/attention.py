"""Multi-head attention over the nodes of a frame, or over the frames of each clip in a packed batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ulna.batch import Packing
from ulna.core import InputError
from ulna.nn.columns import Columns
from ulna.nn.cpu_attention import attend
from ulna.nn.dropout import Dropout
from ulna.nn.rotary import rotate_pairs
from ulna.nn.scatter import gather_rows, scatter_rows
from ulna.nn.sparse_attention import SparsePattern, attend_sparsely

LONG = 256  # tokens per sequence from which PyTorch's fused attention is faster on CPUs, unless there is dropout


class _Attention(nn.Module):
    """Base class: one linear layer X -> 3X, heads, softmax, one linear layer X -> X."""

    def __init__(self, dim: int, num_heads: int, *, dropout: float = 0.0, attention_dropout: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise InputError(f"expected a width divisible by {num_heads} heads, found {dim}")
        self.num_heads, self.attention_dropout = num_heads, attention_dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def _project(self, x: Float[Tensor, "*any N X"]) -> Float[Tensor, "*any N 3 H d"]:
        """Return queries, keys and values."""
        return self.qkv(x).unflatten(-1, (3, self.num_heads, -1))

    def _attend(self, qkv: Float[Tensor, "B N 3 H d"], mask: Tensor | None) -> Float[Tensor, "B N X"]:
        if torch.compiler.is_exporting():  # no operator of ours
            weights = self._weights(qkv, mask)
            return (weights @ qkv[:, :, 2].transpose(1, 2)).transpose(1, 2).flatten(2)
        if qkv.device.type == "cpu" and (self._dropout_now or qkv.shape[1] < LONG):
            return attend(qkv, mask, self._dropout_now)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self._dropout_now)
        return y.transpose(1, 2).flatten(2)

    @staticmethod
    def _weights(qkv: Float[Tensor, "*any N 3 H d"], mask: Tensor | None = None) -> Float[Tensor, "*any H N N"]:
        """Return the attention weights of queries over keys."""
        q, k, _ = qkv.movedim(-3, 0).transpose(-3, -2)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1)

    @property
    def _dropout_now(self) -> float:
        return self.attention_dropout if self.training else 0.0


class NodeAttention(_Attention):
    """Attention among the nodes of each frame."""

    def forward(
        self, x: Float[Tensor, "F S D"], mask: Bool[Tensor, "#F 1 #S S"] | None = None
    ) -> Float[Tensor, "F S D"]:
        """Attend; `mask` is True for keys that a query may attend to, None allows all."""
        return self.dropout(self.proj(self._attend(self._project(x), mask)))

    def weights(self, x: Float[Tensor, "F S D"], mask: Tensor | None = None) -> Float[Tensor, "F H S S"]:
        """Return the attention of each query (second last axis) over the keys (last axis)."""
        return self._weights(self._project(x), mask)


class FrameAttention(_Attention):
    """Attention among the frames of each clip of a packed batch; clips of similar length are padded together.

    Args:
        dim: Width of a frame.
        num_heads: Number of attention heads.
        dropout: Dropout rate of the output.
        attention_dropout: Dropout rate of the attention weights.
        sparse: Frames that each frame attends to; None for all of its clip.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        sparse: SparsePattern | None = None,
    ) -> None:
        super().__init__(dim, num_heads, dropout=dropout, attention_dropout=attention_dropout)
        self.sparse = sparse

    def forward(
        self,
        x: Float[Tensor, "F C"],
        packing: Packing,
        columns: Columns | None = None,
        angles: Float[Tensor, "F d"] | None = None,
    ) -> Float[Tensor, "F C"]:
        """Attend.

        Args:
            x: The frames.
            packing: Start and length of each clip.
            columns: Columns of a frame's vector that `x` consists of; None for all.
            angles: Angles of rotary position embeddings, see `rotary_angles`; None for none.
        """
        qkv = self._split_heads(x, columns)
        if angles is not None:
            qkv = torch.cat([rotate_pairs(qkv[:, :2], angles), qkv[:, 2:]], dim=1)
        if not packing.is_uniform:
            qkv = scatter_rows(qkv, packing.padded_index, packing.num_padded)
        parts = []
        for group, rows in zip(packing.groups, qkv.split([group.num_rows for group in packing.groups]), strict=True):
            clips = rows.unflatten(0, group.shape)
            mask = None if group.valid is None else group.valid[:, None, None]
            if self.sparse is not None and torch.compiler.is_exporting():
                own = self.sparse.mask(group.shape[1], x.device)
                y = self._attend(clips, own if mask is None else own & mask)
            elif self.sparse is None or self.sparse.covers(group.shape[1]):
                y = self._attend(clips, mask)
            else:
                y = attend_sparsely(clips, group.valid, self.sparse, self._dropout_now)
            parts.append(y.flatten(0, 1))
        y = torch.cat(parts)
        if not packing.is_uniform:
            y = gather_rows(y, packing.padded_index)
        return self.dropout(self.proj(y) if columns is None else columns.merge_heads(y, self.proj, self.num_heads))

    @torch.no_grad()
    def attention_received(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, " F"]:
        """Return the attention each frame receives, averaged over heads and over the queries of its clip."""
        with torch.autocast(x.device.type, enabled=False):
            return self._received(x.float(), packing)

    def _received(self, x: Tensor, packing: Packing) -> Tensor:
        q, k, _ = scatter_rows(self._project(x), packing.padded_index, packing.num_padded).unbind(dim=1)
        found, first = [], 0
        for group in packing.groups:
            rows = slice(first, first + group.num_rows)
            own_q, own_k = (part[rows].unflatten(0, group.shape).transpose(1, 2) for part in (q, k))
            scores = own_q @ own_k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (b, H, T, T)
            if group.valid is None:
                found.append(scores.softmax(dim=-1).mean(dim=(1, 2)).flatten())
            else:
                valid = group.valid[:, None]
                maps = scores.masked_fill(~valid[:, :, None], float("-inf")).softmax(dim=-1) * valid[..., None]
                found.append((maps.mean(dim=1).sum(dim=1) / group.valid.sum(dim=1, keepdim=True)).flatten())
            first += group.num_rows
        return gather_rows(torch.cat(found), packing.padded_index)

    def weights(
        self, x: Float[Tensor, "F C"], packing: Packing, columns: Columns | None = None
    ) -> tuple[Float[Tensor, "H T T"], ...]:
        """Return one map per clip: attention of each query frame (second last axis) over key frames (last axis)."""
        clips = packing.split(self._split_heads(x, columns))
        masks = [None if self.sparse is None else self.sparse.mask(len(clip), x.device) for clip in clips]
        return tuple(self._weights(clip, mask) for clip, mask in zip(clips, masks, strict=True))

    def _split_heads(self, x: Float[Tensor, "F C"], columns: Columns | None) -> Float[Tensor, "F 3 H d"]:
        return self._project(x) if columns is None else columns.split_heads(x, self.qkv, self.num_heads)
