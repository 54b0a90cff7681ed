"""Linear evaluation: one linear layer on the frozen encoder's embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ulna.core import counted, torch_seed, within
from ulna.data import Augmentation
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.classifier import Classifier, fold, standardisation
from ulna.protocols.features import extract
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
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seed: int
    ) -> tuple[SeedOutcome, Classifier | None]:
        train = extract(encoder, form, data.store, data.train)
        test = extract(encoder, form, data.store, data.test)
        labels, truth = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
        mean, sd = standardisation(train) if self.standardise else (torch.zeros(1), torch.ones(1))

        def epoch_features(epoch: int) -> Tensor:
            if not self.augment:
                return train
            generator = counted(seed, "probe augmentation", epoch)
            stretched = Augmentation(shear=0.0)
            return extract(encoder, form, data.store, data.train, augmentation=stretched, generator=generator)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "probe"))
            layer = nn.Linear(train.shape[1], len(data.store.classes))
        optimizer = torch.optim.Adam(layer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        scaled_test = (test - mean) / sd
        curve = []
        for epoch in range(self.epochs):
            features = (epoch_features(epoch) - mean) / sd
            order = torch.from_numpy(counted(seed, "probe order", epoch).permutation(len(features)))
            for part in order.split(self.batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(layer(features[part]), labels[part]).backward()
                optimizer.step()
            with torch.no_grad():
                predicted = layer(scaled_test).argmax(dim=1)
            curve.append(float((predicted == truth).float().mean()))
        best = max(range(self.epochs), key=curve.__getitem__)
        weight, bias = layer.weight.detach(), layer.bias.detach()
        weight, bias = fold(weight, bias, mean.expand(train.shape[1]), sd.expand(train.shape[1]))
        classifier = Classifier(weight, bias, data.store.classes, data.split)
        return SeedOutcome(seed, predicted.tolist(), curve[best], best + 1, curve), classifier
