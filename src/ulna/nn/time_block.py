"""A transformer block over the frames of each clip."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ulna.data import Packing
from ulna.nn.attention import FrameAttention
from ulna.nn.drop_path import DropPath
from ulna.nn.dropout import Dropout

Norm = Literal["post", "pre"]
Gelu = Literal["tanh", "none"]


class TimeBlock(nn.Module):
    """Self-attention and a feed-forward layer; layer norm after each sum ("post", Devlin et al. 2019) or before each
    branch ("pre", more stable where there are many). `gelu` is exact ("none") or approximate ("tanh")."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        hidden: int,
        norm: Norm,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        gelu: Gelu = "tanh",
    ) -> None:
        super().__init__()
        self.width, self.is_post = width, norm == "post"
        self.attention = FrameAttention(width, num_heads, dropout=dropout, attention_dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate=gelu), nn.Linear(hidden, width), Dropout(dropout)
        )
        self.ffn_norm = nn.LayerNorm(width)
        self.drop_path = DropPath(drop_path)

    def received(self, x: Float[Tensor, "F W"], packing: Packing) -> Float[Tensor, " F"]:
        """Attention that each frame receives, the mean over heads and queries; without gradient."""
        return self.attention.received(x if self.is_post else self.attention_norm(x), packing)

    def forward(
        self, x: Float[Tensor, "F W"], packing: Packing, maps: list[tuple[Tensor, ...]] | None = None
    ) -> Float[Tensor, "F W"]:
        """`maps` collects the attention of every clip."""
        seen = x if self.is_post else self.attention_norm(x)
        if maps is not None:
            maps.append(self.attention.weights(seen, packing))
        if self.is_post:
            x = self.attention_norm(x + self.drop_path(self.attention(x, packing), packing))
            return self.ffn_norm(x + self.drop_path(self.ffn(x), packing))
        x = x + self.drop_path(self.attention(seen, packing), packing)
        return x + self.drop_path(self.ffn(self.ffn_norm(x)), packing)
