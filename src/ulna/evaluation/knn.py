"""k nearest neighbours by cosine similarity of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import Count, Positive
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Embedder
from ulna.models.standardisation import standardisation


class KNN(Protocol):
    """k-NN: each test clip gets the class that most of its nearest training clips have, weighted by similarity."""

    name: ClassVar[str] = "knn"
    is_random: ClassVar[bool] = False

    k: Count = 1
    """Number of neighbours."""
    temperature: Positive = 0.1
    """Votes are weighted by exp(cosine similarity / temperature)."""
    standardise: bool = True
    """Standardise each feature by the training clips."""

    def run(
        self,
        embedder: Embedder,
        data: LabelledSplit,
        *,
        seeds: Sequence[int],
        options: RunOptions,  # noqa: ARG002
    ) -> Iterator[tuple[SeedResult, None]]:
        """Yield the result, the same for every seed."""
        train, test = data.embed(embedder)
        if self.standardise:
            train, test = standardised(train, test)
        labels = torch.from_numpy(data.train_labels)
        num_classes = len(data.dataset.classes)
        predicted = vote(train, labels, test, k=self.k, temperature=self.temperature, num_classes=num_classes)
        for seed in seeds:
            yield SeedResult(seed=seed, predictions=predicted.tolist()), None


def standardised(train: Float[Tensor, "N E"], test: Float[Tensor, "B E"]) -> tuple[Tensor, Tensor]:
    """Return the embeddings of training and test clips, standardised by the training clips."""
    mean, sd = standardisation(train)
    return (train - mean) / sd, (test - mean) / sd


def vote(
    train: Float[Tensor, "N E"],
    labels: Int[Tensor, " N"],
    test: Float[Tensor, "B E"],
    *,
    k: int,
    temperature: float,
    num_classes: int,
) -> Int[Tensor, " B"]:
    """Return the class of each test clip by its k nearest training clips."""
    train, test = (normalize(features, dim=1) for features in (train, test))
    predicted = []
    for part in test.split(4096):
        similarity, nearest = (part @ train.T).topk(min(k, len(train)), dim=1)
        votes = torch.zeros(len(part), num_classes)
        votes.scatter_add_(1, labels[nearest], ((similarity - similarity[:, :1]) / temperature).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)
