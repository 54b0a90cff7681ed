"""Linear evaluation: one linear layer on the frozen encoder's embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ulna.core import counted, torch_seed, within
from ulna.data import Augmentation
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.classifier import Classifier
from ulna.protocols.features import extract
from ulna.protocols.head import Head, train_epoch
from ulna.protocols.outcome import SeedOutcome


class Linear(Protocol):
    """Linear evaluation (GL-Transformer, section 4.1): Adam 3e-3, batches of 1024, the last epoch counts.

    `standardise` scales each feature by the training clips' mean and spread (the paper's probe does not).
    The probe learns from the training clips and `augment` changed versions of them, one an epoch in turn: resampled in
    time by up to 10 % and turned about the vertical by up to `turn` radians. 0 takes them as they are; the paper
    changes them (in time) anew each epoch, which is an `augment` of `epochs`. `readout` takes the place of the
    encoder's own.
    """

    def __init__(
        self,
        *,
        epochs: int = 300,
        learning_rate: float = 3e-3,
        batch_size: int = 1024,
        weight_decay: float = 0.0,
        standardise: bool = True,
        augment: int = 0,
        turn: float = 0.0,
        readout: str | None = None,
    ) -> None:
        within("epochs", epochs, 1)
        within("batch_size", batch_size, 1)
        within("learning_rate", learning_rate, 0, open_low=True)
        within("weight_decay", weight_decay, 0)
        within("augment", augment, 0)
        within("turn", turn, 0, np.pi)
        if turn and not augment:
            raise ValueError(f"turn {turn:g}: expected augment of at least 1 with it, versions of the clips to turn")
        self.epochs, self.learning_rate, self.batch_size = epochs, learning_rate, batch_size
        self.weight_decay, self.standardise = weight_decay, standardise
        self.augment, self.turn, self.readout = augment, turn, readout

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, Classifier]]:
        train = extract(encoder, form, data.store, data.train)
        test = extract(encoder, form, data.store, data.test)
        labels, truth = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed(seed, "probe"))
                head = Head(train.shape[1], len(data.store.classes))
            if self.standardise:
                head.see(train)
            scaled_test = head.scaled(test)
            optimizer = torch.optim.Adam(head.layer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
            curve = []
            changed = partial(self._changed, encoder, form, data, head, seed)
            for epoch, shown in enumerate(self._in_turn(head.scaled(train), changed)):
                order = counted(seed, "probe order", epoch)
                train_epoch(head.layer, optimizer, shown, labels, order, batch_size=self.batch_size)
                with torch.no_grad():
                    predicted = head.layer(scaled_test).argmax(dim=1)
                curve.append(float((predicted == truth).float().mean()))
            best = max(range(self.epochs), key=curve.__getitem__)
            classifier = Classifier(*head.folded(), data.store.classes, data.split, data.store.fingerprint)
            yield SeedOutcome(seed, predicted.tolist(), curve[best], best + 1, curve), classifier

    def _changed(self, encoder: Encoder, form: InputForm, data: Labelled, head: Head, seed: int, number: int) -> Tensor:
        """One changed version of the training clips, as the head's layer sees it."""
        augmentation = Augmentation(shear=0.0, turn=self.turn)
        generator = counted(seed, "probe augmentation", number)
        return head.scaled(
            extract(encoder, form, data.store, data.train, augmentation=augmentation, generator=generator)
        )

    def _in_turn(self, first: Tensor, changed: Callable[[int], Tensor]) -> Iterator[Tensor]:
        """What each epoch learns from; a version is made when it is first shown and kept until it is last."""
        versions = {0: first}
        for epoch in range(self.epochs):
            number = epoch % (self.augment + 1)
            if number not in versions:
                versions[number] = changed(number)
            is_last = epoch + self.augment + 1 >= self.epochs
            yield versions.pop(number) if is_last else versions[number]
