"""Base class of pretext tasks: an encoder, heads, and losses that need no labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ulna.batch import Batch
from ulna.core import Config as BaseConfig
from ulna.core import InputError
from ulna.encoders import Encoder


class Pretext(nn.Module, ABC):
    """Base class of pretext tasks, which train an encoder without labels.

    Args:
        config: Options.
        encoder: Encoder to train, of a type that the task supports.

    Raises:
        InputError: If the encoder is of another type.
    """

    takes: ClassVar[type[Encoder]] = Encoder  # type: ignore[type-abstract]
    """Type of encoder that the task trains."""

    pairs_performances: bool = False
    """Whether the task pairs clips of one performance (`Batch.performance`)."""

    class Config(BaseConfig):
        """Base class of the options of pretext tasks."""

    config: Config
    encoder: Encoder
    progress: float = 0.0
    """Share of the training that is done, from 0 to 1."""

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__()
        if not isinstance(encoder, self.takes):
            raise InputError(
                f"{type(self).__name__} trains encoders with {self.takes.output}, found {type(encoder).__name__} "
                f"with {encoder.output}. Choose another encoder or another pretext task."
            )
        self.config, self.encoder = config, encoder

    def on_step_start(self, progress: float) -> None:
        """Called before each training step.

        Args:
            progress: Share of the training that is done, from 0 to 1.
        """
        self.progress = progress

    def on_step_end(self) -> None:
        """Called after each optimiser step, for example to update an EMA teacher. Does nothing by default."""

    def heads(self) -> dict[str, Tensor]:
        """Return the state of everything but the encoder."""
        encoder = self.encoder_state(self.encoder)
        return {name: value for name, value in self.state_dict().items() if name not in encoder}

    def encoder_state(self, encoder: Encoder) -> dict[str, Tensor]:
        """Return the part of the task's state that belongs to its encoder, from that of an encoder."""
        return {f"encoder.{name}": value for name, value in encoder.state_dict().items()}

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named losses, one value per item (for example, per frame).

        Training minimises their sum divided by the number of items in the global batch.
        """

    def loss(self, batch: Batch) -> Tensor:
        """Return the sum of the mean losses."""
        means = [values.mean() for values in self.losses(batch).values()]
        return sum(means[1:], start=means[0])
