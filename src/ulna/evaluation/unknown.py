"""Unknown classes: how well clips of classes that a classifier was not trained on are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from ulna.core import Count, InputError, random_stream, unknown_name
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Embedder
from ulna.models.fitting import fit_logistic_regression
from ulna.models.novelty import Novelty


class Unknown(Protocol):
    """Some classes are left out of the training clips; their test clips should be called unknown.

    Measures, for the novelty of `Model.predict` and for the largest probability of a classifier ("softmax", Hendrycks
    and Gimpel, 2017): AUROC, the probability that a clip of a left-out class scores higher than another; FPR@95, the
    share of other clips called unknown where 95 % of the left-out ones are. "alarms" is the share of clips of known
    classes that are called unknown at a share of 5 %. The accuracy counts clips of left-out classes as wrong.
    """

    name: ClassVar[str] = "unknown"

    number: Count = 3
    """Number of classes to leave out, at most all but one; which ones depends on the seed."""
    classes: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    """Names of the classes to leave out, instead of a number."""

    @property
    def is_random(self) -> bool:  # type: ignore[override]
        """Whether classes are drawn."""
        return not self.classes

    def run(
        self,
        embedder: Embedder,
        data: LabelledSplit,
        *,
        seeds: Sequence[int],
        options: RunOptions,  # noqa: ARG002
    ) -> Iterator[tuple[SeedResult, None]]:
        """Yield the result of each seed."""
        train, test = data.embed(embedder)
        for seed in seeds:
            left_out = self._left_out(data, seed)
            is_known = ~np.isin(data.train_labels, left_out)
            labels, features = data.train_labels[is_known], train[is_known]
            probabilities = (
                one_hot(torch.from_numpy(labels[:1]), len(data.dataset.classes)).float().expand(len(test), -1)
            )
            if len(np.unique(labels)) > 1:
                weight, bias = fit_logistic_regression(features, labels, len(data.dataset.classes))
                probabilities = (test @ weight.T + bias).softmax(dim=1)
            novelty = Novelty.of(features, data.dataset.owners[data.train[is_known]])
            is_new = torch.from_numpy(np.isin(data.test_labels, left_out))
            if is_new.all() or not is_new.any():
                raise InputError("expected test clips of known classes and of those left out, found one kind only")
            if novelty is None:
                raise InputError("expected training clips of at least two subjects or recordings, found one")
            metrics = {
                **_detection(novelty.distance(test), is_new, ""),
                **_detection(1 - probabilities.amax(dim=1), is_new, "_softmax"),
                "alarms": float((novelty(test)[~is_new] > 0.95).float().mean()),
            }
            predictions = probabilities.argmax(dim=1).tolist()
            yield SeedResult(seed=seed, predictions=predictions, metrics=metrics), None

    def _left_out(self, data: LabelledSplit, seed: int) -> Any:
        """Return the numbers of the classes to leave out."""
        names = data.dataset.classes
        for name in self.classes:
            if name not in names:
                raise InputError(unknown_name("class", name, names))
        known = np.unique(data.train_labels)
        left_out = [names.index(name) for name in self.classes]
        if not left_out:
            drawn = random_stream(seed, "unknown classes").permutation(known)
            left_out = drawn[: min(self.number, len(known) - 1)].tolist()
        if not set(known) - set(left_out):
            raise InputError(f"expected a class besides those left out, found {len(known)} in all")
        return left_out


def _detection(score: Float[Tensor, " B"], is_new: Bool[Tensor, " B"], name: str) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    threshold = score[is_new].quantile(0.05, interpolation="lower")  # 95 % of the left-out clips are at or above
    alarms = float((score[~is_new] >= threshold).float().mean())
    return {f"auroc{name}": float(roc_auc_score(is_new.numpy(), score.numpy())), f"fpr95{name}": alarms}
