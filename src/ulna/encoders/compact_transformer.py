"""Compact transformer: few tokens of many frames, with class token and rotary positions (SLiM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from ulna.batch import Batch, Packing, Segments
from ulna.core import InputError, NodeLayout, Skeleton, get_skeleton
from ulna.encoders.base import Depth, Dim, Encoder, Heads, TokenEncoder, TokenFeatures
from ulna.encoders.released import read_state
from ulna.encoders.segment_transformer import SegmentLength
from ulna.nn.attention import FrameAttention
from ulna.nn.rotary import rotary_angles
from ulna.nn.scatter import gather_rows, lookup_rows
from ulna.preprocessing import InputSpec

Registers = Annotated[int, Field(ge=0, le=64)]


class CompactTransformer(TokenEncoder):
    """Encoder of SLiM: Do et al. (NeurIPS 2026, arXiv 2603.10648).

    A token is a segment of a few frames of one joint; its joint has a learned position embedding, its time a rotary one
    in every block. Each visible person is encoded separately, with a class token and registers.

    Args:
        config: Options; the defaults are those of the paper.
        spec: Specification of the encoder's input.
    """

    output: ClassVar[str] = "tokens of segments, with a class token"
    poolings: ClassVar[tuple[str, ...]] = ("mean", "class", "class+mean", "blocks")
    token_pooling: ClassVar[str] = "class"

    class Config(Encoder.Config):
        """Options of `CompactTransformer`."""

        segment: SegmentLength = 8
        """Number of frames per token."""
        embed_dim: Dim = 256
        """D, the width of a token."""
        depth: Depth = 8
        """Number of blocks."""
        num_heads: Heads = 8
        """Number of attention heads; the width of a head must be even."""
        registers: Registers = 4
        """Number of register tokens."""
        persons: Literal["mean", "sum"] = "mean"
        """Average the vectors of visible persons, or add them ("sum", released)."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec)
        dim = config.embed_dim
        if dim % (2 * config.num_heads):
            raise InputError(f"embed_dim: expected a multiple of {2 * config.num_heads} (twice the heads), found {dim}")
        self.tokens = _Tokens(self.num_channels * config.segment, dim, len(spec.layout), config.registers)
        self.blocks = nn.ModuleList(_Block(dim, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks.apply(_init)

    @property
    def token_dim(self) -> int:
        """D, the width of a token."""
        return self.config.embed_dim

    @property
    def token_frames(self) -> int:
        """Number of frames per token."""
        return self.config.segment

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        factor = {"mean": 1, "class": 1, "class+mean": 2}
        per_joint = 2 * (self.config.depth + 1) * len(self.spec.layout)
        return self.config.embed_dim * factor.get(pooling, per_joint)

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip, over its visible persons.

        Args:
            batch: A preprocessed batch.
            pooling: "mean" of a person's tokens, the "class" token, both ("class+mean", released), or "blocks": mean
                and standard deviation over each joint's tokens, before the first block and after every block.
        """
        self.check_pooling(pooling)
        segments = self.segments(batch)
        return self._pooled(segments, self.layers(segments, None), pooling)

    def token_features(self, batch: Batch, masked: Bool[Tensor, "F P K"] | None = None) -> TokenFeatures:
        """Return the tokens of all visible persons; masked ones are replaced by the mask token."""
        segments = self.segments(replace(batch, masked=masked))
        is_masked = None if masked is None else segments.first_of(masked)
        layers = self.layers(segments, is_masked)
        clip = segments.persons.clip[segments.person]
        return TokenFeatures(layers[-1][1], is_masked, clip, self._pooled(segments, layers, self.token_pooling))

    def segments(self, batch: Batch) -> Segments:
        """Cut the persons of a batch into segments."""
        self.check(batch)
        return Segments.of(batch, self.config.segment, range(len(self.spec.layout)))

    def layers(
        self, segments: Segments, masked: Bool[Tensor, " N"] | None
    ) -> list[tuple[Float[Tensor, "r D"], Float[Tensor, "N D"]]]:
        """Return class tokens and tokens before the first block and after every block, the last ones normalised.

        Args:
            segments: Segments of the batch's persons.
            masked: True for tokens to replace by the mask token.
        """
        num = 1 + self.config.registers
        packing = segments.tokens.with_front(num)
        special = (packing.first[:, None] + torch.arange(num, device=packing.device)).flatten()
        own = packing.first[segments.tokens.clip] + num + segments.tokens.time  # index of each token
        tokens = self.tokens(segments, self.channels(segments.persons.batch)[:, 0], masked)
        x = tokens.new_zeros(packing.num_frames, self.config.embed_dim)
        x = x.index_copy(0, special, self.tokens.special().repeat(packing.num_clips, 1)).index_copy(0, own, tokens)
        time = torch.zeros_like(packing.time).index_copy(0, own, segments.segment)
        angles = rotary_angles(time, self.config.embed_dim // self.config.num_heads)
        layers = [(gather_rows(x, packing.first), gather_rows(x, own))]
        for block in self.blocks:
            x = block(x, packing, angles)
            layers.append((gather_rows(x, packing.first), gather_rows(x, own)))
        return [*layers[:-1], (self.norm(layers[-1][0]), self.norm(layers[-1][1]))]

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return the input layer, each block, and the last norm."""
        return [[self.tokens], *([block] for block in self.blocks), [self.norm]]

    def _pooled(self, segments: Segments, layers: list[tuple[Tensor, Tensor]], pooling: str) -> Float[Tensor, "B E"]:
        class_tokens, tokens = layers[-1]
        if pooling == "blocks":
            pooled = torch.cat([segments.moments_per_joint(layer.float()) for _, layer in layers], dim=1)
        else:
            parts = {"class": class_tokens, "mean": segments.tokens.mean(tokens)}
            pooled = torch.cat([parts[name] for name in pooling.split("+")], dim=1)
        if self.config.persons == "mean":
            return segments.persons.mean(pooled, segments.is_visible)
        pooled = pooled * segments.is_visible[:, None]
        return pooled.new_zeros(len(segments.persons.visible_persons), pooled.shape[1]).index_add(
            0, segments.persons.clip, pooled
        )

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int = 8,
        num_persons: int = 2,
        max_frames: int = 64,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> CompactTransformer:
        """Return an encoder with the weights released by SLiM's authors (Apache-2.0).

        They were trained on clips of 64 frames in camera space, relative to the position of `spine_mid` in the first
        frame; their probes use the pooling "class+mean" and add persons up.

        Args:
            state: A mapping of names to tensors, a .safetensors file or a torch file. Names may have the prefixes
                `module.` and `backbone.`; tensors that are not part of the encoder are ignored.
            num_heads: Number of attention heads, which cannot be inferred from the weights.
            num_persons: P, the number of persons.
            max_frames: Maximum number of frames per clip.
            skeleton: Skeleton of the data, or its name.

        Raises:
            InputError: If a tensor is missing or the skeleton does not match.
        """
        bare = {name.removeprefix("backbone."): value for name, value in read_state(state).items()}
        weights = _released_names(bare)
        layout = NodeLayout.of(get_skeleton(skeleton), "mixed")
        if len(weights["tokens.pos_embed"]) != 1 + len(layout):
            raise InputError(
                f"expected weights for the {len(layout)} joints of {skeleton!r}, found some for "
                f"{len(weights['tokens.pos_embed']) - 1}"
            )
        dim, inputs = weights["tokens.embed_patch.weight"].shape
        config = cls.Config(
            segment=inputs // 3,
            embed_dim=dim,
            num_heads=num_heads,
            depth=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
            registers=len(weights["tokens.register_tokens"]),
            persons="sum",
        )
        encoder = cls(config, InputSpec(layout, num_persons, max_frames))
        try:
            encoder.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"expected the weights of a released SLiM encoder, found other shapes; {error}") from None
        return encoder


class _Tokens(nn.Module):
    """Everything before the first block: tokens of segments, class token and registers."""

    def __init__(self, inputs: int, dim: int, num_joints: int, registers: int) -> None:
        super().__init__()
        self.embed_patch = nn.Linear(inputs, dim)
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1 + num_joints, dim), std=0.02))
        self.class_token = nn.Parameter(torch.randn(1, dim) * 1e-6)
        self.register_tokens = nn.Parameter(torch.randn(registers, dim) * 1e-6)
        self.mask_token = nn.Parameter(torch.zeros(dim))

    def forward(
        self, segments: Segments, channels: Float[Tensor, "R K C"], masked: Bool[Tensor, " N"] | None
    ) -> Float[Tensor, "N D"]:
        """Return the tokens of all segments in full precision; masked ones are replaced by the mask token."""
        with torch.autocast(channels.device.type, enabled=False):
            patches = segments.patches(channels, segments.joints)  # (G, K, C * l)
            tokens = self.embed_patch(gather_rows(patches.flatten(0, 1), segments.token_index))
            if masked is None:  # the mask token takes part in every step, as training on several devices requires
                masked = torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)
            tokens = torch.where(masked[:, None], self.mask_token, tokens)
            return tokens + lookup_rows(self.pos_embed[1:], segments.joint)

    def special(self) -> Float[Tensor, "X D"]:
        """Return the class token and the registers."""
        return torch.cat([self.class_token + self.pos_embed[:1], self.register_tokens])


class _Block(nn.Module):
    """Attention with rotary positions and a SwiGLU feed-forward layer, both after a layer norm."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        hidden = -(-int(4 * dim * 2 / 3) // 8) * 8
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = FrameAttention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ffn_in = nn.Linear(dim, 2 * hidden)
        self.ffn_out = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "F D"], packing: Packing, angles: Float[Tensor, "F d"]) -> Float[Tensor, "F D"]:
        x = x + self.attention(self.attention_norm(x), packing, angles=angles)
        gate, value = self.ffn_in(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.ffn_out(silu(gate) * value)


RELEASED = {
    "norm1": "attention_norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "norm2": "ffn_norm",
    "mlp.w12": "ffn_in",
    "mlp.w3": "ffn_out",
}


def _released_names(bare: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's weights with our parameter names; raises InputError if one is missing."""
    num_blocks = max(1, len({key.split(".")[1] for key in bare if key.startswith("blocks.")}))
    names = {"norm.weight": "norm.weight", "norm.bias": "norm.bias"}
    for block in range(num_blocks):
        for theirs, ours in RELEASED.items():
            names |= {f"blocks.{block}.{theirs}.{kind}": f"blocks.{block}.{ours}.{kind}" for kind in ("weight", "bias")}
    special = (
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "pos_embed",
        "cls_token",
        "register_tokens",
        "mask_token",
    )
    missing = [key for key in (*special, *names) if key not in bare]
    if missing:
        raise InputError(
            f"expected the weights of a released SLiM encoder, {len(missing)} are missing: {', '.join(missing[:4])}"
        )
    wrong = [key for key in (*special, *names) if not (bare[key].is_floating_point() and bare[key].isfinite().all())]
    patch = bare["patch_embed.proj.weight"]
    fits = patch.ndim == 4 and patch.shape[1::2] == (3, 1)
    fits = fits and all(
        bare[key].ndim == 3 and len(bare[key]) == 1 for key in ("pos_embed", "cls_token", "register_tokens")
    )
    if wrong or not fits or bare["mask_token"].ndim != 2:
        raise InputError(
            f"expected finite weights of the released shapes, found others: {', '.join(wrong[:4] or special)}"
        )
    return {ours: bare[theirs] for theirs, ours in names.items()} | {
        "tokens.embed_patch.weight": patch[..., 0].transpose(1, 2).flatten(1),  # (D, 3, l, 1) -> frame by frame
        "tokens.embed_patch.bias": bare["patch_embed.proj.bias"],
        "tokens.pos_embed": bare["pos_embed"][0],
        "tokens.class_token": bare["cls_token"][0],
        "tokens.register_tokens": bare["register_tokens"][0],
        "tokens.mask_token": bare["mask_token"][0],
    }


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
