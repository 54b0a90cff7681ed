"""H-Transformer: five body parts that are joined stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.core import Slots, all_within, within
from ulna.data import Batch
from ulna.encoders.base import Readout
from ulna.encoders.time_encoder import Maps, Persons, TimeEncoder, start_as_bert
from ulna.nn.dropout import Dropout
from ulna.nn.positions import LearnedPositions
from ulna.nn.time_block import TimeBlock

PARTS = ("trunk", "right_arm", "right_leg", "left_leg", "left_arm")
HEADS = (5, 4, 2, 1)  # of the four stages


class HTransformer(TimeEncoder):
    """Cheng et al.: Hierarchical Transformer (ICME 2021).

    Every body part is embedded by itself, `width` / 8 wide. Four stages of blocks attend over time: the first with five
    heads over the five parts; then the trunk is joined to each limb (`join`), and four, two and at last one head see
    limbs, sides and the whole body. Heads have the width of their part, but all projections are full (as released).
    `width` is that of the last stages (paper: 2048), `ff` the hidden width of the feed-forward layers over it.
    `persons` and `readout` as in TimeEncoder, `positions_start` as in MotionTransformer.
    """

    def __init__(
        self,
        slots: Slots,
        num_persons: int,
        max_frames: int,
        *,
        width: int = 2048,
        num_blocks: int = 4,
        ff: float = 1.0,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        persons: Persons = "rows",
        positions_start: float = 0.0,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(slots, num_persons, max_frames, width=width, persons=persons, readout=readout)
        if width % 8:
            raise ValueError(f"expected a width that 8 divides (a part is an eighth of it), got {width}")
        if num_blocks < 4 or num_blocks % 4:
            raise ValueError(f"expected blocks for four equal stages (4, 8, ...), got {num_blocks}")
        within("ff", ff, 0, open_low=True)
        within("positions_start", positions_start, 0)
        all_within(0, 0.99, dropout=dropout, attention_dropout=attention_dropout)
        places = [_places(slots, part) for part in PARTS]
        self.places, self.part_width = places, width // 8
        self.embed_parts = nn.ModuleList(
            nn.Linear(3 * len(own) * self.persons_at_once, self.part_width, bias=False) for own in places
        )
        first = len(PARTS) * self.part_width
        self.place = LearnedPositions(max_frames, first, positions_start)
        self.norm = nn.LayerNorm(first)
        self.dropout = Dropout(dropout)
        per_stage = num_blocks // len(HEADS)
        self.blocks = nn.ModuleList(
            TimeBlock(
                first if block < per_stage else width,
                HEADS[block // per_stage],
                hidden=int(ff * width),
                dropout=dropout,
                attention_dropout=attention_dropout,
                norm="post",
            )
            for block in range(num_blocks)
        )
        self.apply(start_as_bert)

    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        x = self.dropout(self.norm(self.place(self._embed(batch), batch.packing)))  # (F, 5 d)
        first, layers = len(self.blocks) // len(HEADS), []
        for number, block in enumerate(self.blocks):
            if number == first:
                x = join(x, self.part_width)  # (F, 8 d)
            x = block(x, batch.packing, maps)
            layers.append(x)
        return layers

    def _embed(self, batch: Batch) -> Float[Tensor, "F H"]:
        """The five parts side by side."""
        parts = [batch.position[:, :, own].flatten(1) for own in self.places]
        return torch.cat([embed(part) for embed, part in zip(self.embed_parts, parts, strict=True)], dim=1)

    def positions(self) -> list[Float[Tensor, "T S D"]]:
        return [self.place.table.unflatten(1, (len(PARTS), -1))]

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return [[self.embed_parts, self.place, self.norm], *([block] for block in self.blocks)]


def join(x: Float[Tensor, "F H"], part_width: int) -> Float[Tensor, "F W"]:
    """Five parts -> the trunk beside each of the four limbs."""
    trunk, *limbs = x.split(part_width, dim=1)
    return torch.cat([part for limb in limbs for part in (trunk, limb)], dim=1)


def _places(slots: Slots, part: str) -> list[int]:
    parts = {} if slots.skeleton is None else slots.skeleton.parts
    places = slots.places(parts.get(part, ()))
    if not places:
        known = ", ".join(name for name, joints in parts.items() if joints) or "none"
        raise ValueError(
            f"H-Transformer joins trunk, arms and legs: expected joints of the {part.replace('_', ' ')}, got a "
            f"skeleton whose parts are {known}; name its parts, or use another encoder"
        )
    return places
