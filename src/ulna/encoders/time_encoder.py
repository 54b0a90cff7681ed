"""What Motion- and H-Transformer share: attention over time alone, persons one by one or side by side."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.core import Slots, one_of, within
from ulna.data import Batch
from ulna.data.rows import Rows
from ulna.encoders.base import AttentionMaps, FrameEncoder, Readout
from ulna.nn.time_block import TimeBlock

Persons = Literal["rows", "side"]
Maps = list[tuple[Tensor, ...]]


class TimeEncoder(FrameEncoder):
    """Encoder whose frames are tokens, and whose blocks attend over time.

    `persons`: "rows" sends each person who is seen through it by itself, and a clip's embedding is their mean; "side"
    puts all persons of a frame into one token. `readout`: a person's part in the embedding is the "mean" of the output
    over the frames (released), or mean and standard deviation over them of what every block gives, "blocks"; it does
    not change training.
    """

    blocks: nn.ModuleList

    def __init__(
        self, slots: Slots, num_persons: int, max_frames: int, *, width: int, persons: Persons, readout: Readout
    ) -> None:
        super().__init__()
        one_of("persons", persons, Persons)
        one_of("readout", readout, Readout)
        within("width", width, 1)
        self.slots, self.num_persons, self.max_frames = slots, num_persons, max_frames
        self.is_by_row, self.width, self.readout = persons == "rows", width, readout
        self.persons_at_once = 1 if self.is_by_row else num_persons
        self.frame_width = width * (num_persons if self.is_by_row else 1)

    @abstractmethod
    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        """What every block gives for each frame of a batch with `persons_at_once` persons; the last is the output.

        `maps` collects each block's attention.
        """

    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        self.check(batch)
        if not self.is_by_row:
            return self.layers(batch)[-1]
        rows = Rows.of(batch)
        return rows.back(self.layers(rows.batch)[-1])

    @property
    def embedding_width(self) -> int:
        if self.readout == "mean":
            return self.width
        return 2 * sum(block.width for block in self.blocks if isinstance(block, TimeBlock))

    def embed(self, batch: Batch) -> Float[Tensor, "B E"]:
        self.check(batch)
        rows = Rows.of(batch) if self.is_by_row else None
        seen = batch if rows is None else rows.batch
        layers = self.layers(seen)
        if self.readout == "mean":
            pooled = seen.packing.mean(layers[-1])
        else:
            pooled = torch.cat([seen.packing.moments(layer.float()) for layer in layers], dim=1)
        return pooled if rows is None else rows.mean(pooled)

    def attend(self, batch: Batch) -> tuple[Float[Tensor, "F W"], list[AttentionMaps]]:
        """Features, and each block's attention over time (the mean over a clip's persons where they are rows)."""
        self.check(batch)
        maps: Maps = []
        if not self.is_by_row:
            return self.layers(batch, maps)[-1], [AttentionMaps(None, block) for block in maps]
        rows = Rows.of(batch)
        features = rows.back(self.layers(rows.batch, maps)[-1])
        counts = rows.there.sum(dim=1).tolist()
        means = [tuple(own.mean(dim=0) for own in _grouped(block, counts)) for block in maps]
        return features, [AttentionMaps(None, block) for block in means]


def _grouped(values: tuple[Tensor, ...], counts: list[int]) -> list[Tensor]:
    """Maps of rows -> one (persons, h, T, T) a clip."""
    left = iter(values)
    return [torch.stack([next(left) for _ in range(count)]) for count in counts]


def start_as_bert(module: nn.Module) -> None:
    """Weights from a normal distribution of width 0.02, cut at two widths; biases zero (Devlin et al. 2019)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
