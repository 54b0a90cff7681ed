"""A classifier on embeddings: what `Model.predict` uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ulna.core import Config, InputError, MissingError, Positive, new_file, readable
from ulna.dataset import Dataset
from ulna.models.novelty import Novelty

FOLDER, UNKNOWN = "classifiers", "unknown"
DEFAULT_DURATIONS = (1.0, 2.0, 4.0)  # seconds, where those of the training clips are not known
_ENCODER, _NOVELTY, _CONFIG = "encoder.", "novelty.", "classifier"
_ADVICE = "Evaluate or fit again."


class ClassifierConfig(Config):
    """Metadata of a classifier."""

    version: Literal[1] = 1
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=100_000)]
    """Names of the classes."""
    split: str | None
    """Split whose training part it was trained on; None for all clips of a dataset."""
    fingerprint: str
    """Fingerprint of the dataset it was trained on."""
    pooling: str
    """Pooling of the embeddings it takes."""
    durations: tuple[()] | tuple[Positive, Positive, Positive] = ()
    """Quartiles of the durations of the clips it was trained on, in seconds: timelines look through windows of these
    lengths, streams through one of the median."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str | None,
        pooling: str,
        *,
        clips: np.ndarray | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> ClassifierConfig:
        """Return the metadata of a classifier.

        Args:
            dataset: Dataset it is trained on.
            split: Split whose training part it is trained on; None for all clips.
            pooling: Pooling of the embeddings it takes.
            clips: (B,) indices of the clips that it is trained on; the labelled ones of the training part by default.
            classes: Names of the classes; those of the dataset by default.
        """
        if clips is None:
            clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[0]
            clips = clips[dataset.labels[clips] >= 0]
        durations = np.quantile(dataset.lengths[clips] / dataset.fps[clips], (0.25, 0.5, 0.75)).round(3)
        return cls(
            classes=dataset.classes if classes is None else classes,
            split=split,
            fingerprint=dataset.fingerprint,
            pooling=pooling,
            durations=tuple(durations.tolist()),
        )


@dataclass(frozen=True)
class Answer:
    """What a classifier says about one embedding.

    Args:
        label: Most probable class, or "unknown".
        confidence: Probability of the most probable class, 0 to 1.
        probabilities: (L,) probability of every class.
        novelty: See `Novelty`; None if the classifier does not measure it.
    """

    label: str
    confidence: float
    probabilities: np.ndarray
    novelty: float | None


@dataclass(frozen=True)
class Classifier:
    """A linear classifier: logits = embedding @ weight.T + bias, with standardisation folded in.

    Args:
        weight: (L, E).
        bias: (L,).
        config: Classes, training data and pooling.
        encoder: Weights of the fine-tuned encoder; empty if the classifier takes the model's own embeddings.
        novelty: How far clips are from those it was trained on; None if that was not measured.
    """

    weight: Float[Tensor, "L E"]
    bias: Float[Tensor, " L"]
    config: ClassifierConfig
    encoder: Mapping[str, Tensor] = field(default_factory=dict)
    novelty: Novelty | None = None

    def __call__(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, "B L"]:
        """Return the probability of each class."""
        return (embeddings @ self.weight.T + self.bias).softmax(dim=1)

    def answers(self, embeddings: Float[Tensor, "B E"], *, unknown: float | None = None) -> list[Answer]:
        """Return the class of each embedding.

        Args:
            embeddings: (B, E).
            unknown: Share of false alarms at which a class is "unknown", see `check_unknown`; None never says so.
        """
        probabilities = self(embeddings).numpy()
        novelties = [None] * len(embeddings) if self.novelty is None else self.novelty(embeddings).tolist()
        return [
            Answer(
                label=UNKNOWN if unknown is not None and novelty > 1 - unknown else self.config.classes[row.argmax()],
                confidence=float(row.max()),
                probabilities=row,
                novelty=novelty,
            )
            for row, novelty in zip(probabilities, novelties, strict=True)
        ]

    def check_unknown(self, share: float) -> None:
        """Raise InputError if clips cannot be called unknown at a share of false alarms."""
        if not 0 < share < 1:
            raise InputError(f"unknown: expected a share of false alarms between 0 and 1, found {share:g}")
        if self.novelty is None:
            raise InputError(
                "unknown: expected a classifier that measures novelty, found one without. Train it with Model.fit or "
                "`ulna fit`, on clips of at least two subjects or recordings."
            )
        num, least = len(self.novelty.held_out), math.ceil(1 / share)
        if num < least:
            raise InputError(
                f"unknown: expected at least {least} training clips for a share of {share:g}, found {num}. Label more "
                "clips, or allow more false alarms."
            )

    def is_trained_on(self, dataset: Dataset, split: str) -> bool:
        """Return whether the classifier was trained on the training part of a dataset's split."""
        own = (self.config.split, self.config.fingerprint, self.config.classes)
        return own == (split, dataset.fingerprint, dataset.classes)

    def save(self, folder: Path, name: str) -> None:
        """Write FOLDER/NAME.safetensors."""
        tensors = {"weight": self.weight, "bias": self.bias}
        tensors |= {_ENCODER + key: value for key, value in self.encoder.items()}
        tensors |= {_NOVELTY + key: value for key, value in self.novelty.tensors().items()} if self.novelty else {}
        content = save(
            {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()},
            metadata={_CONFIG: self.config.model_dump_json()},
        )
        with new_file(folder / f"{name}.safetensors") as partial:
            partial.write_bytes(content)

    @classmethod
    def open(cls, folder: Path, name: str) -> Classifier:
        """Read FOLDER/NAME.safetensors.

        Raises:
            MissingError: If there is no classifier of that name.
            InputError: If the file is damaged.
        """
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
            raise MissingError(
                f"classifier {readable(name)!r}: expected {path}, found classifiers: {known}. "
                "Save one with `ulna evaluate` or `Model.fit`."
            )
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get(_CONFIG, "")
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config = ClassifierConfig.from_text(text)
            encoder, novelty = (
                {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
                for prefix in (_ENCODER, _NOVELTY)
            )
            weight, bias = tensors["weight"], tensors["bias"]
            if any(t.is_complex() or not t.isfinite().all() for t in tensors.values()):
                raise InputError("expected finite weights, found others")
            if weight.dtype != torch.float32 or bias.dtype != torch.float32:
                raise InputError(f"expected a linear layer in float32, found {weight.dtype} and {bias.dtype}")
            if weight.ndim != 2 or bias.ndim != 1 or not len(weight) == len(bias) == len(config.classes):
                raise InputError(f"expected {len(config.classes)} rows, one per class, found {tuple(weight.shape)}")
            measure = Novelty.from_tensors(novelty) if novelty else None
        except KeyError as error:
            raise InputError(f"{path}: expected a classifier, found a file without {error}. {_ADVICE}") from None
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{path}: expected a classifier, found a damaged file ({error}). {_ADVICE}") from None
        return cls(weight, bias, config, encoder, measure)
