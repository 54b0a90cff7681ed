"""Several pretext tasks at once: the weighted sum of their losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator
from torch import Tensor, nn

from ulna.batch import Batch
from ulna.core import NonNegative, component
from ulna.encoders import Encoder
from ulna.pretext.base import Pretext
from ulna.pretext.table import PRETEXTS
from ulna.pretext.vicreg import VICReg


class WeightedSum(Pretext):
    """Trains one encoder with several pretext tasks.

    Args:
        config: Options.
        encoder: An encoder of a type that every task supports.
    """

    class Config(Pretext.Config):
        """Options of `WeightedSum`."""

        tasks: Annotated[
            tuple[Annotated[Pretext.Config, component(PRETEXTS)], ...], Field(min_length=1, max_length=10)
        ] = (VICReg.Config(),)
        """The tasks."""
        weights: tuple[NonNegative, ...] = ()
        """Weight of each task's losses; 1 by default."""

        @model_validator(mode="after")
        def _fits(self) -> WeightedSum.Config:
            if self.weights and len(self.weights) != len(self.tasks):
                raise ValueError(f"weights: expected one per task ({len(self.tasks)}), found {len(self.weights)}")
            return self

    config: Config

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        tasks: list[Pretext] = [PRETEXTS.component(own)(own, encoder) for own in config.tasks]
        self.tasks: Sequence[Pretext] = nn.ModuleList(tasks)  # type: ignore[assignment]
        self.pairs_performances = any(task.pairs_performances for task in tasks)

    def encoder_state(self, encoder: Encoder) -> dict[str, Tensor]:
        """Return the state of the encoder, which every task has."""
        state = super().encoder_state(encoder)
        for number, task in enumerate(self.tasks):
            state |= {f"tasks.{number}.{name}": value for name, value in task.encoder_state(encoder).items()}
        return state

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted losses of all tasks by name; a name that occurs twice gets the number of its task."""
        weights = self.config.weights or (1.0,) * len(self.tasks)
        losses: dict[str, Tensor] = {}
        for number, (task, weight) in enumerate(zip(self.tasks, weights, strict=True)):
            for name, values in task.losses(batch).items():
                losses[f"{name}_{number}" if name in losses else name] = weight * values
        return losses

    def on_step_start(self, progress: float) -> None:
        """Pass the training progress to every task."""
        super().on_step_start(progress)
        for task in self.tasks:
            task.on_step_start(progress)

    def on_step_end(self) -> None:
        """Update the teachers of the tasks."""
        for task in self.tasks:
            task.on_step_end()
