"""Segment transformer: tokens are a few frames of one joint (MAMP, HA-CM)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ulna.core import Skeleton, Slots, all_within, get_skeleton, one_of, within
from ulna.data import Batch, Packing
from ulna.data.segments import Segments
from ulna.encoders.base import Encoder
from ulna.encoders.released import read_state
from ulna.encoders.released_mamp import segment_weights
from ulna.nn.dropout import Dropout
from ulna.nn.hyperbolic import exp0
from ulna.nn.positions import LearnedPositions
from ulna.nn.time_block import TimeBlock

SegmentReadout = Literal["mean", "joints", "blocks"]


class SegmentTransformer(Encoder):
    """Encoder of HA-CM (arXiv 2409.17951) and, with `ball` off and `prune_torso` off, of MAMP (arXiv 2308.07092).

    A token is `segment` frames of one joint: one linear layer, plus a learnt place in the body and in time; `ball` maps
    it into the Poincare ball of curvature -`curvature` (its length times `ball_scale` first: 1 as released, where
    nearly all tokens end at the edge). Blocks attend over all tokens of a person. `prune_torso` leaves the torso's
    joints out, as HA-CM does. Each person who is seen goes through by itself; a clip's embedding is the mean over
    tokens, then over persons (`readout` "mean", the paper's linear evaluation), or the mean over each joint's tokens,
    joints side by side, then over persons ("joints", as the paper fine-tunes). Ours: `readout` "blocks" takes mean and
    standard deviation over each joint's tokens, before the first block and after every one. Places in time start as
    sines and cosines of size `positions_start`, those of joints as noise of that size (0: both as noise near zero).
    """

    gives: ClassVar[str] = "tokens of segments"

    def __init__(
        self,
        slots: Slots,
        num_persons: int,
        max_frames: int,
        *,
        segment: int = 3,
        width: int = 256,
        num_heads: int = 8,
        num_blocks: int = 8,
        ff: float = 4.0,
        ball: bool = True,
        curvature: float = 1.0,
        ball_scale: float = 1.0,
        prune_torso: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        readout: SegmentReadout = "mean",
        positions_start: float = 0.0,
    ) -> None:
        super().__init__()
        one_of("readout", readout, SegmentReadout)
        within("positions_start", positions_start, 0)
        all_within(1, segment=segment, width=width, num_heads=num_heads, num_blocks=num_blocks)
        all_within(0, open_low=True, ff=ff, curvature=curvature, ball_scale=ball_scale)
        all_within(0, 0.99, dropout=dropout, drop_path=drop_path)
        self.slots, self.num_persons, self.max_frames = slots, num_persons, max_frames
        self.segment, self.width, self.num_heads = segment, width, num_heads
        self.ball, self.curvature, self.ball_scale = ball, curvature, ball_scale
        self.readout, self.positions_start = readout, positions_start
        torso = slots.places(slots.skeleton.torso) if slots.skeleton else []
        self.torso = [k for k in torso if k != slots.global_slot]  # translation is no joint
        self.joints = [k for k in range(len(slots)) if not (prune_torso and k in self.torso)]
        if not self.joints:
            raise ValueError("expected joints outside the torso, got a skeleton without; pass --encoder.no-prune-torso")
        self.embed_patch = nn.Linear(3 * segment, width)
        self.place = TokenPlaces(len(self.joints), self.num_segments, width, positions_start)
        self.dropout = Dropout(dropout)
        rates = torch.linspace(0, drop_path, num_blocks).tolist()
        make = functools.partial(TimeBlock, width, num_heads, hidden=int(ff * width), norm="pre", gelu="none")
        self.blocks = nn.ModuleList(make(dropout=dropout, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        for block in self.blocks:
            block.apply(start_as_vit)

    @property
    def num_segments(self) -> int:
        """Segments of the longest clip; the last may be shorter than the others."""
        return -(-self.max_frames // self.segment)

    def cut(self, batch: Batch) -> Segments:
        """The batch's persons, cut into segments."""
        self.check(batch)
        return Segments.of(batch, self.segment, self.joints)

    def tokens(self, segments: Segments) -> Float[Tensor, "N D"]:
        """Every joint that is seen in a segment, with its place, before the map into the ball; in full precision."""
        with torch.autocast(self.place.of_joints.device.type, enabled=False):
            own = self.patches(segments, self.joints).flatten(0, 1)[segments.kept]
            return self.place(own, segments.joint, segments.segment)

    def patches(self, segments: Segments, joints: list[int]) -> Float[Tensor, "G J D"]:
        """Joints of every segment through the linear layer alone."""
        position = segments.rows.batch.position[:, 0]
        with torch.autocast(position.device.type, enabled=False):
            return self.embed_patch(segments.patches(position, joints))

    def mapped(self, tokens: Float[Tensor, "*any D"]) -> Float[Tensor, "*any D"]:
        """Tokens in the ball, in full precision: near its edge half precision tells none from another."""
        if not self.ball:
            return tokens
        with torch.autocast(tokens.device.type, enabled=False):
            return exp0(self.ball_scale * tokens.float(), self.curvature)

    def encode(self, tokens: Float[Tensor, "N D"], packing: Packing) -> Float[Tensor, "N D"]:
        """Attention over the tokens of each row, all of them or those that are shown."""
        return self.layers(tokens, packing)[-1]

    def layers(self, tokens: Float[Tensor, "N D"], packing: Packing) -> list[Float[Tensor, "N D"]]:
        """What goes into the blocks and what each of them gives, the last one normalised."""
        layers = [self.dropout(tokens)]
        for block in self.blocks:
            layers.append(block(layers[-1], packing))
        return [*layers[:-1], self.norm(layers[-1])]

    @torch.no_grad()
    def received(self, tokens: Float[Tensor, "N D"], packing: Packing, number: int) -> Float[Tensor, " N"]:
        """Attention that each token receives in the `number`-th block, from 1: the mean over heads and queries."""
        was_training = self.training
        self.eval()
        x = tokens
        for block in self.blocks[: number - 1]:
            x = block(x, packing)
        last = self.blocks[number - 1]
        assert isinstance(last, TimeBlock)
        received = last.received(x, packing)
        self.train(was_training)
        return received

    @property
    def embedding_width(self) -> int:
        if self.readout == "mean":
            return self.width
        return self.width * len(self.joints) * (1 if self.readout == "joints" else 2 * (len(self.blocks) + 1))

    def embed(self, batch: Batch) -> Float[Tensor, "B E"]:
        segments = self.cut(batch)
        layers = self.layers(self.mapped(self.tokens(segments)), segments.tokens)
        if self.readout == "mean":
            own = segments.tokens.mean(layers[-1])
        elif self.readout == "joints":
            own = segments.mean_of_joints(layers[-1])
        else:
            own = torch.cat([segments.moments_of_joints(layer.float()) for layer in layers], dim=1)
        return segments.rows.mean(own, segments.shows_someone)

    def positions(self) -> list[Float[Tensor, "T S D"]]:
        return [self.place.of_time[:, None]]

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return [[self.embed_patch, self.place], *([block] for block in self.blocks), [self.norm]]

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int = 8,
        num_persons: int = 2,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> SegmentTransformer:
        """Encoder with weights that MAMP's authors released (a mapping, a .safetensors or a torch file).

        Frames a segment, width, depth and joints are inferred; keys may be under `module.`; what is no part of the
        encoder is ignored. The input that they were trained with is `Shifted(centre="spine_mid", max_frames=120)`.
        Raises ValueError naming missing keys or a skeleton that does not fit.
        """
        weights = segment_weights(read_state(state))
        slots = Slots.of(get_skeleton(skeleton), "mixed")
        width, inputs = weights["embed_patch.weight"].shape
        num_joints, num_segments = len(weights["place.of_joints"]), len(weights["place.of_time"])
        pruned = len(slots) - len(slots.places(slots.skeleton.torso if slots.skeleton else ()))
        if num_joints not in (len(slots), pruned):
            raise ValueError(f"expected {len(slots)} or {pruned} joints of {skeleton!r}, got weights for {num_joints}")
        encoder = cls(
            slots,
            num_persons,
            num_segments * inputs // 3,
            segment=inputs // 3,
            width=width,
            num_heads=num_heads,
            num_blocks=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
            ff=weights["blocks.0.ffn.0.weight"].shape[0] / width,
            ball=num_joints != len(slots),
            prune_torso=num_joints != len(slots),
        )
        try:
            encoder.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise ValueError(f"expected the weights of a released MAMP encoder, got other shapes; {error}") from None
        return encoder


class TokenPlaces(nn.Module):
    """Adds what was learnt for each joint and for each segment of a clip."""

    def __init__(self, num_joints: int, num_segments: int, width: int, start: float) -> None:
        super().__init__()
        self.of_joints = nn.Parameter(nn.init.trunc_normal_(torch.empty(num_joints, width), std=start or 0.02))
        self.of_time = LearnedPositions(num_segments, width, start).table

    def forward(
        self, x: Float[Tensor, "N D"], joint: Int[Tensor, " N"], segment: Int[Tensor, " N"]
    ) -> Float[Tensor, "N D"]:
        return x + self.of_joints[joint] + self.of_time[segment]


def start_as_vit(module: nn.Module) -> None:
    """Weights uniform after Xavier, biases zero (as MAE)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
