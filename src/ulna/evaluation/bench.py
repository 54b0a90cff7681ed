"""The benchmark: the same tasks for every model, mean ranks, and paired comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ulna.core import InputError, random_stream
from ulna.dataset import Dataset
from ulna.evaluation.evaluate import Evaluation, Evaluator
from ulna.evaluation.protocols import KNN, FineTune, Linear, Protocol, Retrieval
from ulna.evaluation.table import ResultRow
from ulna.models import Model

# Low learning rates and few steps keep good features; chosen on a development split (results/nw_ucla.md).
_SHORT = FineTune(learning_rate=1e-4, layer_decay=0.3, label_smoothing=0.0, tests=1)
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
    evaluator = Evaluator(
        models, dataset, split=split, match_joints=match_joints, save=save, keep_embeddings=True, device=device
    )
    for task in tasks:
        baselines = ["random_init"] if task in WITH_RANDOM_INIT else False
        yield task, evaluator.evaluate(TASKS[task], seeds=1, baselines=baselines)  # type: ignore[arg-type]


def score(row: ResultRow) -> float:
    """Return the score of a row in percent: mAP of retrieval, otherwise accuracy."""
    found = row.value("mAP") if row.protocol == "retrieval" else row.accuracy
    if found is None:
        raise InputError(f"expected the mAP of retrieval, found {row.metrics!r}")
    return found


def mean_ranks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean rank of each method over blocks, the best method first; 1 is best, ties share ranks.

    Args:
        scores: Score of each method in each block, such as a data set and a task; all methods need the same blocks.

    Raises:
        InputError: If methods have different blocks, or there are fewer than two methods.
    """
    from scipy.stats import rankdata

    methods = list(scores)
    blocks = sorted(scores[methods[0]]) if methods else []
    if len(methods) < 2 or not blocks or any(sorted(own) != blocks for own in scores.values()):
        raise InputError("expected at least two methods with scores in the same blocks")
    table = np.array([[scores[method][block] for method in methods] for block in blocks])  # (blocks, methods)
    mean = rankdata(-table, axis=1).mean(axis=0)
    return {methods[k]: float(mean[k]) for k in np.argsort(mean, kind="stable")}


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method."""
    order = np.argsort(values, kind="stable")
    corrected, highest = [0.0] * len(values), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - position) * values[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True)
class Comparison:
    """The difference between two methods in mean accuracy over data sets.

    Args:
        difference: Accuracy of the first method minus that of the second, from -1 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p-value; that of `compare` is corrected for the number of pairs by Holm's method.
    """

    difference: float
    low: float
    high: float
    p: float


def compare(
    correct: Mapping[str, Mapping[str, np.ndarray]], *, name: str = "paired"
) -> dict[tuple[str, str], Comparison]:
    """Compare all pairs of methods on the same test clips by a bootstrap that resamples clips and training seeds.

    Clips are resampled together for all methods, seeds separately, within each data set. Data sets count equally.

    Args:
        correct: For each method and data set, (seeds, clips) whether each prediction is correct.
        name: Name of the random stream.

    Raises:
        InputError: If methods have different data sets or test clips.
    """
    methods = list(correct)
    clips = {data: own.shape[1] for data, own in correct[methods[0]].items()} if methods else {}
    if len(methods) < 2 or any({d: own.shape[1] for d, own in correct[m].items()} != clips for m in methods):
        raise InputError("expected at least two methods with predictions for the same clips of the same data sets")
    generator = random_stream(0, name)
    accuracy = np.zeros((RESAMPLES, len(methods)))
    for data, num in clips.items():
        shares = generator.multinomial(num, np.full(num, 1 / num), size=RESAMPLES) / num  # weights of resampled clips
        for k, method in enumerate(methods):
            by_seed = shares @ correct[method][data].T.astype(float)  # (resamples, seeds)
            seeds = generator.integers(by_seed.shape[1], size=by_seed.shape)
            accuracy[:, k] += np.take_along_axis(by_seed, seeds, axis=1).mean(axis=1) / len(clips)
    true = [float(np.mean([own.mean() for own in correct[method].values()])) for method in methods]
    found = {}
    for one, two in itertools.combinations(range(len(methods)), 2):
        differences = accuracy[:, one] - accuracy[:, two]
        low, high = np.percentile(differences, [2.5, 97.5])
        tail = min((differences <= 0).mean(), (differences >= 0).mean())
        p = min(1.0, 2 * tail + 1 / RESAMPLES)
        found[methods[one], methods[two]] = Comparison(true[one] - true[two], float(low), float(high), float(p))
    corrected = holm([own.p for own in found.values()])
    return {pair: replace(own, p=p) for (pair, own), p in zip(found.items(), corrected, strict=True)}


def groups_alike(
    methods: Sequence[str], pairs: Mapping[tuple[str, str], Comparison], *, level: float = 0.05
) -> list[tuple[str, ...]]:
    """Return the largest groups of consecutive methods in which no pair differs significantly.

    Args:
        methods: Methods in the order of their ranks.
        pairs: Comparisons of all pairs, in either order.
        level: Level of significance.
    """

    def differ(one: str, two: str) -> bool:
        return (pairs[one, two] if (one, two) in pairs else pairs[two, one]).p <= level

    groups: list[tuple[int, int]] = []
    for first in range(len(methods)):
        last = first
        while last + 1 < len(methods) and not any(
            differ(methods[k], methods[last + 1]) for k in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(start <= first and last <= end for start, end in groups):
            groups.append((first, last))
    return [tuple(methods[first : last + 1]) for first, last in groups]
