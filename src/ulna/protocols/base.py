"""What every protocol is: an encoder and labelled clips -> predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ulna.data import Store
from ulna.data.copies import exact_copies
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.outcome import SeedOutcome
from ulna.train.run import Run

if TYPE_CHECKING:
    from ulna.protocols.classifier import Classifier


@dataclass(frozen=True)
class Labelled:
    """The labelled clips of a split: `train` and `test` are places in the store."""

    store: Store
    split: str
    train: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, store: Store, split: str) -> Labelled:
        """Clips of a split that have a label; ValueError if a part is empty."""
        train, test = (part[store.labels[part] >= 0] for part in store.split(split))
        if not len(train) or not len(test):
            raise ValueError(
                f"{store.path}: expected labelled clips in both parts of split {split!r}, "
                f"got {len(train)} to train and {len(test)} to test on"
            )
        return cls(store, split, train, test)

    @property
    def train_labels(self) -> np.ndarray:
        return self.store.labels[self.train]

    @cached_property
    def test_ids(self) -> list[str]:
        ids = self.store.ids
        return [ids[clip] for clip in self.test]

    @property
    def test_labels(self) -> np.ndarray:
        return self.store.labels[self.test]

    @property
    def groups(self) -> dict[str, list[str]]:
        return {name: list(members) for name, members in self.store.class_groups.items()}

    @cached_property
    def copied(self) -> list[int]:
        """Places in `test` of clips that are byte by byte copies of a clip of the split's training part."""
        return np.flatnonzero(exact_copies(self.store, self.store.split(self.split)[0], self.test)).tolist()


class Protocol(ABC):
    """Judges an encoder; knows neither its pretext task nor its data set. Options are keyword-only parameters."""

    is_random: bool = True
    """Whether seeds make a difference."""
    pretrained: bool = True
    """Whether it judges the run's trained encoder, or fresh weights of the same make."""
    variant: str = ""
    """What tells apart outcomes of one protocol that are kept side by side."""
    readout: str | None = None
    """What a clip's embedding is made of, if not what the run's recipe says."""

    def form_for(self, run: Run, store: Store) -> InputForm:
        """The input form that makes a store's clips fit a run's encoder; ValueError if they do not."""
        run.check(store)
        return run.form

    @abstractmethod
    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, Classifier | None]]:
        """Each seed's outcome, and the classifier it made if it makes one that can be kept.

        The encoder is left as it was.
        """
