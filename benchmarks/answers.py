"""Quality of timelines, streams and discovery: python -m benchmarks.answers WHAT DATASET SPLIT MODEL...

WHAT is one of

- timelines: recordings assembled from test clips (three assemblies; transitions have no label), with a classifier of
  all training clips, beside the nearest neighbour on raw joints in sliding windows;
- delay: the same recordings as streams: how long after its start an action is recognised;
- discovery: adjusted mutual information of k-means and HDBSCAN with the true classes, which they do not know.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from ulna.analysis.discovery import Discovery, discover
from ulna.batch import Batch
from ulna.core import Clip
from ulna.dataset import Dataset, assemble
from ulna.evaluation.baselines import raw_joints, raw_joints_of
from ulna.evaluation.segmentation import score_timelines
from ulna.formats.annotations import Annotation
from ulna.models import Model, Scan, Timeline, load
from ulna.models.timeline import scan

ASSEMBLIES = 3


def fitted(path: str, dataset: Dataset, split: str) -> Model:
    """Return a model with a classifier of all training clips."""
    model = load(path)
    model.fit(dataset, split=split, classifier="answers")
    return model


def nearest(clips: list[Clip], known: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class of the nearest training clip on raw joints, as probabilities."""
    found = raw_joints_of(Batch.from_clips(clips)).numpy()
    return np.eye(num_classes, dtype=np.float32)[labels[(found @ known.T).argmax(axis=1)]]


def timelines(dataset: Dataset, split: str, models: Sequence[str]) -> None:
    """Print the measures of timelines of assembled recordings."""
    train, test = dataset.split(split)
    known, labels = raw_joints(dataset, train).numpy(), dataset.labels[train]
    classify = partial(nearest, known=known, labels=labels, num_classes=len(dataset.classes))
    ready = [fitted(path, dataset, split) for path in models]
    durations = ready[0].classifier("answers").config.durations
    methods: dict[str, Callable[[Clip], Sequence[Timeline]]] = {
        "1-NN on raw joints": lambda clip: [scan(clip, classify, dataset.classes, options=Scan(windows=durations))]
    }
    for path, model in zip(models, ready, strict=True):
        methods[path] = partial(model.timeline, classifier="answers")
    recordings = [assemble(dataset, test, seed=seed) for seed in range(ASSEMBLIES)]
    print("| | frame accuracy | edit | F1@10 | F1@25 | F1@50 | mAP@0.5 |\n|---|---|---|---|---|---|---|")
    for name, method in methods.items():
        scores = [
            score_timelines([method(clip)[0] for clip, _ in own], [truth for _, truth in own]) for own in recordings
        ]
        cells = [_cell([100 * one[measure] for one in scores]) for measure in scores[0]]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def delay(dataset: Dataset, split: str, models: Sequence[str]) -> None:
    """Print how long after its start an action is recognised in a stream, and how many are."""
    _, test = dataset.split(split)
    print("| | recognised before the end | seconds after the start, median | share of the action |\n|---|---|---|---|")
    for path in models:
        model = fitted(path, dataset, split)
        shares: list[float] = []
        seconds: list[float] = []
        parts: list[float] = []
        for seed in range(ASSEMBLIES):
            found = [one for own in assemble(dataset, test, seed=seed) for one in _delays(model, *own)]
            known = [one for one in found if one is not None]
            shares.append(100 * len(known) / len(found))
            seconds.append(float(np.median([one[0] for one in known])))
            parts.append(100 * float(np.median([one[1] for one in known])))
        print(f"| {path} | {_cell(shares)} % | {_cell(seconds, 2)} | {_cell(parts)} % |", flush=True)


def _delays(model: Model, clip: Clip, truth: Sequence[Annotation]) -> list[tuple[float, float] | None]:
    """Return seconds and share of each action until the first right answer; None if there is none before its end."""
    stream = model.stream(fps=clip.fps, classifier="answers", skeleton=clip.skeleton, match_joints=True)
    answers = [
        one
        for position, seen in zip(clip.position[:, 0], clip.visible[:, 0], strict=True)
        for one in stream.push(np.where(seen[:, None], position, np.nan))
    ]
    found: list[tuple[float, float] | None] = []
    for own in truth:
        right = [one.time for one in answers if own.start <= one.time <= own.end and one.label == own.label]
        waited = None if not right else right[0] - own.start
        found.append(None if waited is None else (waited, waited / (own.end - own.start)))
    return found


def discovery(dataset: Dataset, split: str, models: Sequence[str]) -> None:
    """Print the agreement of clusters of test clips with their classes."""
    _, test = dataset.split(split)
    labels = dataset.labels[test]
    vectors = {"raw joints": raw_joints(dataset, test).numpy()}
    for path in models:
        vectors[path] = load(path).embedder(dataset).embed_dataset(dataset, test).numpy()
    ways = {
        "k-means, true number": [Discovery(motifs=len(dataset.classes), seed=seed) for seed in range(ASSEMBLIES)],
        "k-means, number by stability": [Discovery(seed=seed) for seed in range(ASSEMBLIES)],
        "HDBSCAN": [Discovery(method="hdbscan", min_size=5)],
    }
    print(f"| | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for name, own in vectors.items():
        found = [[discover(own, options) for options in some] for some in ways.values()]
        cells = [
            f"{_cell([100 * adjusted_mutual_info_score(labels, one.labels) for one in some])} "
            f"({_cell([one.num_motifs for one in some], 0)} motifs)"
            for some in found
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cell(values: Sequence[float], digits: int = 1) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 and np.std(values) > 0 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    WHAT = {"timelines": timelines, "delay": delay, "discovery": discovery}
    WHAT[sys.argv[1]](Dataset(sys.argv[2]), sys.argv[3], sys.argv[4:])
