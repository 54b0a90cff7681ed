"""What Motion- and H-Transformer share: attention over time alone, persons one by one or side by side."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.core import Slots, one_of, within
from ulna.data import Batch
from ulna.data.rows import Rows, by_person, mean_of_persons, seen_persons
from ulna.encoders.base import AttentionMaps, FrameEncoder

Persons = Literal["rows", "side"]
Maps = list[tuple[Tensor, ...]]


class TimeEncoder(FrameEncoder):
    """Encoder whose frames are tokens. `persons`: "rows" sends each person who is seen through it by itself, and a
    clip's embedding is their mean; "side" puts all persons of a frame into one token.
    """

    def __init__(self, slots: Slots, num_persons: int, max_frames: int, *, width: int, persons: Persons) -> None:
        super().__init__()
        one_of("persons", persons, Persons)
        within("width", width, 1)
        self.slots, self.num_persons, self.max_frames = slots, num_persons, max_frames
        self.is_by_row, self.width = persons == "rows", width
        self.persons_at_once = 1 if self.is_by_row else num_persons
        self.frame_width = width * (num_persons if self.is_by_row else 1)

    @abstractmethod
    def encode(self, batch: Batch, maps: Maps | None = None) -> Float[Tensor, "F H"]:
        """One vector a frame of a batch with `persons_at_once` persons; `maps` collects each block's attention."""

    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        self.check(batch)
        return by_person(self.encode, batch) if self.is_by_row else self.encode(batch)

    @property
    def embedding_width(self) -> int:
        return self.width

    def pool(self, features: Float[Tensor, "F W"], batch: Batch) -> Float[Tensor, "B H"]:
        """Mean over each clip's frames and over the persons who are there."""
        pooled = super().pool(features, batch)
        return mean_of_persons(pooled, seen_persons(batch)) if self.is_by_row else pooled

    def attend(self, batch: Batch) -> tuple[Float[Tensor, "F W"], list[AttentionMaps]]:
        """Features, and each block's attention over time (the mean over a clip's persons where they are rows)."""
        self.check(batch)
        maps: Maps = []
        if not self.is_by_row:
            return self.encode(batch, maps), [AttentionMaps(None, block) for block in maps]
        rows = Rows.of(batch)
        features = rows.back(self.encode(rows.batch, maps))
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
