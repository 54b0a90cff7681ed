"""GL-Transformer: global-local motion transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ulna.batch import Batch, Packing, PersonGroup, join_clips, join_frames
from ulna.core import InputError, NodeLayout, NonNegative, Rate, Skeleton, check_range, get_skeleton
from ulna.encoders.base import (
    AttentionMaps,
    Depth,
    Dim,
    FrameEncoder,
    Heads,
    Ratio,
    TokenEncoder,
    TokenFeatures,
    drop_path_rates,
)  # fmt: skip
from ulna.encoders.released import encoder_weights, read_state
from ulna.nn.attention import FrameAttention, NodeAttention
from ulna.nn.columns import Columns
from ulna.nn.drop_path import DropPath
from ulna.nn.dropout import Dropout
from ulna.nn.pos_embed import sine_cosine
from ulna.nn.scatter import lookup_rows
from ulna.nn.sparse_attention import SparsePattern
from ulna.preprocessing import InputSpec

PosEmbed = Literal["tight", "once", "fixed"]
Absent = Literal["compute", "skip"]


class GLTransformer(FrameEncoder, TokenEncoder):
    """Kim, Chang, Kim, Choi: Global-local motion transformer (ECCV 2022, arXiv 2207.06101), figure 2.

    Every frame has P*K nodes of width D, joint-major with the person index varying fastest. Each block attends over the
    nodes of a frame, then over the frames of a clip.

    Args:
        config: Options; the defaults are those of the paper.
        spec: Specification of the encoder's input.
    """

    poolings: ClassVar[tuple[str, ...]] = ("mean", "blocks")

    class Config(FrameEncoder.Config):
        """Options of `GLTransformer`."""

        embed_dim: Dim = 48
        """D, the width of a node."""
        num_heads: Heads = 8
        """Number of attention heads."""
        depth: Depth = 4
        """Number of blocks."""
        mlp_ratio: Ratio = 2.0
        """Ratio of the hidden layer's width to the width of a frame."""
        dropout: Rate = 0.1
        """Dropout rate."""
        attention_dropout: Rate = 0.1
        """Dropout rate of the attention weights."""
        drop_path: Rate = 0.1
        """Stochastic depth rate of the last block; increases linearly from 0 over the blocks."""
        pos_embed: PosEmbed = "tight"
        """Position embedding (Table 2 of the paper): learned, added before both attention layers of every block
        ("tight") or only before the first block ("once"); or fixed sines and cosines ("fixed")."""
        shared_pos_embed: bool = False
        """Share one position embedding among all blocks (paper), instead of one per block (released)."""
        pos_embed_scale: NonNegative = 0.0
        """Amplitude of the sine-cosine initialisation of learned position embeddings (paper: 0)."""
        person_to_person: bool = True
        """Let persons attend to one another."""
        mask_absent: bool = False
        """Exclude persons missing from the first frame from attention among nodes."""
        missing_token: bool = False
        """Put a learned vector in the place of nodes that are missing or masked, instead of embedding zeros (paper)."""
        absent: Absent = "compute"
        """Compute the nodes of persons who are visible in no frame of a clip, as zeros ("compute", paper), or not at
        all ("skip"). With "skip", only the columns of visible persons take part in every layer and in MPDP's heads:
        the result is that of setting the input and output columns of absent persons to zero in every layer, with layer
        norms over the other columns, and softmax over the nodes of visible persons. If nobody is visible in a clip, its
        first person is computed. The first visible person of a clip takes the part of person 0, who always counts as
        present. One person instead of two takes a quarter of the computation."""
        window: Annotated[int, Field(ge=1, le=100_000)] | None = None
        """Let a frame attend to this many frames before and after it, and to every `stride`-th frame of its clip; None
        lets it attend to all frames (paper). Both are the same for clips of at most `window` + 1 frames."""
        stride: Annotated[int, Field(ge=1, le=100_000)] = 32
        """Distance of the other frames that a frame attends to if there is a `window`."""
        checkpoint_activations: bool = False
        """Store only the input of each block and recompute the block in the backward pass: less memory, a third more
        computation, identical gradients."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec)
        num_nodes, dim, depth = spec.num_nodes, config.embed_dim, config.depth
        self.frame_dim = num_nodes * dim
        self.embed_local = nn.Linear(self.num_channels, dim)
        self.embed_global = nn.Linear(self.num_channels, dim) if spec.layout.root is not None else None
        self.missing = _MissingToken(dim) if config.missing_token else None
        self.dropout = Dropout(config.dropout)
        shape = (spec.max_frames, num_nodes, dim)
        is_once = config.pos_embed == "once"
        kinds: list[Any] = ["none" if is_once and block else config.pos_embed for block in range(depth)]
        pos_embeds = [_PosEmbed(shape, kind, config.pos_embed_scale) for kind in kinds]
        if config.shared_pos_embed and not is_once:
            pos_embeds = pos_embeds[:1] * depth
        rates = drop_path_rates(config.drop_path, depth)
        self.blocks = nn.ModuleList(
            _Block(config, pos_embed, self.frame_dim, rate) for pos_embed, rate in zip(pos_embeds, rates, strict=True)
        )
        is_skipping = config.absent == "skip" and spec.num_persons > 1
        if is_skipping and int(config.mlp_ratio * self.frame_dim) % (spec.num_persons * dim):
            raise InputError(
                f"absent='skip': expected a hidden layer whose width is a multiple of {spec.num_persons} persons * "
                f"{dim} (embed_dim), found {int(config.mlp_ratio * self.frame_dim)}. Change mlp_ratio."
            )
        self.norm = nn.LayerNorm(self.frame_dim)
        self.mlp = nn.Sequential(*_layer(self.frame_dim), *_layer(self.frame_dim))

    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        """Return one vector per frame; zeros in the columns of persons that are skipped."""
        groups = self.groups(batch)
        return join_frames(groups, [self.columns(group).spread(self.encode(group), 1) for group in groups])

    def groups(self, batch: Batch) -> tuple[PersonGroup, ...]:
        """Return the groups of clips that are encoded together: those with the same persons if others are skipped."""
        self.check(batch)
        return PersonGroup.split(batch) if self.config.absent == "skip" else (PersonGroup.whole(batch),)

    def encode(self, group: PersonGroup) -> Float[Tensor, "F C"]:
        """Return the columns of a group's persons for every frame."""
        return self._run(group, None)

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        return self.frame_dim * (1 if pooling == "mean" else 2 * (len(self.blocks) + 1))

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip.

        Args:
            batch: A preprocessed batch.
            pooling: "mean" of the output over the frames (paper), or "blocks": mean and standard deviation over the
                frames of the output of every block and of the encoder.
        """
        if pooling == "mean":
            return super().embed(batch)
        self.check_pooling(pooling)
        groups = self.groups(batch)
        return join_clips(groups, [self._moments(group) for group in groups])

    @property
    def token_dim(self) -> int:
        """D, the width of a node's share of a frame's vector."""
        return self.config.embed_dim

    @property
    def token_frames(self) -> int:
        """1: a token is a node of one frame."""
        return 1

    def token_features(self, batch: Batch, masked: Bool[Tensor, "F P K"] | None = None) -> TokenFeatures:
        """Return each visible node's share of the frame vectors; masked nodes enter as zeros."""
        batch = replace(batch, masked=masked)
        features = self(batch)
        tokens = features.unflatten(1, (self.spec.num_nodes, -1))  # nodes joint-major, the person fastest
        shown = batch.visible.transpose(1, 2).flatten(1)  # (F, S)
        return TokenFeatures(
            tokens[shown],
            None if masked is None else masked.transpose(1, 2).flatten(1)[shown],
            batch.packing.clip[:, None].expand_as(shown)[shown],
            batch.packing.mean(features),
        )

    def _moments(self, group: PersonGroup) -> Float[Tensor, "B E"]:
        """Return mean and standard deviation over the frames of the output of every block and of the encoder."""
        outputs: list[Tensor] = []
        outputs.append(self._run(group, None, outputs))
        moments = [group.batch.packing.moments(values.float()) for values in outputs]
        return self.columns(group).spread(torch.cat(moments, dim=1), 1)

    def pos_embeds(self) -> list[Float[Tensor, "T S D"]]:
        """Return the learned position embeddings."""
        own = [module for module in self.modules() if isinstance(module, _PosEmbed)]
        return [module.table for module in own if module.kind in ("tight", "once")]

    def layer_groups(self) -> list[list[nn.Module]]:
        """Return the input layers, each block, and the output layers."""
        inputs = (self.embed_local, self.embed_global, self.missing)
        embed: list[nn.Module] = [part for part in inputs if part is not None]
        return [embed, *([block] for block in self.blocks), [self.norm, self.mlp]]

    def attention_maps(self, batch: Batch) -> tuple[Float[Tensor, "F W"], list[AttentionMaps]]:
        """Return the features and the attention maps of every block; skipped persons receive no attention."""
        groups = self.groups(batch)
        features, maps = [], []
        for group in groups:
            found: list[AttentionMaps] = []
            columns = self.columns(group)
            features.append(columns.spread(self._run(group, found), 1))
            maps.append(found)
        return join_frames(groups, features), [
            self._joined_maps(groups, of_block) for of_block in zip(*maps, strict=True)
        ]

    def _joined_maps(self, groups: Sequence[PersonGroup], maps: Sequence[AttentionMaps]) -> AttentionMaps:
        """Return a block's maps of all clips from those of each group."""
        spatial = []
        temporal: dict[int, Tensor] = {}
        for group, own in zip(groups, maps, strict=True):
            assert own.spatial is not None
            columns = self.columns(group)
            spatial.append(columns.spread(columns.spread(own.spatial, 2, 1), 3, 1))
            clips = range(len(own.temporal)) if group.clips is None else group.clips.tolist()
            temporal |= zip(clips, own.temporal, strict=True)
        return AttentionMaps(join_frames(groups, spatial), tuple(temporal[clip] for clip in sorted(temporal)))

    def _run(
        self, group: PersonGroup, maps: list[AttentionMaps] | None, outputs: list[Tensor] | None = None
    ) -> Float[Tensor, "F C"]:
        batch, columns = group.batch, self.columns(group)
        z = self._embed(batch)  # (F, S, D)
        mask = self._node_mask(batch)
        for block in self.blocks:
            if self.config.checkpoint_activations and self.training:
                z = checkpoint(block, z, batch.packing, columns, mask, maps, use_reentrant=False)
            else:
                z = block(z, batch.packing, columns, mask, maps)
            if outputs is not None:
                outputs.append(z.flatten(1))
        return columns.sequential(columns.norm(z.flatten(1), self.norm), self.mlp)

    def _embed(self, batch: Batch) -> Float[Tensor, "F S D"]:
        nodes = self.channels(batch).transpose(1, 2)  # (F, K, P, C)
        x = self.embed_local(nodes)
        root = self.spec.layout.root
        if self.embed_global is not None and root is not None:
            translation = self.embed_global(nodes[:, root : root + 1]).to(x.dtype)
            x = torch.cat([x[:, :root], translation, x[:, root + 1 :]], dim=1)
        if self.missing is not None:
            hidden = ~batch.visible if batch.masked is None else ~batch.visible | batch.masked
            x = self.missing(x, hidden.transpose(1, 2))
        return self.dropout(x.flatten(1, 2))

    def _node_mask(self, batch: Batch) -> Tensor | None:
        """Return (F or 1, 1, S or 1, S), True for nodes that a node may attend to; None allows all."""
        num_nodes = len(self.spec.layout)
        mask = None
        if not self.config.person_to_person:
            person = torch.arange(batch.num_persons, device=batch.position.device).repeat(num_nodes)
            mask = (person[:, None] == person)[None, None]
        if self.config.mask_absent:
            visible = ~absent_persons(batch)[batch.packing.clip].repeat(1, num_nodes)[:, None, None]
            own = torch.eye(visible.shape[-1], dtype=torch.bool, device=visible.device)
            mask = (visible if mask is None else visible & mask) | own
        return mask

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> GLTransformer:
        """Return an encoder with the authors' weights. Dropout is off.

        Args:
            state: A mapping of names to tensors, a .safetensors file or a torch file. Names may have the prefixes
                `transformer.` and `module.`; tensors that are not part of the encoder are ignored.
            num_heads: Number of attention heads, which cannot be inferred from the weights.
            skeleton: Skeleton of the data, or its name.

        Raises:
            InputError: If a tensor is missing or the skeleton does not match.
        """
        weights = encoder_weights(read_state(state))
        layout = NodeLayout.of(get_skeleton(skeleton))
        check_range("num_heads", num_heads, 1, 1024)
        num_frames, num_nodes, dim = weights["blocks.0.pos_embed.table"].shape
        if num_nodes % len(layout):
            raise InputError(
                f"expected a multiple of the {len(layout)} joints of {skeleton!r}, found weights for {num_nodes} nodes"
            )
        config = cls.Config(
            embed_dim=dim,
            num_heads=num_heads,
            depth=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
            mlp_ratio=weights["blocks.0.ffn.0.weight"].shape[0] / (num_nodes * dim),
            dropout=0.0,
            attention_dropout=0.0,
            drop_path=0.0,
        )
        encoder = cls(config, InputSpec(layout, num_nodes // len(layout), num_frames))
        try:
            encoder.to(weights["norm.weight"].dtype).load_state_dict(dict(weights))
        except RuntimeError as error:
            raise InputError(
                f"expected the weights of a released GL-Transformer, found other shapes; {error}"
            ) from None
        return encoder


def absent_persons(batch: Batch) -> Bool[Tensor, "B P"]:
    """Return True for persons missing from the first frame (person 0 is always present), as in the released code.

    Based on the visibility mask of the preprocessed batch: persons whose centre joint is never visible were removed by
    the preprocessor and count as missing.
    """
    absent = ~batch.visible.any(dim=2)[batch.packing.first]
    absent[:, 0] = False
    return absent


def _layer(dim: int) -> tuple[nn.Module, ...]:
    return nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim)


class _Block(nn.Module):
    """Spatial attention, temporal attention, feed-forward (paper eqs. 4 to 11)."""

    def __init__(self, config: GLTransformer.Config, pos_embed: _PosEmbed, frame_dim: int, drop_path: float) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.pos_embed, self.is_tight = pos_embed, config.pos_embed != "once"
        dropouts: dict[str, Any] = {"dropout": config.dropout, "attention_dropout": config.attention_dropout}
        self.spatial_norm = nn.LayerNorm(dim)
        self.spatial = NodeAttention(dim, heads, **dropouts)
        self.temporal_norm = nn.LayerNorm(frame_dim)
        sparse = None if config.window is None else SparsePattern(config.window, config.stride)
        self.temporal = FrameAttention(frame_dim, heads, sparse=sparse, **dropouts)
        self.ffn_norm = nn.LayerNorm(frame_dim)
        hidden = int(config.mlp_ratio * frame_dim)
        self.ffn = nn.Sequential(
            nn.Linear(frame_dim, hidden), nn.GELU(), Dropout(config.dropout), nn.Linear(hidden, frame_dim),
            Dropout(config.dropout),
        )  # fmt: skip
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        z: Float[Tensor, "F S D"],
        packing: Packing,
        columns: Columns,
        mask: Tensor | None,
        maps: list[AttentionMaps] | None,
    ) -> Float[Tensor, "F S D"]:
        x = self.pos_embed.before_spatial(z, packing, columns)
        normed = self.spatial_norm(x)
        s = x + self.drop_path(self.spatial(normed, mask))

        y = self.pos_embed.before_temporal(s, packing, columns) if self.is_tight else s
        y = y.flatten(1)  # (F, C)
        frames = columns.norm(y, self.temporal_norm)
        y = y + self.drop_path(self.temporal(frames, packing, columns), packing)

        y = y + self.drop_path(columns.sequential(columns.norm(y, self.ffn_norm), self.ffn), packing)
        if maps is not None:
            weights = self.temporal.weights(frames, packing, columns)
            maps.append(AttentionMaps(self.spatial.weights(normed, mask), weights))
        return y.unflatten(1, z.shape[1:])


class _MissingToken(nn.Module):
    """A learned vector in the place of nodes that an encoder does not see.

    Args:
        dim: D, the width of a node.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "F K P D"], hidden: Bool[Tensor, "F K P"]) -> Float[Tensor, "F K P D"]:
        """Return the nodes with the vector in the place of those that are hidden."""
        return torch.where(hidden[..., None], self.vector.to(x.dtype), x)


class _PosEmbed(nn.Module):
    """Position embedding of a block: learned (T_max, S, D), fixed sines and cosines, or none."""

    def __init__(
        self, shape: tuple[int, int, int], kind: Literal["tight", "once", "fixed", "none"], scale: float = 0.0
    ) -> None:
        super().__init__()
        num_frames, num_nodes, dim = shape
        self.kind = kind
        self.of_nodes: Tensor
        self.of_frames: Tensor
        of_frames = sine_cosine(num_frames, num_nodes * dim).unflatten(1, (num_nodes, dim))
        if kind in ("tight", "once"):
            self.table = nn.Parameter(scale * of_frames)
        elif kind == "fixed":
            self.register_buffer("of_nodes", sine_cosine(num_nodes, dim), persistent=False)
            self.register_buffer("of_frames", of_frames, persistent=False)

    def before_spatial(self, z: Float[Tensor, "F S D"], packing: Packing, columns: Columns) -> Float[Tensor, "F S D"]:
        if self.kind == "none":
            return z
        return z + (columns.take(self.of_nodes, 0, 1) if self.kind == "fixed" else self._of_frames(packing, columns))

    def before_temporal(self, z: Float[Tensor, "F S D"], packing: Packing, columns: Columns) -> Float[Tensor, "F S D"]:
        return z + self._of_frames(packing, columns)

    def _of_frames(self, packing: Packing, columns: Columns) -> Float[Tensor, "F S D"]:
        table = self.of_frames if self.kind == "fixed" else self.table
        return lookup_rows(columns.take(table, 1, 1), packing.time)
