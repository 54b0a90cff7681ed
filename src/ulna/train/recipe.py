"""A recipe: everything that a pretraining run is made of, as typed values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_type_hints

from ulna.core import Options, check_types, from_json, options, unknown_name, within
from ulna.data import Augmentation
from ulna.encoders import ENCODERS
from ulna.inputs import INPUTS
from ulna.pretext import PRETEXTS

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Schedule = Literal["exponential", "cosine", "linear"]
_TABLES = {"input": INPUTS, "encoder": ENCODERS, "pretext": PRETEXTS}


@dataclass(frozen=True)
class Training:
    """Optimisation by AdamW.

    The learning rate rises over the first `warmup` steps; under the schedule "exponential" (GL-Transformer) it is
    multiplied by `lr_decay` after every epoch, under "cosine" it falls along half a cosine to the share `lr_floor`,
    under "linear" (Motion-Transformer) from the end of the warm-up along a line to zero.
    """

    epochs: int = 300
    batch_size: int = 128
    """Clips in a global batch, whatever the number of devices."""
    learning_rate: float = 5e-4
    weight_decay: float = 0.1
    decay_vectors: bool = True
    """Whether biases and norms are decayed as well, as GL-Transformer was released."""
    beta2: float = 0.999
    lr_decay: float = 0.99
    lr_floor: float = 0.0
    schedule: Schedule = "exponential"
    warmup: int | float = 0
    """Steps, or below 1 that share of all steps."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; longer ones are shortened to it. 0 leaves them as they are."""
    precision: Precision = "32-true"
    seed: int = 0
    """Decides the initial weights, the order of clips, augmentation and dropout."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""

    def __post_init__(self) -> None:
        check_types(self, get_type_hints(Training))
        for name in ("epochs", "batch_size", "checkpoint_every"):
            within(f"training.{name}", getattr(self, name), 1)
        within("training.learning_rate", self.learning_rate, 0, open_low=True)
        within("training.weight_decay", self.weight_decay, 0)
        within("training.lr_decay", self.lr_decay, 0, 1, open_low=True)
        within("training.beta2", self.beta2, 0, 1)
        within("training.lr_floor", self.lr_floor, 0, 1)
        within("training.warmup", self.warmup, 0)
        within("training.clip_norm", self.clip_norm, 0)
        within("training.seed", self.seed, 0)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rate is multiplied by at a step, counted over all epochs."""
        total = self.epochs * steps_per_epoch
        warmup = self.warmup * total if self.warmup < 1 else self.warmup
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.schedule == "cosine":
            falling = 0.5 * (1 + math.cos(math.pi * step / total))
            return rising * (self.lr_floor + (1 - self.lr_floor) * falling)
        if self.schedule == "linear":
            return min(rising, (total - step) / max(1.0, total - warmup))
        return rising * self.lr_decay ** (step // steps_per_epoch)


@dataclass(frozen=True)
class Recipe:
    """What joins an input form, an encoder and a pretext task, none of which knows the others."""

    name: str
    """Where it came from."""
    input: Options
    encoder: Options
    pretext: Options
    split: str | None = None
    """Pretrain on this split's training part; None takes every clip."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: Training = field(default_factory=Training)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "split": self.split,
            **{kind: getattr(self, kind).to_json() for kind in _TABLES},
            "augmentation": asdict(self.augmentation),
            "training": asdict(self.training),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        chosen = {kind: from_json(table, values[kind]) for kind, table in _TABLES.items()}
        for part, known in (("augmentation", Augmentation), ("training", Training)):
            names = [f.name for f in fields(known)]
            for name in values[part]:
                if name not in names:
                    raise ValueError(unknown_name(f"{part} option", name, names))
        return cls(
            name=values["name"],
            split=values["split"],
            augmentation=Augmentation(**values["augmentation"]),
            training=Training(**values["training"]),
            **chosen,
        )


def compose(
    name: str,
    *,
    input: Mapping[str, Any],
    encoder: Mapping[str, Any],
    pretext: Mapping[str, Any],
    split: str | None = None,
    augmentation: Augmentation | None = None,
    training: Training | None = None,
) -> Recipe:
    """Shorthand for recipe files: each component as {"name": ..., option: value}."""
    parts = {"input": input, "encoder": encoder, "pretext": pretext}
    chosen: dict[str, Any] = {
        kind: options(_TABLES[kind], values["name"], **{k: v for k, v in values.items() if k != "name"})
        for kind, values in parts.items()
    }
    return Recipe(
        name=name, split=split, augmentation=augmentation or Augmentation(), training=training or Training(), **chosen
    )
