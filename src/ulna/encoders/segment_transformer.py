"""Segment transformer: tokens are a few frames of one joint (MAMP, HA-CM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from ulna.batch import Batch, Packing, Segments
from ulna.core import InputError, NodeLayout, NonNegative, Positive, Rate, Skeleton, get_skeleton
from ulna.encoders.base import Depth, Dim, Encoder, Heads, Ratio, TokenEncoder, TokenFeatures, drop_path_rates
from ulna.encoders.released import read_state
from ulna.encoders.released_mamp import segment_weights
from ulna.nn.dropout import Dropout
from ulna.nn.hyperbolic import PoincareBall
from ulna.nn.pos_embed import LearnedPosEmbed
from ulna.nn.scatter import gather_rows, lookup_rows
from ulna.nn.transformer_block import TransformerBlock
from ulna.preprocessing import InputSpec

SegmentLength = Annotated[int, Field(ge=1, le=1000)]


class SegmentTransformer(TokenEncoder):
    """Encoder of HA-CM (arXiv 2409.17951) and, without `ball` and `prune_torso`, of MAMP (arXiv 2308.07092).

    A token is a segment of a few frames of one joint: a linear projection plus learned position embeddings of the joint
    and of the segment. Blocks attend over all tokens of a person; each visible person is encoded separately. A masked
    pretext task tokenises once (`tokenize`) and encodes only the visible tokens (`encode`).

    Args:
        config: Options.
        spec: Specification of the encoder's input.
    """

    output: ClassVar[str] = "tokens of segments"
    poolings: ClassVar[tuple[str, ...]] = ("mean", "joints", "blocks")

    class Config(Encoder.Config):
        """Options of `SegmentTransformer`."""

        segment: SegmentLength = 3
        """Number of frames per token."""
        embed_dim: Dim = 256
        """D, the width of a token."""
        num_heads: Heads = 8
        """Number of attention heads."""
        depth: Depth = 8
        """Number of blocks."""
        mlp_ratio: Ratio = 4.0
        """Ratio of the hidden layer's width to the width of a token."""
        ball: bool = True
        """Map tokens into the Poincare ball before the first block (HA-CM)."""
        curvature: Positive = 1.0
        """Absolute curvature of the ball, whose curvature is -`curvature`."""
        ball_scale: Positive = 1.0
        """Factor by which tokens are multiplied before they are mapped into the ball; with 1 (released), nearly all
        tokens are at its edge."""
        prune_torso: bool = True
        """Exclude the joints of the torso (HA-CM)."""
        dropout: Rate = 0.0
        """Dropout rate."""
        drop_path: Rate = 0.0
        """Stochastic depth rate of the last block; increases linearly from 0 over the blocks."""
        pos_embed_scale: NonNegative = 0.0
        """Initialisation of position embeddings: amplitude of the sines and cosines for segments, and standard
        deviation of the noise for joints; 0 initialises both with noise near zero."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec)
        layout, dim = spec.layout, config.embed_dim
        self.ball = PoincareBall(config.curvature, config.ball_scale)
        torso = layout.indices(layout.skeleton.torso) if layout.skeleton else []
        self.torso = [k for k in torso if k != layout.root]  # the root holds a translation, not a joint
        self.joints = [k for k in range(len(layout)) if not (config.prune_torso and k in self.torso)]
        if not self.joints:
            raise InputError(
                "expected joints outside the torso, found a skeleton without. Keep them: --encoder.no-prune-torso."
            )
        self.embed_patch = nn.Linear(self.num_channels * config.segment, dim)
        self.pos_embed = TokenPosEmbed(len(self.joints), self.num_segments, dim, config.pos_embed_scale)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim,
                config.num_heads,
                hidden_dim=int(config.mlp_ratio * dim),
                norm="pre",
                gelu="none",
                dropout=config.dropout,
                drop_path=rate,
            )
            for rate in drop_path_rates(config.drop_path, config.depth)
        )
        self.norm = nn.LayerNorm(dim)
        for block in self.blocks:
            block.apply(init_vit)

    @property
    def num_segments(self) -> int:
        """Maximum number of segments per clip; the last one may be shorter."""
        return -(-self.spec.max_frames // self.config.segment)

    def segments(self, batch: Batch) -> Segments:
        """Cut the persons of a batch into segments."""
        self.check(batch)
        return Segments.of(batch, self.config.segment, self.joints)

    def tokenize(self, segments: Segments) -> Float[Tensor, "N D"]:
        """Return a token for every joint that is visible in a segment, in full precision."""
        with torch.autocast(self.pos_embed.of_joints.device.type, enabled=False):
            patches = gather_rows(self._embed(segments, self.joints).flatten(0, 1), segments.token_index)
            return self.pos_embed(patches, segments.joint, segments.segment)

    def embed_torso(self, segments: Segments) -> Float[Tensor, "G J D"]:
        """Return the linear projection of the torso joints in every segment, without position embeddings."""
        return self._embed(segments, self.torso)

    def encode(self, tokens: Float[Tensor, "N D"], packing: Packing) -> Float[Tensor, "N D"]:
        """Encode the tokens of each person: all of them, or only the visible ones.

        Args:
            tokens: Tokens, person by person.
            packing: Number of tokens of each person.
        """
        return self.layers(tokens, packing)[-1]

    def layers(self, tokens: Float[Tensor, "N D"], packing: Packing) -> list[Float[Tensor, "N D"]]:
        """Return the input of the first block and the output of every block, the last one normalised.

        Args:
            tokens: Tokens, person by person.
            packing: Number of tokens of each person.
        """
        layers = [self.dropout(self._input(tokens))]
        for block in self.blocks:
            layers.append(block(layers[-1], packing))
        return [*layers[:-1], self.norm(layers[-1])]

    @torch.no_grad()
    def attention_received(self, tokens: Float[Tensor, "N D"], packing: Packing, block: int) -> Float[Tensor, " N"]:
        """Return the attention each token receives in a block, averaged over heads and queries.

        Args:
            tokens: Tokens, person by person.
            packing: Number of tokens of each person.
            block: Number of the block, counted from 1.
        """
        was_training = self.training
        self.eval()
        x = self._input(tokens)
        for earlier in self.blocks[: block - 1]:
            x = earlier(x, packing)
        last = self.blocks[block - 1]
        assert isinstance(last, TransformerBlock)
        received = last.attention_received(x, packing)
        self.train(was_training)
        return received

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        dim = self.config.embed_dim
        if pooling == "mean":
            return dim
        return dim * len(self.joints) * (1 if pooling == "joints" else 2 * (len(self.blocks) + 1))

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip, the mean over its persons.

        Args:
            batch: A preprocessed batch.
            pooling: "mean" over a person's tokens (the papers' linear evaluation); "joints", the mean over each joint's
                tokens, joints concatenated (the papers' fine-tuning); "blocks", mean and standard deviation over each
                joint's tokens, before the first block and after every block.
        """
        self.check_pooling(pooling)
        segments = self.segments(batch)
        layers = self.layers(self.tokenize(segments), segments.tokens)
        if pooling == "mean":
            pooled = segments.tokens.mean(layers[-1])
        elif pooling == "joints":
            pooled = segments.mean_per_joint(layers[-1])
        else:
            pooled = torch.cat([segments.moments_per_joint(layer.float()) for layer in layers], dim=1)
        return segments.persons.mean(pooled, segments.is_visible)

    @property
    def token_dim(self) -> int:
        """D, the width of a token."""
        return self.config.embed_dim

    @property
    def token_frames(self) -> int:
        """Number of frames per token."""
        return self.config.segment

    def token_features(self, batch: Batch, masked: Bool[Tensor, "F P K"] | None = None) -> TokenFeatures:
        """Return the tokens of all visible persons; masked ones enter as zeros."""
        segments = self.segments(replace(batch, masked=masked))
        tokens = self.encode(self.tokenize(segments), segments.tokens)
        return TokenFeatures(
            tokens,
            None if masked is None else segments.first_of(masked),
            segments.persons.clip[segments.person],
            segments.persons.mean(segments.tokens.mean(tokens), segments.is_visible),
        )

    def pos_embeds(self) -> list[Float[Tensor, "T S D"]]:
        """Return the learned position embedding of segments."""
        return [self.pos_embed.of_segments[:, None]]

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return the input layers, each block, and the last norm."""
        return [[self.embed_patch, self.pos_embed], *([block] for block in self.blocks), [self.norm]]

    def _embed(self, segments: Segments, joints: list[int]) -> Float[Tensor, "G J D"]:
        """Return the linear projection of some joints in every segment."""
        channels = self.channels(segments.persons.batch)[:, 0]
        with torch.autocast(channels.device.type, enabled=False):
            return self.embed_patch(segments.patches(channels, joints))

    def _input(self, tokens: Float[Tensor, "*any D"]) -> Float[Tensor, "*any D"]:
        """Return the input of the first block, in full precision, since half precision fails near the ball's edge."""
        if not self.config.ball:
            return tokens
        with torch.autocast(tokens.device.type, enabled=False):
            return self.ball.map(tokens.float())

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int = 8,
        num_persons: int = 2,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> SegmentTransformer:
        """Return an encoder with the weights released by MAMP's authors.

        They were trained on the input of `Shifted` with centre "spine_mid" and 120 frames.

        Args:
            state: A mapping of names to tensors, a .safetensors file or a torch file. Names may have the prefix
                `module.`; tensors that are not part of the encoder are ignored.
            num_heads: Number of attention heads, which cannot be inferred from the weights.
            num_persons: P, the number of persons.
            skeleton: Skeleton of the data, or its name.

        Raises:
            InputError: If a tensor is missing or the skeleton does not match.
        """
        weights = segment_weights(read_state(state))
        layout = NodeLayout.of(get_skeleton(skeleton), "mixed")
        dim, inputs = weights["embed_patch.weight"].shape
        num_joints, num_segments = len(weights["pos_embed.of_joints"]), len(weights["pos_embed.of_segments"])
        pruned = len(layout) - len(layout.indices(layout.skeleton.torso if layout.skeleton else ()))
        if num_joints not in (len(layout), pruned):
            raise InputError(
                f"expected {len(layout)} or {pruned} joints of {skeleton!r}, found weights for {num_joints}"
            )
        config = cls.Config(
            segment=inputs // 3,
            embed_dim=dim,
            num_heads=num_heads,
            depth=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
            mlp_ratio=weights["blocks.0.ffn.0.weight"].shape[0] / dim,
            ball=num_joints != len(layout),
            prune_torso=num_joints != len(layout),
        )
        encoder = cls(config, InputSpec(layout, num_persons, num_segments * inputs // 3))
        try:
            encoder.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise InputError(f"expected the weights of a released MAMP encoder, found other shapes; {error}") from None
        return encoder


class TokenPosEmbed(nn.Module):
    """Adds learned position embeddings of the joint and of the segment to each token.

    Args:
        num_joints: Number of joints that are tokens.
        num_segments: Maximum number of segments per clip.
        dim: Width of a token.
        scale: See `SegmentTransformer.Config.pos_embed_scale`.
    """

    def __init__(self, num_joints: int, num_segments: int, dim: int, scale: float) -> None:
        super().__init__()
        self.of_joints = nn.Parameter(nn.init.trunc_normal_(torch.empty(num_joints, dim), std=scale or 0.02))
        self.of_segments = LearnedPosEmbed(num_segments, dim, scale).table

    def forward(
        self, x: Float[Tensor, "N D"], joint: Int[Tensor, " N"], segment: Int[Tensor, " N"]
    ) -> Float[Tensor, "N D"]:
        """Return the tokens with their position embeddings added."""
        return x + lookup_rows(self.of_joints, joint) + lookup_rows(self.of_segments, segment)


def init_vit(module: nn.Module) -> None:
    """Initialise linear layers as in MAE: Xavier uniform weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
