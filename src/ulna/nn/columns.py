"""Columns of a frame's vector that belong to some persons, and layers restricted to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Columns:
    """Columns of the vectors of frames that belong to some persons.

    A vector of width W = K * P * D is joint-major with the person varying fastest: for each joint, D columns of each
    person. The features of all layers repeat this pattern: a query, key, value or hidden unit belongs to the person of
    its index modulo W. A layer applied here computes what it would compute if all input and output features of the
    other persons were set to zero; layer norms take their statistics over the kept columns.

    Args:
        persons: Indices of the persons to keep, ascending.
        num_persons: P, the number of persons.
        dim: D, the width of a node.
    """

    def __init__(self, persons: Sequence[int], num_persons: int, dim: int) -> None:
        self.persons, self.num_persons, self.dim = tuple(persons), num_persons, dim

    @property
    def is_whole(self) -> bool:
        """Whether all columns are kept."""
        return len(self.persons) == self.num_persons

    def take(self, x: Tensor, axis: int, dim: int | None = None) -> Tensor:
        """Keep the persons' features along an axis that has `dim` (by default D) features per node."""
        if self.is_whole:
            return x
        parts = x.unflatten(axis, (-1, self.num_persons, dim or self.dim))
        return torch.cat([parts.narrow(axis + 1, p, 1) for p in self.persons], dim=axis + 1).flatten(axis, axis + 2)

    def spread(self, x: Tensor, axis: int, dim: int | None = None) -> Tensor:
        """Set the features of the other persons to zero: the inverse of `take`."""
        if self.is_whole:
            return x
        parts = x.unflatten(axis, (-1, len(self.persons), dim or self.dim))
        shape = [*parts.shape]
        shape[axis + 1] = self.num_persons
        index = torch.tensor(self.persons, device=x.device)
        return x.new_zeros(shape).index_copy(axis + 1, index, parts).flatten(axis, axis + 2)

    def linear(self, x: Float[Tensor, "N C"], layer: nn.Linear, dim: int | None = None) -> Float[Tensor, "N X"]:
        """Apply a linear layer with `dim` (by default D) output features per node."""
        if self.is_whole:
            return layer(x)
        return functional.linear(x, self.take(self.take(layer.weight, 1), 0, dim), self.take(layer.bias, 0, dim))

    def norm(self, x: Float[Tensor, "N C"], layer: nn.LayerNorm) -> Float[Tensor, "N C"]:
        """Apply a layer norm over the kept columns."""
        if self.is_whole:
            return layer(x)
        weight, bias = self.take(layer.weight, 0), self.take(layer.bias, 0)
        return functional.layer_norm(x, weight.shape, weight, bias, layer.eps)

    def sequential(self, x: Float[Tensor, "N C"], layers: nn.Sequential) -> Float[Tensor, "N C"]:
        """Apply linear layers and layer norms to the kept columns, and other layers as they are."""
        for layer in layers:
            if isinstance(layer, nn.Linear):
                x = self.linear(x, layer)
            else:
                x = self.norm(x, layer) if isinstance(layer, nn.LayerNorm) else layer(x)
        return x

    def split_heads(self, x: Float[Tensor, "*any C"], qkv: nn.Linear, num_heads: int) -> Float[Tensor, "*any 3 H d"]:
        """Return queries, keys and values of heads that divide the full width evenly.

        Heads that keep fewer columns than others are padded with zeros. Queries are scaled such that scores divided by
        the square root of d are those of a head of full width.
        """
        if self.is_whole:
            return qkv(x).unflatten(-1, (3, num_heads, -1))
        index, kept = self._heads(qkv, num_heads)
        query_scale = (len(index) / qkv.in_features) ** 0.5
        scale = torch.stack([kept * query_scale, kept, kept])  # (3, H * d)
        weight = self.take(self.take(qkv.weight, 1), 0).unflatten(0, (3, -1)).index_select(1, index) * scale[..., None]
        bias = self.take(qkv.bias, 0).unflatten(0, (3, -1)).index_select(1, index) * scale
        return functional.linear(x, weight.flatten(0, 1), bias.flatten()).unflatten(-1, (3, num_heads, -1))

    def merge_heads(self, x: Float[Tensor, "*any X"], proj: nn.Linear, num_heads: int) -> Float[Tensor, "*any C"]:
        """Apply the last linear layer of attention to the outputs of the heads of `split_heads`."""
        if self.is_whole:
            return proj(x)
        index, kept = self._heads(proj, num_heads)
        weight = self.take(self.take(proj.weight, 0), 1).index_select(1, index) * kept
        return functional.linear(x, weight, self.take(proj.bias, 0))

    def _heads(self, layer: nn.Linear, num_heads: int) -> tuple[Tensor, Tensor]:
        """Return the kept column of each feature of the padded heads (H * d), and 1 or, for padding, 0."""
        column = np.arange(layer.in_features)
        is_own = np.isin(column // self.dim % self.num_persons, self.persons)
        head = column[is_own] * num_heads // layer.in_features  # (C,)
        counts = np.bincount(head, minlength=num_heads)
        rank = np.arange(counts.max())
        kept = rank < counts[:, None]  # (H, d)
        index = np.where(kept, (np.cumsum(counts) - counts)[:, None] + rank, 0)
        device = layer.weight.device
        return torch.from_numpy(index.ravel()).to(device), torch.from_numpy(kept.ravel()).to(device, layer.weight.dtype)
