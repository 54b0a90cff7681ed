"""What every encoder is: all that pretext tasks and protocols may use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from ulna.core import Slots
from ulna.data import Batch

# What a clip's embedding is made of: the output of an encoder, or what each of its blocks gives.
Readout = Literal["mean", "blocks"]


@dataclass(frozen=True)
class AttentionMaps:
    """What one block attended to: `spatial` (F, h, P*K, P*K), `temporal` one (h, T, T) a clip; queries first.

    Slots are joint-major, the person fastest. A block without one of the two kinds of attention leaves it empty.
    """

    spatial: Tensor | None
    temporal: tuple[Tensor, ...]


class Encoder(nn.Module, ABC):
    """Turns a batch of clips into embeddings; `slots`, `num_persons` and `max_frames` say which input it takes."""

    gives: ClassVar[str] = "one vector a clip"
    slots: Slots
    num_persons: int
    max_frames: int

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """E: width of a clip's embedding."""

    @abstractmethod
    def embed(self, batch: Batch) -> Float[Tensor, "B E"]:
        """One vector a clip."""

    def attend(self, batch: Batch) -> tuple[Tensor, list[AttentionMaps]]:  # noqa: ARG002
        """Features, and the attention maps of every block; ValueError where an encoder gives none."""
        raise ValueError(f"{type(self).__name__} gives no attention maps")

    def positions(self) -> list[Float[Tensor, "T S D"]]:
        """The positional embeddings that were learnt, those of each block; empty where there are none."""
        return []

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Its parts from input to output, as fine-tuning gives them learning rates; together they are all of it."""
        return [[self]]

    def check(self, batch: Batch) -> None:
        """ValueError if a batch is not of the form that this encoder was built for."""
        persons, slots = batch.position.shape[1:3]
        if (persons, slots) != (self.num_persons, len(self.slots)) or batch.slots != self.slots:
            raise ValueError(
                f"this encoder takes {self.num_persons} persons with {len(self.slots)} slots "
                f"({'with' if self.slots.global_slot is not None else 'without'} a global one), got {persons} persons "
                f"with {slots} ({'with' if batch.slots.global_slot is not None else 'without'}); apply the input form "
                "that it was trained with"
            )
        if batch.packing.lengths.max() > self.max_frames:
            raise ValueError(
                f"this encoder knows {self.max_frames} frames, got a clip of {batch.packing.lengths.max()}; "
                "cut clips to its max_frames"
            )


class FrameEncoder(Encoder):
    """An encoder that gives one vector a frame, persons side by side; a clip's embedding is their mean."""

    gives: ClassVar[str] = "one vector a frame"
    frame_width: int

    @property
    def embedding_width(self) -> int:
        return self.frame_width

    @abstractmethod
    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        """One vector a frame."""

    def embed(self, batch: Batch) -> Float[Tensor, "B E"]:
        return batch.packing.mean(self(batch))
