"""What every protocol is: an encoder and labelled clips -> predictions for the test clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ulna.core import Config, InputError
from ulna.dataset import Dataset, exact_copies
from ulna.evaluation.results import EvalMetadata, EvalResult, ResultKey, SeedResult
from ulna.models import Classifier, Embedder
from ulna.training import Hardware


@dataclass(frozen=True)
class LabelledSplit:
    """The labelled clips of a split.

    Args:
        dataset: The dataset.
        split: Name of the split.
        train: Indices of the labelled training clips.
        test: Indices of the labelled test clips.
        min_frames: Clips with fewer frames are left out of both parts.
        embeddings: Embeddings of both parts by embedder, kept for further protocols; None keeps none.
    """

    dataset: Dataset
    split: str
    train: np.ndarray
    test: np.ndarray
    min_frames: int = 0
    embeddings: dict[Embedder, tuple[Tensor, Tensor]] | None = None

    @classmethod
    def of(cls, dataset: Dataset, split: str, *, min_frames: int = 0, keep_embeddings: bool = False) -> LabelledSplit:
        """Return the labelled clips of a split.

        Args:
            dataset: The dataset.
            split: Name of the split.
            min_frames: Leave out clips with fewer frames.
            keep_embeddings: Embed the clips only once with each embedder, at the cost of memory.

        Raises:
            InputError: If a part is empty.
        """
        usable = (dataset.labels >= 0) & (dataset.lengths >= min_frames)
        train, test = (part[usable[part]] for part in dataset.split(split))
        if not len(train) or not len(test):
            raise InputError(
                f"{dataset.path}: expected labelled clips in both parts of split {split!r}, "
                f"found {len(train)} to train and {len(test)} to test on"
            )
        return cls(dataset, split, train, test, min_frames, {} if keep_embeddings else None)

    @property
    def train_labels(self) -> np.ndarray:
        """Class index of each training clip."""
        return self.dataset.labels[self.train]

    @property
    def test_labels(self) -> np.ndarray:
        """Class index of each test clip."""
        return self.dataset.labels[self.test]

    @cached_property
    def test_ids(self) -> list[str]:
        """Id of each test clip."""
        ids = self.dataset.ids
        return [ids[clip] for clip in self.test]

    @cached_property
    def copied(self) -> list[int]:
        """Indices into `test` of clips that are exact copies of a clip of the split's training part."""
        return np.flatnonzero(exact_copies(self.dataset, self.dataset.split(self.split)[0], self.test)).tolist()

    def embed(self, embedder: Embedder) -> tuple[Float[Tensor, "N E"], Float[Tensor, "B E"]]:
        """Return the embeddings of the training clips and of the test clips."""
        if self.embeddings is not None and embedder in self.embeddings:
            return self.embeddings[embedder]
        found = embedder.embed_dataset(self.dataset, self.train), embedder.embed_dataset(self.dataset, self.test)
        if self.embeddings is not None:
            self.embeddings[embedder] = found
        return found

    def result(self, key: ResultKey, seeds: list[SeedResult], metadata: EvalMetadata | None = None) -> EvalResult:
        """Return a result on the test clips.

        Args:
            key: What was evaluated and how.
            seeds: Predictions by seed.
            metadata: What is behind the result; None for baselines without a model.
        """
        return EvalResult(
            key=key,
            classes=list(self.dataset.classes),
            clips=self.test_ids,
            labels=self.test_labels.tolist(),
            seeds=seeds,
            groups={name: list(members) for name, members in self.dataset.class_groups.items()},
            copied=self.copied,
            metadata=metadata,
        )


@dataclass(frozen=True)
class RunOptions:
    """How a protocol runs, which does not change its result.

    Args:
        hardware: Devices to train on.
        work: Folder for checkpoints of long protocols, from which they are continued; None writes nothing.
        save: Keep the label subsets that are drawn in the dataset.
    """

    hardware: Hardware = field(default_factory=Hardware)
    work: Path | None = None
    save: bool = False


class Protocol(Config, ABC):
    """Evaluates an encoder; knows neither its pretext task nor the data set. Its fields are its options."""

    name: ClassVar[str]
    """Name in the table of protocols."""
    is_random: ClassVar[bool] = True
    """Whether the result depends on the seed."""

    @property
    def variant(self) -> str:
        """What distinguishes results of one protocol in file names and tables, such as the share of labels."""
        return ""

    @property
    def uses_pretrained(self) -> bool:
        """Whether the pretrained encoder is evaluated; otherwise randomly initialised ones are."""
        return True

    @abstractmethod
    def run(
        self, embedder: Embedder, data: LabelledSplit, *, seeds: Sequence[int], options: RunOptions
    ) -> Iterator[tuple[SeedResult, Classifier | None]]:
        """Yield each seed's result, and the classifier it trained if there is one.

        The encoder is left unchanged.

        Args:
            embedder: The encoder with its preprocessor and pooling.
            data: Labelled training and test clips.
            seeds: Seeds of everything random.
            options: How to run.
        """
