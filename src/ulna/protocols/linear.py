"""Linear evaluation: one linear layer on the frozen encoder's embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    `augment` resamples the training clips in time anew each epoch, as the paper does; without it features are
    extracted once.
    """

    def __init__(
        self,
        *,
        epochs: int = 300,
        learning_rate: float = 3e-3,
        batch_size: int = 1024,
        weight_decay: float = 0.0,
        standardise: bool = True,
        augment: bool = False,
    ) -> None:
        within("epochs", epochs, 1)
        within("batch_size", batch_size, 1)
        within("learning_rate", learning_rate, 0, open_low=True)
        within("weight_decay", weight_decay, 0)
        self.epochs, self.learning_rate, self.batch_size = epochs, learning_rate, batch_size
        self.weight_decay, self.standardise, self.augment = weight_decay, standardise, augment

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
            scaled_train, scaled_test = head.scaled(train), head.scaled(test)
            optimizer = torch.optim.Adam(head.layer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
            curve = []
            for epoch in range(self.epochs):
                shown = head.scaled(_stretched(encoder, form, data, seed, epoch)) if self.augment else scaled_train
                order = counted(seed, "probe order", epoch)
                train_epoch(head.layer, optimizer, shown, labels, order, batch_size=self.batch_size)
                with torch.no_grad():
                    predicted = head.layer(scaled_test).argmax(dim=1)
                curve.append(float((predicted == truth).float().mean()))
            best = max(range(self.epochs), key=curve.__getitem__)
            classifier = Classifier(*head.folded(), data.store.classes, data.split, data.store.fingerprint)
            yield SeedOutcome(seed, predicted.tolist(), curve[best], best + 1, curve), classifier


def _stretched(encoder: Encoder, form: InputForm, data: Labelled, seed: int, epoch: int) -> Tensor:
    """Features of the training clips, resampled in time as an epoch draws it."""
    generator = counted(seed, "probe augmentation", epoch)
    return extract(encoder, form, data.store, data.train, augmentation=Augmentation(shear=0.0), generator=generator)
