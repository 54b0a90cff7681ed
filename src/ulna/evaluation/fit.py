"""Fit: logistic regression on frozen embeddings, as `Model.fit` trains it, with all labels or few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from ulna.evaluation.calibration import expected_calibration_error
from ulna.evaluation.few_labels import FewLabels
from ulna.evaluation.protocol import LabelledSplit, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Classifier, ClassifierConfig, Embedder
from ulna.models.fitting import fit_classifier


class Fit(FewLabels):
    """Regularised logistic regression on frozen embeddings, as `Model.fit` and `ulna fit` train it, in seconds.

    The strength of the regularisation is chosen by cross-validation among the labelled clips. Other training clips take
    the labels of similar clips by label spreading. The nearest neighbour on raw joints beside it uses the same labels.
    """

    name: ClassVar[str] = "fit"

    unlabelled: bool = True
    """Use the training clips without a label."""

    @property
    def is_random(self) -> bool:  # type: ignore[override]
        """Whether labels are drawn."""
        return bool(self.amount)

    def run(
        self, embedder: Embedder, data: LabelledSplit, *, seeds: Sequence[int], options: RunOptions
    ) -> Iterator[tuple[SeedResult, Classifier]]:
        """Yield the result and classifier of each seed."""
        dataset = data.dataset
        train, test = data.embed(embedder)
        for seed in seeds:
            clips = self.labelled(data, seed, keep=options.save)
            is_labelled = np.isin(data.train, clips)
            others = train[~is_labelled] if self.unlabelled else None
            chosen = data.train[is_labelled]
            classifier = fit_classifier(
                train[is_labelled],
                data.train_labels[is_labelled],
                ClassifierConfig.of(dataset, data.split, embedder.pooling, clips=chosen),
                unlabelled=others,
                groups=dataset.owners[chosen],
                recordings=np.array(dataset.recordings)[chosen],
            )
            confidence, predicted = classifier(test).max(dim=1)
            is_right = predicted.numpy() == data.test_labels
            known = [dataset.ids[clip] for clip in clips] if self.amount else []
            result = SeedResult(
                seed=seed,
                predictions=predicted.tolist(),
                metrics={"ece": expected_calibration_error(confidence.numpy(), is_right)},
                labelled=known,
            )
            yield result, classifier
