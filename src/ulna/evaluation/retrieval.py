"""Retrieval: clips are ranked by similarity to each test clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import Count, InputError
from ulna.evaluation.knn import standardised
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Embedder

QUERIES_AT_ONCE = 256


class Retrieval(Protocol):
    """Retrieval: clips are ranked by cosine similarity to each test clip.

    Measures mAP (mean over queries of the average precision) and recall@k (share of queries with a clip of their class
    among the first k). The accuracy is that of the first clip's class.
    """

    name: ClassVar[str] = "retrieval"
    is_random: ClassVar[bool] = False

    k: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)] = (1, 5, 10)
    """Numbers of clips for recall@k."""
    among: Literal["train", "test"] = "train"
    """Rank the training clips, or the other test clips."""
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
        train, queries = data.embed(embedder)
        if self.standardise:
            train, queries = standardised(train, queries)
        truth = torch.from_numpy(data.test_labels)
        if self.among == "test":
            first, metrics = rank(queries, truth, queries, truth, k=self.k, exclude_self=True)
        else:
            first, metrics = rank(queries, truth, train, torch.from_numpy(data.train_labels), k=self.k)
        for seed in seeds:
            yield SeedResult(seed=seed, predictions=first.tolist(), metrics=metrics), None


def rank(
    queries: Float[Tensor, "B E"],
    truth: Int[Tensor, " B"],
    gallery: Float[Tensor, "N E"],
    labels: Int[Tensor, " N"],
    *,
    k: Sequence[int],
    exclude_self: bool = False,
) -> tuple[Int[Tensor, " B"], dict[str, float]]:
    """Rank a gallery for each query.

    Args:
        queries: Embeddings of the queries.
        truth: Class index of each query.
        gallery: Embeddings to rank.
        labels: Class index of each of them.
        k: Numbers of clips for recall@k.
        exclude_self: Queries and gallery are the same clips; a query does not find itself.

    Returns:
        The class of each query's first clip; mAP and recall@k over the queries that have a clip of their class.
    """
    from sklearn.metrics import label_ranking_average_precision_score

    if len(gallery) - exclude_self < 1:
        raise InputError("expected other clips to rank, found one test clip only")
    queries, gallery = normalize(queries, dim=1), normalize(gallery, dim=1)
    firsts, precisions, ranks = [], [], []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        similarity = queries[start : start + QUERIES_AT_ONCE] @ gallery.T
        if exclude_self:
            own = torch.arange(len(similarity))
            similarity[own, start + own] = -2.0  # below any cosine
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, : len(gallery) - exclude_self]
        is_relevant = labels[order] == truth[start : start + QUERIES_AT_ONCE, None]
        has_any = is_relevant.any(dim=1)
        position = np.broadcast_to(-np.arange(order.shape[1]), order.shape)  # scores that keep the order of ties
        if has_any.any():
            found = is_relevant[has_any].numpy()
            precision = label_ranking_average_precision_score(found, position[: len(found)])
            precisions.append((precision, len(found)))
        ranks.append((is_relevant.int().argmax(dim=1) + 1)[has_any])
        firsts.append(labels[order[:, 0]])
    if not precisions:
        raise InputError("expected clips of the test clips' classes to find, found none")
    values, counts = zip(*precisions, strict=True)
    rank_of_first = torch.cat(ranks)
    metrics = {"mAP": float(np.average(values, weights=counts))}
    metrics |= {f"recall@{n}": float((rank_of_first <= n).double().mean()) for n in k}
    return torch.cat(firsts), metrics
