"""The benchmark: the same tasks for every model, and ranks with paired tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ulna.core import InputError, random_stream
from ulna.dataset import Dataset
from ulna.evaluation.evaluate import Evaluation, evaluate
from ulna.evaluation.protocols import KNN, FineTune, Linear, Protocol, Retrieval
from ulna.evaluation.table import ResultRow
from ulna.models import Model

# Low learning rates and few steps keep good features; chosen on a development split (results/nw_ucla.md).
_SHORT = FineTune(learning_rate=1e-4, layer_decay=0.3, label_smoothing=0.0)
_FEW = _SHORT.replace(steps=60, epochs=10)

TASKS: Mapping[str, Protocol] = {
    "linear": Linear(),
    "1-NN": KNN(k=1),
    "retrieval": Retrieval(),
    "1 % labels": _FEW.replace(share=0.01),
    "5 % labels": _FEW.replace(share=0.05),
    "10 % labels": _FEW.replace(share=0.1),
    "fine-tuned": _SHORT.replace(steps=100, epochs=3),
}
"""Tasks of the benchmark. The score is the accuracy; that of retrieval is the mean average precision."""

WITH_RANDOM_INIT = ("linear", "1-NN", "retrieval")
RESAMPLES = 10_000


def bench(
    models: Sequence[Model | str | Path],
    dataset: Dataset | str | Path,
    *,
    split: str | None = None,
    tasks: Sequence[str] = tuple(TASKS),
    match_joints: bool = False,
    save: bool = False,
    device: str = "auto",
) -> Iterator[tuple[str, Evaluation]]:
    """Evaluate models of one recipe under the tasks of the benchmark, beside randomly initialised encoders.

    Args:
        models: Models or their folders, one per training seed.
        dataset: A dataset with labels, or its folder.
        split: Split to evaluate on; that of the recipe by default.
        tasks: Names of tasks.
        match_joints: Accept a dataset of another skeleton and match joints by name (transfer).
        save: Write results into the model folders, so that an interrupted benchmark continues.
        device: "cpu", "cuda", or "auto": a GPU if there is one.

    Yields:
        Name and results of each task.

    Raises:
        InputError: If a task is unknown, or models, dataset and split do not fit together.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise InputError(f"tasks: expected some of {', '.join(TASKS)}, found {', '.join(map(repr, unknown))}")
    for task in tasks:
        yield (
            task,
            evaluate(
                models,
                dataset,
                TASKS[task],
                split=split,
                seeds=1,
                baselines=task in WITH_RANDOM_INIT,
                match_joints=match_joints,
                save=save,
                device=device,
            ),
        )


def score(row: ResultRow) -> float:
    """Return the score of a row in percent: mAP of retrieval, otherwise accuracy."""
    found = row.value("mAP") if row.protocol == "retrieval" else row.accuracy
    if found is None:
        raise InputError(f"expected the mAP of retrieval, found {row.metrics!r}")
    return found


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods over blocks, and which methods differ.

    Args:
        methods: Names, the best first.
        mean: Mean rank of each method; 1 is best, ties share ranks.
        blocks: Number of blocks, each a data set and a task.
        p_all: P-value of Friedman's test that all methods are alike.
        p_pairs: P-values by pair of methods, of Wilcoxon's signed-rank test over blocks, corrected by Holm.
    """

    methods: tuple[str, ...]
    mean: tuple[float, ...]
    blocks: int
    p_all: float
    p_pairs: Mapping[tuple[str, str], float]

    def alike(self, level: float = 0.05) -> list[tuple[str, ...]]:
        """Return the largest groups of methods with neighbouring ranks of which no pair differs at a level."""
        groups: list[tuple[int, int]] = []
        for first in range(len(self.methods)):
            last = first
            while last + 1 < len(self.methods) and all(
                self.p_pairs[self.methods[k], self.methods[last + 1]] > level for k in range(first, last + 1)
            ):
                last += 1
            if last > first and not any(start <= first and last <= end for start, end in groups):
                groups.append((first, last))
        return [self.methods[first : last + 1] for first, last in groups]


def ranks(scores: Mapping[str, Mapping[str, float]]) -> Ranks:
    """Rank methods over blocks: Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets.

    Args:
        scores: Score of each method in each block; all methods need the same blocks.

    Raises:
        InputError: If methods have different blocks, or there are fewer than two methods or three blocks.
    """
    from scipy.stats import friedmanchisquare, rankdata, wilcoxon

    methods = list(scores)
    blocks = sorted(scores[methods[0]]) if methods else []
    if len(methods) < 2 or len(blocks) < 3 or any(sorted(own) != blocks for own in scores.values()):
        raise InputError("ranks: expected at least two methods with scores in the same three or more blocks")
    table = np.array([[scores[method][block] for method in methods] for block in blocks])  # (blocks, methods)
    mean = np.array([rankdata(-row) for row in table]).mean(axis=0)
    order = np.argsort(mean, kind="stable")
    p_all = friedmanchisquare(*table.T).pvalue if len(methods) > 2 else float("nan")
    pairs = [(one, two) for k, one in enumerate(order) for two in order[k + 1 :]]
    found = [
        1.0 if (table[:, one] == table[:, two]).all() else float(wilcoxon(table[:, one], table[:, two]).pvalue)
        for one, two in pairs
    ]
    corrected = holm(found)
    named = {}
    for (one, two), p in zip(pairs, corrected, strict=True):
        named[methods[one], methods[two]] = named[methods[two], methods[one]] = p
    return Ranks(
        tuple(methods[k] for k in order), tuple(float(mean[k]) for k in order), len(blocks), float(p_all), named
    )


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method."""
    order = np.argsort(values, kind="stable")
    corrected, highest = [0.0] * len(values), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - position) * values[index]))
        corrected[index] = highest
    return corrected


def paired_difference(one: np.ndarray, two: np.ndarray, *, name: str = "paired") -> tuple[float, float, float, float]:
    """Compare two methods on the same test clips by a bootstrap that resamples clips and training seeds.

    Args:
        one: (seeds, clips) share of correct predictions of the first method.
        two: (seeds, clips) of the second method.
        name: Name of the random stream.

    Returns:
        Mean difference, its 95 % interval, and a two-sided p-value.
    """
    if one.shape[1] != two.shape[1]:
        raise InputError(f"expected predictions for the same clips, found {one.shape[1]} and {two.shape[1]}")
    generator = random_stream(0, name)
    differences = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        clips = generator.integers(one.shape[1], size=one.shape[1])
        own, other = (rows[generator.integers(len(rows), size=len(rows))].mean(axis=0)[clips] for rows in (one, two))
        differences[k] = own.mean() - other.mean()
    low, high = np.percentile(differences, [2.5, 97.5])
    tail = min((differences <= 0).mean(), (differences >= 0).mean())
    return float(one.mean() - two.mean()), float(low), float(high), float(min(1.0, 2 * tail + 1 / RESAMPLES))
