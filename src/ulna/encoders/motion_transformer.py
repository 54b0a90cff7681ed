"""Motion-Transformer: a transformer over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ulna.core import Slots, all_within, one_of, within
from ulna.data import Batch
from ulna.encoders.base import Readout
from ulna.encoders.time_encoder import Maps, Persons, TimeEncoder, start_as_bert
from ulna.nn.dropout import Dropout
from ulna.nn.positions import LearnedPositions
from ulna.nn.time_block import Norm, TimeBlock


class MotionTransformer(TimeEncoder):
    """Cheng, Chen, Zhang, Lin: Motion-Transformer (MMAsia 2020, doi 10.1145/3444685.3446289).

    A frame is one token: its coordinates through one linear layer, plus a learnt position; blocks attend over time.
    Only the paper's abstract is known to us; the encoder is the plain one in its authors' H-Transformer code, sizes
    are ours. `norm` "post" normalises after each sum (BERT, released), "pre" before each branch. `ff` is the hidden
    width of the feed-forward layers over `width`. `persons` and `readout` as in TimeEncoder. Ours: positions start as
    sines and cosines of size `positions_start` (0: as noise near zero, from which it takes long to find out which frame
    is the next).
    """

    def __init__(
        self,
        slots: Slots,
        num_persons: int,
        max_frames: int,
        *,
        width: int = 512,
        num_heads: int = 8,
        num_blocks: int = 4,
        ff: float = 4.0,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        norm: Norm = "post",
        persons: Persons = "rows",
        positions_start: float = 0.0,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(slots, num_persons, max_frames, width=width, persons=persons, readout=readout)
        one_of("norm", norm, Norm)
        within("ff", ff, 0, open_low=True)
        within("positions_start", positions_start, 0)
        all_within(1, num_heads=num_heads, num_blocks=num_blocks)
        all_within(0, 0.99, dropout=dropout, attention_dropout=attention_dropout)
        self.embed_frame = nn.Linear(3 * len(slots) * self.persons_at_once, width, bias=False)
        self.place = LearnedPositions(max_frames, width, positions_start)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TimeBlock(
                width,
                num_heads,
                hidden=int(ff * width),
                dropout=dropout,
                attention_dropout=attention_dropout,
                norm=norm,
            )
            for _ in range(num_blocks)
        )
        self.last_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.apply(start_as_bert)

    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        x = self.embed_frame(batch.position.flatten(1))
        x = self.dropout(self.norm(self.place(x, batch.packing)))
        layers = []
        for block in self.blocks:
            x = block(x, batch.packing, maps)
            layers.append(x)
        return [*layers[:-1], self.last_norm(x)]

    def positions(self) -> list[Float[Tensor, "T S D"]]:
        return [self.place.table[:, None]]

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return [[self.embed_frame, self.place, self.norm], *([block] for block in self.blocks), [self.last_norm]]
