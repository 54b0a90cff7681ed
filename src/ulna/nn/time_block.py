"""A transformer block over the frames of each clip."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ulna.data import Packing
from ulna.nn.attention import FrameAttention
from ulna.nn.dropout import Dropout

Norm = Literal["post", "pre"]


class TimeBlock(nn.Module):
    """Self-attention and a feed-forward layer; layer norm after each sum ("post", Devlin et al. 2019) or before each
    branch ("pre", more stable where there are many)."""

    def __init__(
        self, width: int, num_heads: int, *, hidden: int, dropout: float, attention_dropout: float, norm: Norm
    ) -> None:
        super().__init__()
        self.is_post = norm == "post"
        self.attention = FrameAttention(width, num_heads, dropout=dropout, attention_dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width), Dropout(dropout)
        )
        self.ffn_norm = nn.LayerNorm(width)

    def forward(
        self, x: Float[Tensor, "F W"], packing: Packing, maps: list[tuple[Tensor, ...]] | None = None
    ) -> Float[Tensor, "F W"]:
        """`maps` collects the attention of every clip."""
        seen = x if self.is_post else self.attention_norm(x)
        if maps is not None:
            maps.append(self.attention.weights(seen, packing))
        if self.is_post:
            x = self.attention_norm(x + self.attention(x, packing))
            return self.ffn_norm(x + self.ffn(x))
        x = x + self.attention(seen, packing)
        return x + self.ffn(self.ffn_norm(x))
