"""What every pretext task is: an encoder, heads, and losses that need no labels."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ulna.data import Batch
from ulna.encoders import Encoder


class Pretext(nn.Module, ABC):
    """Trains the encoder that it holds; built from (encoder, *, options)."""

    encoder: Encoder

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, one value an item (a frame, say): training divides their sum by the global number of items."""

    def loss(self, batch: Batch) -> Tensor:
        """The sum of the mean losses."""
        means = [values.mean() for values in self.losses(batch).values()]
        return sum(means[1:], start=means[0])
