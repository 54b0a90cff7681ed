"""A decoder of segments: from the tokens that were shown to what the hidden ones did (MAE, MAMP, HA-CM)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.data.segments import Segments
from ulna.encoders.segment_transformer import SegmentTransformer, TokenPlaces, start_as_vit
from ulna.nn.time_block import TimeBlock
from ulna.pretext.masks import Shown


class SegmentDecoder(nn.Module):
    """Blocks as wide as the encoder over all tokens of a person, with places of their own, and one linear layer.

    MAMP (arXiv 2308.07092) and HA-CM (arXiv 2409.17951) after MAE (arXiv 2111.06377).
    """

    def __init__(self, encoder: SegmentTransformer, num_blocks: int) -> None:
        super().__init__()
        width = encoder.width
        self.embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.place = TokenPlaces(len(encoder.joints), encoder.num_segments, width, encoder.positions_start)
        self.blocks = nn.ModuleList(
            TimeBlock(width, encoder.num_heads, hidden=4 * width, norm="pre", gelu="none") for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, 3 * encoder.segment)
        for module in (self.embed, self.blocks, self.predict):
            module.apply(start_as_vit)

    def filled(self, segments: Segments, encoded: Float[Tensor, "V D"], shown: Shown) -> Float[Tensor, "N D"]:
        """What the blocks are given, but for places: shown tokens in their slots, one learnt token in all others."""
        visible = self.embed(encoded)
        hidden = self.mask_token.to(visible.dtype).repeat(segments.tokens.num_frames, 1)
        return hidden.index_copy(0, shown.places, visible)

    def forward(self, segments: Segments, filled: Float[Tensor, "N D"]) -> Float[Tensor, "N X"]:
        """Three coordinates of each frame of every token."""
        x = self.place(filled, segments.joint, segments.segment)
        for block in self.blocks:
            x = block(x, segments.tokens)
        return self.predict(self.norm(x)).float()
