"""A recipe: everything a pretraining run consists of, as typed values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ulna.batch import Augmentation
from ulna.core import Config, Count, InputError, NonNegative, Positive, Seed, Share, Skeleton, component, torch_seed
from ulna.encoders import ENCODERS, Encoder
from ulna.encoders.pooling import check_pooling
from ulna.preprocessing import PREPROCESSORS, InputSpec, Preprocessor
from ulna.pretext import PRETEXTS, Pretext

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
MOST_PARAMETERS = 2_000_000_000


class Training(Config):
    """Optimisation by AdamW, or by Muon and AdamW."""

    epochs: Annotated[int, Field(ge=1, le=10_000_000)] = 300
    """Number of epochs."""
    batch_size: Annotated[int, Field(ge=1, le=10_000_000)] = 128
    """Clips in a global batch, whatever the number of devices."""
    learning_rate: Positive = 5e-4
    """Peak learning rate of AdamW."""
    muon_rate: Positive | None = None
    """Peak learning rate of Muon, which then updates the weights of the encoder's linear layers, except for its input
    layers; None uses AdamW for all."""
    weight_decay: NonNegative = 0.1
    """Weight decay."""
    decay_vectors: bool = True
    """Decay biases and norms as well (GL-Transformer as released)."""
    beta2: Share = 0.999
    """AdamW's second momentum."""
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Factor of the learning rate per epoch, for the schedule "exponential"."""
    lr_floor: Share = 0.0
    """Share of the learning rate that is left at the end, for the schedule "cosine"."""
    schedule: Literal["exponential", "cosine", "linear"] = "exponential"
    """Schedule after the warm-up: "exponential" (GL-Transformer), "cosine", or "linear" to zero (BERT)."""
    warmup: NonNegative = 0
    """Steps of linear warm-up; below 1, share of all steps."""
    clip_norm: NonNegative = 0.0
    """Largest norm of the gradients, which are scaled down to it; 0 does not clip."""
    precision: Precision = "32-true"
    """Precision of the computation."""
    seed: Seed = 0
    """Seed of initial weights, order of clips, augmentation and dropout."""
    checkpoint_every: Count = 10
    """Epochs between checkpoints."""

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor of the learning rate at a step, counted over all epochs."""
        total = self.epochs * steps_per_epoch
        warmup = self.warmup * total if self.warmup < 1 else self.warmup
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.schedule == "cosine":
            falling = 0.5 * (1 + math.cos(math.pi * step / total))
            return rising * (self.lr_floor + (1 - self.lr_floor) * falling)
        if self.schedule == "linear":
            return min(rising, (total - step) / max(1.0, total - warmup))
        return rising * self.lr_decay ** (step // steps_per_epoch)


class Recipe(Config):
    """A preprocessor, an encoder and a pretext task, independent of one another, and how they are trained."""

    name: Annotated[str, Field(max_length=200)]
    """Name of the recipe."""
    preprocessor: Annotated[Preprocessor.Config, component(PREPROCESSORS)]
    """What the encoder is given."""
    encoder: Annotated[Encoder.Config, component(ENCODERS)]
    """The encoder."""
    pretext: Annotated[Pretext.Config, component(PRETEXTS)]
    """The pretext task."""
    body: Annotated[str, Field(max_length=200)] | None = None
    """Name of the skeleton that clips of any other, in two or three dimensions, are matched to by the names of joints;
    joints without a counterpart are missing, and persons are encoded one by one. None takes the skeleton and the number
    of persons of the dataset."""
    split: Annotated[str, Field(max_length=200)] | None = None
    """Split whose training part is pretrained on; None uses every clip."""
    performances: Annotated[str, Field(max_length=200)] | None = None
    """Regular expression for the name of a clip, whose groups name the performance that the clip shows; for example,
    "(.*)_v[0-9]+" leaves out the number of the camera. Clips of one performance come in the same batch, for tasks that
    pair them. None: every clip on its own."""
    pooling: Annotated[str, Field(max_length=20)] = "mean"
    """How a clip's embedding is pooled, one of the encoder's methods; with "+poses" at the end, as in "blocks+poses",
    it also holds the clip's preprocessed poses at 32 times. Does not change training."""
    augmentation: Augmentation = Augmentation()
    """Random changes of every clip."""
    training: Training = Training()
    """Optimisation."""

    def with_seed(self, seed: int) -> Recipe:
        """Return the recipe with another seed."""
        return self.replace(training=self.training.replace(seed=seed))

    def build_preprocessor(
        self, skeleton: Skeleton, num_persons: int, *, dimensions: int = 3, fps: float | None = None
    ) -> Preprocessor:
        """Return the preprocessor for clips of a skeleton and number of persons.

        Args:
            skeleton: Skeleton of the clips.
            num_persons: Largest number of persons in a clip.
            dimensions: 3, or 2 for positions in an image.
            fps: Frame rate that the encoder is trained at; clips of another rate are resampled to it.

        Raises:
            InputError: If the options need depth, and there are two dimensions only.
        """
        cls: type[Preprocessor] = PREPROCESSORS.component(self.preprocessor)
        return cls(
            self.preprocessor, skeleton, num_persons, dimensions=dimensions, fps=fps,
            match_joints=self.body is not None, any_clips=self.body is not None,
        )  # fmt: skip

    def build_pretext(
        self, spec: InputSpec, *, seed: int | None = None, start: Mapping[str, Tensor] | None = None
    ) -> Pretext:
        """Return the pretext task with a randomly initialised encoder, or one with given weights.

        Args:
            spec: The input of the encoder.
            seed: Seed of the weights; that of the recipe by default.
            start: Weights of the encoder by name, of the right shapes; teachers start from them too.

        Raises:
            InputError: If the options do not fit together or ask for too many parameters.
        """
        self._check_size(spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(self.training.seed if seed is None else seed, "weights"))
            return self._build(spec, start)

    def _build(self, spec: InputSpec, start: Mapping[str, Tensor] | None = None) -> Pretext:
        encoder: Encoder = ENCODERS.component(self.encoder)(self.encoder, spec)
        check_pooling(encoder, self.pooling)
        if start is not None:
            encoder.load_state_dict(start)
        pretext: Pretext = PRETEXTS.component(self.pretext)(self.pretext, encoder)
        return pretext

    def _check_size(self, spec: InputSpec) -> None:
        """Raise InputError before memory for too many parameters is allocated."""
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                size = sum(value.numel() for value in self._build(spec).state_dict().values())
        except RuntimeError:  # sizes that overflow
            size = MOST_PARAMETERS + 1
        if size > MOST_PARAMETERS:
            raise InputError(
                f"recipe {self.name!r} for {spec.num_persons} persons, {len(spec.layout)} nodes and {spec.max_frames} "
                f"frames: expected at most {MOST_PARAMETERS:,} parameters, found {size:,}. Choose smaller sizes."
            )
