"""Motion-Transformer: a transformer over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ulna.batch import Batch
from ulna.core import NonNegative, Rate
from ulna.encoders.base import Depth, Dim, Encoder, Heads, Ratio
from ulna.encoders.time_encoder import Maps, Persons, TimeEncoder, init_bert
from ulna.nn.dropout import Dropout
from ulna.nn.pos_embed import LearnedPosEmbed
from ulna.nn.transformer_block import Norm, TransformerBlock
from ulna.preprocessing import InputSpec


class MotionTransformer(TimeEncoder):
    """Cheng, Chen, Zhang, Lin: Motion-Transformer (MMAsia 2020, doi 10.1145/3444685.3446289).

    Each frame is one token: a linear projection of its coordinates plus a learned position embedding; blocks attend
    over time. Only the abstract of the paper was available to us: the encoder follows the plain encoder in the authors'
    code of H-Transformer, with sizes of our own choice.

    Args:
        config: Options.
        spec: Specification of the encoder's input.
    """

    class Config(Encoder.Config):
        """Options of `MotionTransformer`."""

        embed_dim: Dim = 512
        """Width of a token."""
        num_heads: Heads = 8
        """Number of attention heads."""
        depth: Depth = 4
        """Number of blocks."""
        mlp_ratio: Ratio = 4.0
        """Ratio of the hidden layer's width to the width of a token."""
        dropout: Rate = 0.1
        """Dropout rate."""
        attention_dropout: Rate = 0.1
        """Dropout rate of the attention weights."""
        norm: Norm = "post"
        """Layer norm after each sum ("post", released) or before each branch ("pre")."""
        persons: Persons = "separate"
        """Encode each visible person separately, or concatenate all persons of a frame into one token."""
        pos_embed_scale: NonNegative = 0.0
        """Amplitude of the sine-cosine initialisation of position embeddings; 0 initialises with noise (BERT)."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec, persons=config.persons, dim=config.embed_dim)
        dim = config.embed_dim
        self.embed_frame = nn.Linear(self.num_channels * len(spec.layout) * self.persons_per_token, dim, bias=False)
        self.pos_embed = LearnedPosEmbed(spec.max_frames, dim, config.pos_embed_scale)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim,
                config.num_heads,
                hidden_dim=int(config.mlp_ratio * dim),
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                norm=config.norm,
            )
            for _ in range(config.depth)
        )
        self.last_norm = nn.LayerNorm(dim) if config.norm == "pre" else nn.Identity()
        self.apply(init_bert)

    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        """Return the output of every block.

        Args:
            batch: A preprocessed batch.
            maps: Collects the attention maps of every block if given.
        """
        x = self.embed_frame(self.channels(batch).flatten(1))
        x = self.dropout(self.norm(self.pos_embed(x, batch.packing)))
        layers = []
        for block in self.blocks:
            x = block(x, batch.packing, maps)
            layers.append(x)
        return [*layers[:-1], self.last_norm(x)]

    def pos_embeds(self) -> list[Float[Tensor, "T S D"]]:
        """Return the learned position embedding."""
        return [self.pos_embed.table[:, None]]

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return the input layers, each block, and the last norm."""
        return [[self.embed_frame, self.pos_embed, self.norm], *([block] for block in self.blocks), [self.last_norm]]
