"""What every pretext task is: an encoder, heads, and losses that need no labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ulna.data import Batch
from ulna.encoders import Encoder


class Pretext(nn.Module, ABC):
    """Trains the encoder that it holds; built from (encoder, *, options). `takes` is the kind of encoder it trains."""

    takes: ClassVar[type[Encoder]]
    encoder: Encoder

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, self.takes):
            raise ValueError(
                f"{type(self).__name__} trains encoders that give {self.takes.gives}, got {type(encoder).__name__}, "
                f"which gives {encoder.gives}"
            )
        self.encoder = encoder

    def after_step(self) -> None:
        """What a task does when its parameters have changed; nothing, unless it keeps a slow copy of them."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, one value an item (a frame, say): training divides their sum by the global number of items."""

    def loss(self, batch: Batch) -> Tensor:
        """The sum of the mean losses."""
        means = [values.mean() for values in self.losses(batch).values()]
        return sum(means[1:], start=means[0])
