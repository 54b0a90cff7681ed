"""Transformer block over the frames or tokens of each clip in a packed batch."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ulna.batch import Packing
from ulna.nn.attention import FrameAttention
from ulna.nn.drop_path import DropPath
from ulna.nn.dropout import Dropout

Norm = Literal["post", "pre"]
GELU = Literal["tanh", "none"]


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward layer.

    Args:
        dim: Width of a token.
        num_heads: Number of attention heads.
        hidden_dim: Width of the hidden layer.
        norm: Layer norm after each sum ("post", Devlin et al. 2019) or before each branch ("pre").
        dropout: Dropout rate of both branches.
        attention_dropout: Dropout rate of the attention weights.
        drop_path: Stochastic depth rate.
        gelu: GELU approximation: "tanh", or "none" for the exact function.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        hidden_dim: int,
        norm: Norm,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        gelu: GELU = "tanh",
    ) -> None:
        super().__init__()
        self.dim, self.is_post = dim, norm == "post"
        self.attention = FrameAttention(dim, num_heads, dropout=dropout, attention_dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.GELU(approximate=gelu), nn.Linear(hidden_dim, dim), Dropout(dropout)
        )
        self.ffn_norm = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path)

    def attention_received(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, " F"]:
        """Return the attention each token receives, averaged over heads and queries, without gradient."""
        return self.attention.attention_received(x if self.is_post else self.attention_norm(x), packing)

    def forward(
        self, x: Float[Tensor, "F W"], packing: Packing, maps: list[tuple[Tensor, ...]] | None = None
    ) -> Float[Tensor, "F W"]:
        """Transform the tokens; `maps` collects the attention maps of every clip."""
        normed = x if self.is_post else self.attention_norm(x)
        if maps is not None:
            maps.append(self.attention.weights(normed, packing))
        if self.is_post:
            x = self.attention_norm(x + self.drop_path(self.attention(x, packing), packing))
            return self.ffn_norm(x + self.drop_path(self.ffn(x), packing))
        x = x + self.drop_path(self.attention(normed, packing), packing)
        return x + self.drop_path(self.ffn(self.ffn_norm(x)), packing)
