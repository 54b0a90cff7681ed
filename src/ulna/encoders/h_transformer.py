"""H-Transformer: five body parts, merged in stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.batch import Batch
from ulna.core import InputError, NodeLayout, NonNegative, Rate
from ulna.encoders.base import Depth, Dim, Encoder, Ratio
from ulna.encoders.time_encoder import Maps, Persons, TimeEncoder, init_bert
from ulna.nn.dropout import Dropout
from ulna.nn.pos_embed import LearnedPosEmbed
from ulna.nn.transformer_block import TransformerBlock
from ulna.preprocessing import InputSpec

PARTS = ("trunk", "right_arm", "right_leg", "left_leg", "left_arm")
HEADS = (5, 4, 2, 1)  # number of heads in each of the four stages


class HTransformer(TimeEncoder):
    """Cheng et al.: Hierarchical Transformer (ICME 2021).

    Each body part is embedded separately, with an eighth of the width `embed_dim`. Four stages of blocks attend over
    time. The first has five heads, one per part; then the trunk is merged with each limb, and four, two and finally one
    head attend to limbs, sides and the whole body. Heads have the width of their part, but projections cover the full
    width (as released).

    Args:
        config: Options.
        spec: Specification of the encoder's input.
    """

    class Config(Encoder.Config):
        """Options of `HTransformer`."""

        embed_dim: Dim = 2048
        """Width of a token in the last stages; a multiple of 8."""
        depth: Depth = 4
        """Number of blocks; a multiple of 4."""
        mlp_ratio: Ratio = 1.0
        """Ratio of the hidden layer's width to `embed_dim`."""
        dropout: Rate = 0.1
        """Dropout rate."""
        attention_dropout: Rate = 0.1
        """Dropout rate of the attention weights."""
        persons: Persons = "separate"
        """Encode each visible person separately, or concatenate all persons of a frame into one token."""
        pos_embed_scale: NonNegative = 0.0
        """Amplitude of the sine-cosine initialisation of position embeddings; 0 initialises with noise (BERT)."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec, persons=config.persons, dim=config.embed_dim)
        dim, depth = config.embed_dim, config.depth
        if dim % 8:
            raise InputError(f"embed_dim: expected a multiple of 8 (a part is an eighth of it), found {dim}")
        if depth % 4:
            raise InputError(f"depth: expected a multiple of 4 (four equal stages), found {depth}")
        self.part_nodes, self.part_dim = [_part_nodes(spec.layout, part) for part in PARTS], dim // 8
        self.embed_parts = nn.ModuleList(
            nn.Linear(self.num_channels * len(own) * self.persons_per_token, self.part_dim, bias=False)
            for own in self.part_nodes
        )
        first = len(PARTS) * self.part_dim
        self.pos_embed = LearnedPosEmbed(spec.max_frames, first, config.pos_embed_scale)
        self.norm = nn.LayerNorm(first)
        self.dropout = Dropout(config.dropout)
        per_stage = depth // len(HEADS)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                first if block < per_stage else dim,
                HEADS[block // per_stage],
                hidden_dim=int(config.mlp_ratio * dim),
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                norm="post",
            )
            for block in range(depth)
        )
        self.apply(init_bert)

    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        """Return the output of every block.

        Args:
            batch: A preprocessed batch.
            maps: Collects the attention maps of every block if given.
        """
        x = self.dropout(self.norm(self.pos_embed(self._embed(batch), batch.packing)))  # (F, 5 d)
        first, layers = len(self.blocks) // len(HEADS), []
        for number, block in enumerate(self.blocks):
            if number == first:
                x = merge_parts(x, self.part_dim)  # (F, 8 d)
            x = block(x, batch.packing, maps)
            layers.append(x)
        return layers

    def _embed(self, batch: Batch) -> Float[Tensor, "F H"]:
        """Return the embeddings of the five parts, concatenated."""
        channels = self.channels(batch)
        parts = [channels[:, :, own].flatten(1) for own in self.part_nodes]
        return torch.cat([embed(part) for embed, part in zip(self.embed_parts, parts, strict=True)], dim=1)

    def pos_embeds(self) -> list[Float[Tensor, "T S D"]]:
        """Return the learned position embedding of each part."""
        return [self.pos_embed.table.unflatten(1, (len(PARTS), -1))]

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return the input layers and each block."""
        return [[self.embed_parts, self.pos_embed, self.norm], *([block] for block in self.blocks)]


def merge_parts(x: Float[Tensor, "F H"], part_dim: int) -> Float[Tensor, "F W"]:
    """Concatenate the trunk with each of the four limbs."""
    trunk, *limbs = x.split(part_dim, dim=1)
    return torch.cat([part for limb in limbs for part in (trunk, limb)], dim=1)


def _part_nodes(layout: NodeLayout, part: str) -> list[int]:
    """Return the nodes of a body part; raises InputError if there are none."""
    parts = {} if layout.skeleton is None else layout.skeleton.parts
    nodes = layout.indices(parts.get(part, ()))
    if not nodes:
        known = ", ".join(name for name, joints in parts.items() if joints) or "none"
        raise InputError(
            f"H-Transformer merges trunk, arms and legs: expected joints of the {part.replace('_', ' ')}, found a "
            f"skeleton with parts {known}. Name its parts, or use another encoder."
        )
    return nodes
