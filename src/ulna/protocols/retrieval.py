"""Retrieval: each test clip asks for clips of its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import one_of, within
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.features import extract_parts
from ulna.protocols.outcome import SeedOutcome

Among = Literal["train", "test"]
QUERIES_AT_ONCE = 256


class Retrieval(Protocol):
    """Ranks the training clips by cosine similarity to each test clip.

    Gives mAP (mean over queries of the average precision at each clip of the query's class) and recall@k (share of
    queries with a clip of their class among the first k); the accuracy is that of the first clip's label. `among`
    "test" ranks the other test clips instead. `readout` takes the place of the encoder's own.
    """

    is_random = False

    def __init__(
        self,
        *,
        k: tuple[int, ...] = (1, 5, 10),
        among: Among = "train",
        standardise: bool = True,
        readout: str | None = None,
    ) -> None:
        one_of("among", among, Among)
        if not k:
            raise ValueError("k: expected at least one number of clips, got none")
        for number in k:
            within("k", number, 1)
        self.k, self.among, self.standardise, self.readout = k, among, standardise, readout

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, None]]:
        train, queries = extract_parts(encoder, form, data, standardise=self.standardise)
        truth = torch.from_numpy(data.test_labels)
        if self.among == "test":
            first, metrics = rank(queries, truth, queries, truth, k=self.k, is_among_itself=True)
        else:
            first, metrics = rank(queries, truth, train, torch.from_numpy(data.train_labels), k=self.k)
        for seed in seeds:
            yield SeedOutcome(seed, first.tolist(), metrics=metrics), None


def rank(
    queries: Float[Tensor, "B E"],
    truth: Int[Tensor, " B"],
    gallery: Float[Tensor, "N E"],
    labels: Int[Tensor, " N"],
    *,
    k: Sequence[int],
    is_among_itself: bool = False,
) -> tuple[Int[Tensor, " B"], dict[str, float]]:
    """The label of each query's first clip; mAP and recall@k, over the queries that have a clip of their class."""
    if len(gallery) - is_among_itself < 1:
        raise ValueError("expected other clips to rank, got one test clip alone")
    queries, gallery = normalize(queries, dim=1), normalize(gallery, dim=1)
    firsts, precisions, ranks = [], [], []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        similarity = queries[start : start + QUERIES_AT_ONCE] @ gallery.T
        if is_among_itself:
            own = torch.arange(len(similarity))
            similarity[own, start + own] = -torch.inf
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, : len(gallery) - is_among_itself]
        ranked = labels[order]
        relevant = (ranked == truth[start : start + QUERIES_AT_ONCE, None]).double()
        found = relevant.cumsum(dim=1)
        place = torch.arange(1, relevant.shape[1] + 1)
        precisions.append((found / place * relevant).sum(dim=1) / found[:, -1])  # NaN where there is none to find
        ranks.append(torch.where(relevant.any(dim=1), relevant.argmax(dim=1) + 1, len(gallery) + 1))
        firsts.append(ranked[:, 0])
    precision, rank_of_first = torch.cat(precisions), torch.cat(ranks)
    can_be_found = precision.isfinite()
    if not can_be_found.any():
        raise ValueError("expected clips of the test clips' classes to find, got none")
    metrics = {"mAP": float(precision[can_be_found].mean())}
    metrics |= {f"recall@{n}": float((rank_of_first[can_be_found] <= n).double().mean()) for n in k}
    return torch.cat(firsts), metrics
