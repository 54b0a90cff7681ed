"""Linear evaluation: one linear layer on the frozen encoder's embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import model_validator
from torch import Tensor

from ulna.batch import Augmentation
from ulna.batch.augmentation import Angle
from ulna.core import Count, NonNegative, Positive, random_stream, torch_seed
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Classifier, ClassifierConfig, Embedder
from ulna.training.finetuning import Head, train_epoch


class Linear(Protocol):
    """Linear evaluation: a linear layer on frozen embeddings.

    GL-Transformer (arXiv 2207.06101), section 4.1: Adam at 3e-3, batches of 1024; the last epoch is reported.
    """

    name: ClassVar[str] = "linear"

    epochs: Count = 300
    """Number of epochs."""
    learning_rate: Positive = 3e-3
    """Learning rate of Adam."""
    batch_size: Count = 1024
    """Clips per batch."""
    weight_decay: NonNegative = 0.0
    """Weight decay."""
    standardise: bool = True
    """Standardise each feature by the training clips (the paper does not)."""
    augment: int = 0
    """Number of augmented versions of the training clips, used in turn with the clips themselves; clips are resampled
    by up to 10 %. The paper augments in every epoch, which is an `augment` of `epochs`."""
    yaw: Angle = 0.0
    """Largest rotation of augmented versions about the vertical axis, in radians."""

    @model_validator(mode="after")
    def _fits(self) -> Linear:
        if not 0 <= self.augment <= 1_000_000:
            raise ValueError(f"augment: expected a number of at least 0, found {self.augment}")
        if self.yaw and not self.augment:
            raise ValueError(f"yaw {self.yaw:g}: expected augment of at least 1, found 0")
        return self

    def run(
        self,
        embedder: Embedder,
        data: LabelledSplit,
        *,
        seeds: Sequence[int],
        options: RunOptions,  # noqa: ARG002
    ) -> Iterator[tuple[SeedResult, Classifier]]:
        """Yield the result and classifier of each seed."""
        dataset = data.dataset
        train, test = data.embed(embedder)
        labels, truth = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed(seed, "probe"))
                head = Head(train.shape[1], len(dataset.classes))
            if self.standardise:
                head.update(train)
            scaled_test = head.standardised(test)
            optimizer = torch.optim.Adam(head.layer.parameters(), self.learning_rate, weight_decay=self.weight_decay)
            curve = []
            augmented = partial(self._augmented, embedder, data, head, seed)
            for epoch, features in enumerate(self._in_turn(head.standardised(train), augmented)):
                order = random_stream(seed, "probe order", epoch)
                train_epoch(head.layer, optimizer, features, labels, order, batch_size=self.batch_size)
                with torch.no_grad():
                    predicted = head.layer(scaled_test).argmax(dim=1)
                curve.append(float((predicted == truth).float().mean()))
            best = max(range(self.epochs), key=curve.__getitem__)
            config = ClassifierConfig.of(dataset, data.split, embedder.pooling)
            result = SeedResult(
                seed=seed, predictions=predicted.tolist(), oracle=curve[best], oracle_epoch=best + 1, curve=curve
            )
            yield result, Classifier(*head.folded(), config)

    def _augmented(self, embedder: Embedder, data: LabelledSplit, head: Head, seed: int, number: int) -> Tensor:
        """Return the standardised embeddings of one augmented version of the training clips."""
        augmentation = Augmentation(shear=0.0, yaw=self.yaw)
        generator = random_stream(seed, "probe augmentation", number)
        return head.standardised(
            embedder.embed_dataset(data.dataset, data.train, augmentation=augmentation, generator=generator)
        )

    def _in_turn(self, first: Tensor, augmented: Callable[[int], Tensor]) -> Iterator[Tensor]:
        """Yield each epoch's features; a version is made when it is first needed and kept until it is last needed."""
        versions = {0: first}
        for epoch in range(self.epochs):
            number = epoch % (self.augment + 1)
            if number not in versions:
                versions[number] = augmented(number)
            is_last = epoch + self.augment + 1 >= self.epochs
            yield versions.pop(number) if is_last else versions[number]
