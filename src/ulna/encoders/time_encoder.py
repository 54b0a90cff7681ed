"""Base class of Motion-Transformer and H-Transformer: attention over time only, persons separate or concatenated."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ulna.batch import Batch, PersonSequences
from ulna.encoders.base import AttentionMaps, Encoder, FrameEncoder
from ulna.nn.transformer_block import TransformerBlock
from ulna.preprocessing import InputSpec

Persons = Literal["separate", "concatenated"]
Maps = list[tuple[Tensor, ...]]


class TimeEncoder(FrameEncoder):
    """An encoder whose tokens are frames and whose blocks attend over time.

    Args:
        config: Options.
        spec: Specification of the encoder's input.
        persons: "separate" encodes each visible person separately, and a clip's embedding is the mean over persons;
            "concatenated" puts all persons of a frame into one token.
        dim: Width of a token.
    """

    poolings: ClassVar[tuple[str, ...]] = ("mean", "blocks")
    blocks: nn.ModuleList

    def __init__(self, config: Encoder.Config, spec: InputSpec, *, persons: Persons, dim: int) -> None:
        super().__init__(config, spec)
        self.is_separate, self.dim = persons == "separate", dim
        self.persons_per_token = 1 if self.is_separate else spec.num_persons
        self.frame_dim = dim * (spec.num_persons if self.is_separate else 1)

    @abstractmethod
    def layers(self, batch: Batch, maps: Maps | None = None) -> list[Float[Tensor, "F H"]]:
        """Return the output of every block for a batch with `persons_per_token` persons; the last is the final output.

        `maps` collects the attention maps of each block.
        """

    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        """Return one vector per frame."""
        self.check(batch)
        if not self.is_separate:
            return self.layers(batch)[-1]
        persons = PersonSequences.of(batch)
        return persons.join(self.layers(persons.batch)[-1])

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        if pooling == "mean":
            return self.dim
        return 2 * sum(block.dim for block in self.blocks if isinstance(block, TransformerBlock))

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip.

        Args:
            batch: A preprocessed batch.
            pooling: "mean" of the output over the frames (released), or "blocks": mean and standard deviation over the
                frames of the output of every block.
        """
        self.check(batch)
        self.check_pooling(pooling)
        persons = PersonSequences.of(batch) if self.is_separate else None
        sequences = batch if persons is None else persons.batch
        layers = self.layers(sequences)
        if pooling == "mean":
            pooled = sequences.packing.mean(layers[-1])
        else:
            pooled = torch.cat([sequences.packing.moments(layer.float()) for layer in layers], dim=1)
        return pooled if persons is None else persons.mean(pooled)

    def attention_maps(self, batch: Batch) -> tuple[Float[Tensor, "F W"], list[AttentionMaps]]:
        """Return the features and each block's attention over time, averaged over persons if they are separate."""
        self.check(batch)
        maps: Maps = []
        if not self.is_separate:
            return self.layers(batch, maps)[-1], [AttentionMaps(None, block) for block in maps]
        persons = PersonSequences.of(batch)
        features = persons.join(self.layers(persons.batch, maps)[-1])
        counts = persons.visible_persons.sum(dim=1).tolist()
        means = [tuple(own.mean(dim=0) for own in _by_clip(block, counts)) for block in maps]
        return features, [AttentionMaps(None, block) for block in means]


def _by_clip(values: tuple[Tensor, ...], counts: list[int]) -> list[Tensor]:
    """Stack the maps of the persons of each clip: (persons, h, T, T)."""
    left = iter(values)
    return [torch.stack([next(left) for _ in range(count)]) for count in counts]


def init_bert(module: nn.Module) -> None:
    """Initialise linear layers as in BERT (Devlin et al. 2019): truncated normal weights, std 0.02, and zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
