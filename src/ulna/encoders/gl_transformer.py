"""GL-Transformer: global-local motion transformer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ulna.core import Skeleton, Slots, all_within, get_skeleton, one_of, within
from ulna.data import Batch, Packing
from ulna.encoders.base import AttentionMaps, FrameEncoder, Readout
from ulna.encoders.released import encoder_weights, read_state
from ulna.nn.attention import FrameAttention, SlotAttention
from ulna.nn.drop_path import DropPath
from ulna.nn.dropout import Dropout
from ulna.nn.positions import sine_cosine

Positional = Literal["tight", "once", "fixed"]


class GLTransformer(FrameEncoder):
    """Kim, Chang, Kim, Choi: Global-local motion transformer (ECCV 2022, arXiv 2207.06101), figure 2.

    Every frame is P*K slots of width `width`, joint-major with the person fastest; blocks attend over the slots of a
    frame, then over the frames of a clip. Switches are the rows of the paper's Table 2: `positional` "tight" adds a
    trained embedding before both attentions of every block, "once" before the first block, "fixed" adds sines and
    cosines instead; `shared_positions` gives all blocks one embedding (paper) instead of their own (released);
    `person_to_person` lets persons attend to one another. `mask_absent` hides the slots of absent persons from
    attention among slots. `checkpoint_activations` keeps only each block's input while training and runs the block
    again for the backward pass: less memory, a third more work, the same gradients.

    Ours: `readout` says what a clip's embedding is, "mean" of the output over its frames (paper) or "blocks", mean and
    standard deviation over its frames of the output and of what every block gives; it does not change training.
    `positions_start` is the size of the sines and cosines of a frame's number that trained positions begin with (paper:
    0, from which it takes long to find out which frame is which).
    """

    def __init__(
        self,
        slots: Slots,
        num_persons: int,
        max_frames: int,
        *,
        width: int = 48,
        num_heads: int = 8,
        num_blocks: int = 4,
        ff: float = 2.0,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
        positional: Positional = "tight",
        shared_positions: bool = False,
        person_to_person: bool = True,
        mask_absent: bool = False,
        checkpoint_activations: bool = False,
        readout: Readout = "mean",
        positions_start: float = 0.0,
    ) -> None:
        super().__init__()
        within("positions_start", positions_start, 0)
        one_of("readout", readout, Readout)
        one_of("positional", positional, Positional)
        within("ff", ff, 0, open_low=True)
        all_within(1, width=width, num_heads=num_heads, num_blocks=num_blocks)
        all_within(0, 0.99, dropout=dropout, attention_dropout=attention_dropout, drop_path=drop_path)
        self.slots, self.num_persons, self.max_frames = slots, num_persons, max_frames
        self.person_to_person, self.mask_absent = person_to_person, mask_absent
        self.checkpoint_activations, self.readout = checkpoint_activations, readout
        num_slots = len(slots) * num_persons
        self.frame_width = num_slots * width
        self.embed_local = nn.Linear(3, width)
        self.embed_global = nn.Linear(3, width) if slots.global_slot is not None else None
        self.dropout = Dropout(dropout)
        rates = torch.linspace(0, drop_path, num_blocks).tolist()
        shape = (max_frames, num_slots, width)
        is_once = positional == "once"
        forms: list[Any] = ["none" if is_once and block else positional for block in range(num_blocks)]
        positions = [_Positions(shape, form, positions_start) for form in forms]
        if shared_positions and not is_once:
            positions = positions[:1] * num_blocks
        sizes = (width, self.frame_width, num_heads, ff, dropout, attention_dropout)
        self.blocks = nn.ModuleList(
            _Block(places, *sizes, rate, is_tight=not is_once) for places, rate in zip(positions, rates, strict=True)
        )
        self.norm = nn.LayerNorm(self.frame_width)
        self.mlp = nn.Sequential(*_layer(self.frame_width), *_layer(self.frame_width))

    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        return self._run(batch, None)

    @property
    def embedding_width(self) -> int:
        return self.frame_width * (1 if self.readout == "mean" else 2 * (len(self.blocks) + 1))

    def embed(self, batch: Batch) -> Float[Tensor, "B E"]:
        if self.readout == "mean":
            return super().embed(batch)
        outputs: list[Tensor] = []
        outputs.append(self._run(batch, None, outputs))
        return torch.cat([batch.packing.moments(values.float()) for values in outputs], dim=1)

    def positions(self) -> list[Float[Tensor, "T S D"]]:
        own = [module for module in self.modules() if isinstance(module, _Positions)]
        return [module.table for module in own if module.form in ("tight", "once")]

    def stages(self) -> list[list[nn.Module]]:
        embed: list[nn.Module] = [part for part in (self.embed_local, self.embed_global) if part is not None]
        return [embed, *([block] for block in self.blocks), [self.norm, self.mlp]]

    def attend(self, batch: Batch) -> tuple[Float[Tensor, "F W"], list[AttentionMaps]]:
        """Features, and the attention maps of every block."""
        maps: list[AttentionMaps] = []
        return self._run(batch, maps), maps

    def _run(
        self, batch: Batch, maps: list[AttentionMaps] | None, outputs: list[Tensor] | None = None
    ) -> Float[Tensor, "F W"]:
        z = self._embed(batch)  # (F, P*K, D)
        mask = self._slot_mask(batch)
        for block in self.blocks:
            if self.checkpoint_activations and self.training:
                z = checkpoint(block, z, batch.packing, mask, maps, use_reentrant=False)
            else:
                z = block(z, batch.packing, mask, maps)
            if outputs is not None:
                outputs.append(z.flatten(1))
        return self.mlp(self.norm(z.flatten(1)))

    def _embed(self, batch: Batch) -> Float[Tensor, "F S D"]:
        self.check(batch)
        slots = batch.position.transpose(1, 2)  # (F, K, P, 3)
        x = self.embed_local(slots)
        if self.embed_global is not None and self.slots.global_slot is not None:
            place = self.slots.global_slot
            moved = self.embed_global(slots[:, place : place + 1]).to(x.dtype)
            x = torch.cat([x[:, :place], moved, x[:, place + 1 :]], dim=1)
        return self.dropout(x.flatten(1, 2))

    def _slot_mask(self, batch: Batch) -> Tensor | None:
        """(F or 1, 1, S or 1, S): which slots a slot may attend to; None where all."""
        mask = None
        if not self.person_to_person:
            person = torch.arange(self.num_persons, device=batch.position.device).repeat(len(self.slots))
            mask = (person[:, None] == person)[None, None]
        if self.mask_absent:
            there = ~batch.absent[batch.packing.clip].repeat(1, len(self.slots))[:, None, None]
            own = torch.eye(there.shape[-1], dtype=torch.bool, device=there.device)
            mask = (there if mask is None else there & mask) | own
        return mask

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int,
        skeleton: str | Skeleton = "kinect_v2",
    ) -> GLTransformer:
        """Encoder with the authors' weights: a mapping, a .safetensors file or a torch file; sizes are inferred.

        Keys may be bare or under `transformer.` or `module.`; what is not part of the encoder is ignored. Dropouts
        are off. Raises ValueError naming missing keys or a skeleton that does not fit.
        """
        weights = encoder_weights(read_state(state))
        slots = Slots.of(get_skeleton(skeleton))
        within("num_heads", num_heads, 1)
        num_frames, num_slots, width = weights["blocks.0.positions.table"].shape
        if num_slots % len(slots):
            raise ValueError(
                f"expected slots that are a multiple of the {len(slots)} joints of {skeleton!r}, got {num_slots}"
            )
        encoder = cls(
            slots,
            num_slots // len(slots),
            num_frames,
            width=width,
            num_heads=num_heads,
            num_blocks=1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks.")),
            ff=weights["blocks.0.ffn.0.weight"].shape[0] / (num_slots * width),
            dropout=0.0,
            attention_dropout=0.0,
            drop_path=0.0,
        )
        try:
            encoder.to(weights["norm.weight"].dtype).load_state_dict(dict(weights))
        except RuntimeError as error:
            raise ValueError(f"expected the weights of a released GL-Transformer, got other shapes; {error}") from None
        return encoder


def _layer(width: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)


class _Block(nn.Module):
    """Spatial attention, temporal attention, feed-forward (paper eqs. 4 to 11)."""

    def __init__(
        self,
        positions: _Positions,
        width: int,
        frame_width: int,
        num_heads: int,
        ff: float,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
        *,
        is_tight: bool,
    ) -> None:
        super().__init__()
        self.positions, self.is_tight = positions, is_tight
        dropouts: dict[str, Any] = {"dropout": dropout, "attention_dropout": attention_dropout}
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = SlotAttention(width, num_heads, **dropouts)
        self.temporal_norm = nn.LayerNorm(frame_width)
        self.temporal = FrameAttention(frame_width, num_heads, **dropouts)
        self.ffn_norm = nn.LayerNorm(frame_width)
        hidden = int(ff * frame_width)
        self.ffn = nn.Sequential(
            nn.Linear(frame_width, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, frame_width),
            Dropout(dropout),
        )  # fmt: skip
        self.drop_path = DropPath(drop_path)

    def forward(
        self, z: Float[Tensor, "F S D"], packing: Packing, mask: Tensor | None, maps: list[AttentionMaps] | None
    ) -> Float[Tensor, "F S D"]:
        x = self.positions.before_spatial(z, packing)
        seen = self.spatial_norm(x)
        s = x + self.drop_path(self.spatial(seen, mask))

        y = self.positions.before_temporal(s, packing) if self.is_tight else s
        y = y.flatten(1)  # (F, W)
        moved = self.temporal_norm(y)
        y = y + self.drop_path(self.temporal(moved, packing), packing)

        y = y + self.drop_path(self.ffn(self.ffn_norm(y)), packing)
        if maps is not None:
            maps.append(AttentionMaps(self.spatial.weights(seen, mask), self.temporal.weights(moved, packing)))
        return y.unflatten(1, z.shape[1:])


class _Positions(nn.Module):
    """Positional embedding of a block: trained (T_max, S, D), fixed sines and cosines, or none."""

    def __init__(
        self, shape: tuple[int, int, int], form: Literal["tight", "once", "fixed", "none"], start: float = 0.0
    ) -> None:
        super().__init__()
        num_frames, num_slots, width = shape
        self.form = form
        self.of_slots: Tensor
        self.of_frames: Tensor
        of_frames = sine_cosine(num_frames, num_slots * width).unflatten(1, (num_slots, width))
        if form in ("tight", "once"):
            self.table = nn.Parameter(start * of_frames)
        elif form == "fixed":
            self.register_buffer("of_slots", sine_cosine(num_slots, width), persistent=False)
            self.register_buffer("of_frames", of_frames, persistent=False)

    def before_spatial(self, z: Float[Tensor, "F S D"], packing: Packing) -> Float[Tensor, "F S D"]:
        if self.form == "none":
            return z
        return z + (self.of_slots if self.form == "fixed" else self.table[packing.time])

    def before_temporal(self, z: Float[Tensor, "F S D"], packing: Packing) -> Float[Tensor, "F S D"]:
        return z + (self.of_frames if self.form == "fixed" else self.table)[packing.time]
