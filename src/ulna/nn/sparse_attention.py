"""Windowed and strided attention: each frame attends to its neighbours and to every n-th frame of its clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from ulna.nn.cpu_attention import exact
from ulna.nn.dropout import Dropout


@dataclass(frozen=True)
class SparsePattern:
    """The frames that a frame attends to, as in the sparse transformer (Child et al. 2019, arXiv 1904.10509).

    Memory and time of a clip of T frames grow as T * (3 * window + T / stride) instead of T * T.

    Args:
        window: Frame t attends to the frames t - window to t + window.
        stride: It also attends to the frames 0, stride, 2 * stride, ... of its clip.
    """

    window: int
    stride: int

    def covers(self, num_frames: int) -> bool:
        """Return whether every frame of a clip attends to all others, so that full attention is the same."""
        return num_frames - 1 <= self.window or self.stride == 1

    def mask(self, num_frames: int, device: torch.device | str = "cpu") -> Bool[Tensor, "T T"]:
        """Return True where a query frame (first axis) attends to a key frame."""
        time = torch.arange(num_frames, device=device)
        return ((time[:, None] - time).abs() <= self.window) | (time % self.stride == 0)


def attend_sparsely(
    qkv: Float[Tensor, "N T 3 H d"], valid: Bool[Tensor, "N T"] | None, pattern: SparsePattern, dropout: float = 0.0
) -> Float[Tensor, "N T X"]:
    """Return attention over time by a sparse pattern; the softmax is computed in float32 even if `qkv` is bfloat16.

    Queries are divided into blocks of `window` frames. Keys of a block are those of the block and of both neighbours,
    and the strided frames, which all blocks share.

    Args:
        qkv: Queries, keys and values of N clips, padded to T frames.
        valid: (N, T) True for frames that are not padding; None if all are.
        pattern: The frames that a frame attends to.
        dropout: Dropout rate of the attention weights.
    """
    num, length, _, _, width = qkv.shape
    size, stride = pattern.window, pattern.stride
    num_blocks = -(-length // size)
    if valid is None:
        valid = torch.ones(num, length, dtype=torch.bool, device=qkv.device)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (N, H, T, d)
    after = num_blocks * size - length
    blocks = pad(q * width**-0.5, (0, 0, 0, after)).unflatten(2, (num_blocks, size))  # (N, H, b, w, d)
    near_k, near_v = (pad(x, (0, 0, size, size + after)).unfold(2, 3 * size, size) for x in (k, v))  # (N, H, b, d, 3w)
    far_k, far_v = k[:, :, ::stride], v[:, :, ::stride]  # (N, H, m, d)

    near = exact(blocks @ near_k)  # (N, H, b, w, 3w)
    far = exact(blocks.flatten(2, 3) @ far_k.transpose(-1, -2)).unflatten(2, (num_blocks, size))  # (N, H, b, w, m)
    time = torch.arange(num_blocks * size, device=qkv.device).view(num_blocks, size, 1)
    key = time[:, :1, 0] - size + torch.arange(3 * size, device=qkv.device)  # (b, 3w)
    is_near = (time - key[:, None]).abs() <= size
    is_far = (time - torch.arange(0, length, stride, device=qkv.device)).abs() > size
    near_valid = pad(valid, (size, size + after)).unfold(1, 3 * size, size)[:, None, :, None]  # (N, 1, b, 1, 3w)
    far_valid = valid[:, None, None, None, ::stride]
    lowest = torch.finfo(near.dtype).min  # padded queries have no key; -inf would give NaN
    near = near.masked_fill(~(is_near & near_valid), lowest)
    far = far.masked_fill(~(is_far & far_valid), lowest)
    weights = Dropout(dropout)(torch.cat([near, far], dim=-1).softmax(dim=-1)).to(v.dtype)
    near, far = weights[..., : 3 * size], weights[..., 3 * size :]
    y = near @ near_v.transpose(-1, -2) + (far.flatten(2, 3) @ far_v).unflatten(2, (num_blocks, size))
    return y.flatten(2, 3)[:, :, :length].transpose(1, 2).flatten(2)
