"""k nearest neighbours by cosine similarity of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import within
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.features import extract_parts
from ulna.protocols.outcome import SeedOutcome


class KNN(Protocol):
    """Each test clip gets the label that most of its k nearest training clips have, weighted by exp(cosine / T).

    `readout` takes the place of the encoder's own.
    """

    is_random = False

    def __init__(
        self, *, k: int = 1, temperature: float = 0.1, standardise: bool = True, readout: str | None = None
    ) -> None:
        within("k", k, 1)
        within("temperature", temperature, 0, open_low=True)
        self.k, self.temperature, self.standardise, self.readout = k, temperature, standardise, readout

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, None]]:
        train, test = extract_parts(encoder, form, data, standardise=self.standardise)
        labels = torch.from_numpy(data.train_labels)
        num_classes = len(data.store.classes)
        predicted = vote(train, labels, test, k=self.k, temperature=self.temperature, num_classes=num_classes)
        for seed in seeds:
            yield SeedOutcome(seed, predicted.tolist()), None


def vote(
    train: Float[Tensor, "N E"],
    labels: Int[Tensor, " N"],
    test: Float[Tensor, "B E"],
    *,
    k: int,
    temperature: float,
    num_classes: int,
) -> Int[Tensor, " B"]:
    """Labels of test clips by their k nearest training clips."""
    train, test = (normalize(features, dim=1) for features in (train, test))
    predicted = []
    for part in test.split(4096):
        similarity, nearest = (part @ train.T).topk(min(k, len(train)), dim=1)
        votes = torch.zeros(len(part), num_classes)
        votes.scatter_add_(1, labels[nearest], ((similarity - similarity[:, :1]) / temperature).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)
