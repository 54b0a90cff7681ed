"""Base class of encoders: the interface used by pretext tasks, evaluation and models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from ulna.batch import Batch, PersonGroup
from ulna.core import Config as BaseConfig
from ulna.core import InputError, shown
from ulna.nn.columns import Columns
from ulna.nn.streams import Stream, streams_of
from ulna.preprocessing import InputSpec

Dim = Annotated[int, Field(ge=1, le=16_384)]
Heads = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=1, le=256)]
Ratio = Annotated[float, Field(gt=0, le=64)]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention maps of one block, queries first.

    Args:
        spatial: (F, h, P*K, P*K), nodes joint-major with the person fastest; None if the block has no spatial
            attention.
        temporal: One (h, T, T) per clip.
    """

    spatial: Tensor | None
    temporal: tuple[Tensor, ...]


@dataclass(frozen=True)
class TokenFeatures:
    """Output of an encoder before pooling, for pretext tasks that predict the features of masked tokens.

    Args:
        values: (N, D) features of all tokens.
        is_masked: (N,) True for tokens that were masked; None if none were.
        clip: (N,) index of each token's clip.
        embedding: (B, X) a vector per clip from the same pass, by `TokenEncoder.token_pooling`.
    """

    values: Float[Tensor, "N D"]
    is_masked: Bool[Tensor, " N"] | None
    clip: Int[Tensor, " N"]
    embedding: Float[Tensor, "B X"]


class Encoder(nn.Module, ABC):
    """Computes embeddings of a batch of clips.

    Args:
        config: Options.
        spec: Specification of the encoder's input.
    """

    output: ClassVar[str] = "one vector per clip"
    """Description of the output before pooling, used in messages."""
    poolings: ClassVar[tuple[str, ...]] = ("mean", "blocks")
    """Pooling methods of `embed`: "mean" averages the output; "blocks" concatenates the mean and standard deviation of
    the output of every block."""

    class Config(BaseConfig):
        """Base class of the options of encoders."""

        streams: Annotated[tuple[Stream, ...], Field(min_length=1, max_length=3)] = ("joint",)
        """What the encoder computes from the nodes it is given: their positions ("joint"), each node relative to its
        neighbour nearer to the centre ("bone"), or the displacement to the next frame ("motion"); several are
        concatenated. Pretext tasks predict the nodes themselves."""

    config: Config
    spec: InputSpec

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec

    @property
    def num_channels(self) -> int:
        """C, the number of channels of a node: three per stream."""
        return 3 * len(self.config.streams)

    def channels(self, batch: Batch) -> Float[Tensor, "F P K C"]:
        """Return the channels of every node, by the option `streams`."""
        return streams_of(batch, self.config.streams)

    @abstractmethod
    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""

    @abstractmethod
    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip.

        Args:
            batch: A batch made by the preprocessor that the encoder was built for.
            pooling: Pooling of the output, one of `poolings`.
        """

    def attention_maps(self, batch: Batch) -> tuple[Tensor, list[AttentionMaps]]:  # noqa: ARG002
        """Return the features and the attention maps of every block; raises InputError if the encoder has none."""
        raise InputError(f"{type(self).__name__} has no attention maps to show")

    def pos_embeds(self) -> list[Float[Tensor, "T S D"]]:
        """Return the learned position embeddings of each block; empty if there are none."""
        return []

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return all layers in groups from input to output, for layer-wise learning rates in fine-tuning."""
        return [[self]]

    def check_pooling(self, pooling: str) -> None:
        """Raise InputError if the encoder does not support a pooling method."""
        if pooling not in self.poolings:
            known = ", ".join(map(repr, self.poolings))
            raise InputError(f"pooling of {type(self).__name__}: expected one of {known}, found {shown(pooling)}")

    def check(self, batch: Batch) -> None:
        """Raise InputError if a batch was not made by the preprocessor that the encoder was built for."""
        spec = self.spec
        wrong_maker = spec.preprocessor is not None and batch.preprocessor != spec.preprocessor
        if batch.preprocessor is None or wrong_maker:
            raise InputError(
                f"expected a batch made by {spec.preprocessor or 'a preprocessor'}, found "
                f"{'raw positions' if batch.preprocessor is None else 'one made by ' + batch.preprocessor}. "
                "Apply the preprocessor the encoder was trained with."
            )
        if batch.num_persons != spec.num_persons or batch.layout != spec.layout:
            raise InputError(
                f"expected {spec.num_persons} persons with {len(spec.layout)} nodes "
                f"({'with' if spec.layout.root is not None else 'without'} a root), found {batch.num_persons} persons "
                f"with {len(batch.layout)} ({'with' if batch.layout.root is not None else 'without'} a root). "
                "Apply the preprocessor the encoder was trained with."
            )
        if batch.packing.is_longer_than(spec.max_frames):
            raise InputError(
                f"expected clips of at most {spec.max_frames} frames, found one of {batch.packing.lengths.max()}. "
                "Shorten the clips."
            )


class FrameEncoder(Encoder):
    """An encoder with one vector per frame, persons concatenated; a clip's embedding is the mean over its frames."""

    output: ClassVar[str] = "one vector per frame"
    frame_dim: int
    """W, the width of a frame's vector."""

    @abstractmethod
    def forward(self, batch: Batch) -> Float[Tensor, "F W"]:
        """Return one vector per frame."""

    def groups(self, batch: Batch) -> tuple[PersonGroup, ...]:
        """Return the groups of clips that are encoded together, by default the whole batch."""
        return (PersonGroup.whole(batch),)

    def columns(self, group: PersonGroup) -> Columns:
        """Return the columns of a frame's vector that the encoder computes for a group of clips."""
        return Columns(group.persons, self.spec.num_persons, self.frame_dim // self.spec.num_nodes)

    def encode(self, group: PersonGroup) -> Float[Tensor, "F C"]:
        """Return these columns for every frame of a group."""
        return self(group.batch)

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        return self.frame_dim

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return the mean over each clip's frames."""
        self.check_pooling(pooling)
        return batch.packing.mean(self(batch))


class TokenEncoder(Encoder):
    """An encoder whose tokens can be masked, for pretext tasks that predict features of masked tokens."""

    output: ClassVar[str] = "tokens to mask"
    token_pooling: ClassVar[str] = "mean"
    """Pooling of the vector per clip that `token_features` returns."""

    @property
    @abstractmethod
    def token_dim(self) -> int:
        """D, the width of a token."""

    @property
    @abstractmethod
    def token_frames(self) -> int:
        """Number of frames that a token covers."""

    @abstractmethod
    def token_features(self, batch: Batch, masked: Bool[Tensor, "F P K"] | None = None) -> TokenFeatures:
        """Return the features of all tokens.

        Args:
            batch: A preprocessed batch.
            masked: True for nodes that are hidden from the encoder; constant over the frames of a token.
        """


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return stochastic depth rates that increase linearly from 0 to `last`."""
    return torch.linspace(0, last, depth, device="cpu").tolist()
