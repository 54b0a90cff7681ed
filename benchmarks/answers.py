"""Quality of timelines, streams and discovery: python -m benchmarks.answers WHAT DATASET SPLIT MODEL...

WHAT is one of

- timelines: recordings assembled from test clips (three assemblies; transitions have no label), with a classifier of
  all training clips and of windows cut from them, beside the nearest neighbour on raw joints in the same windows;
- delay: the same recordings as streams: how long after its start an action is recognised;
- discovery: adjusted mutual information of k-means and HDBSCAN with the true classes, which they do not know.

Several models that are joined by commas (seeds of one recipe) share a row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from ulna.analysis.discovery import Discovery, discover
from ulna.batch import Batch
from ulna.core import Clip
from ulna.dataset import Dataset, assemble
from ulna.evaluation.baselines import raw_joints, raw_joints_of
from ulna.evaluation.segmentation import score_timelines
from ulna.formats.annotations import Annotation
from ulna.models import Model, Scan, Smoothing, Timeline, load
from ulna.models.classifier import ClassifierConfig
from ulna.models.stream import StreamOptions
from ulna.models.timeline import scan
from ulna.models.training_windows import TrainingWindows

ASSEMBLIES = 3
DECODERS = {"Viterbi": Smoothing(), "hysteresis": Smoothing(method="hysteresis")}
Method = Callable[[Clip], Timeline]


def fitted(path: str, dataset: Dataset, split: str, *, windows: bool) -> Model:
    """Return a model with a classifier of all training clips."""
    model = load(path)
    model.fit(dataset, split=split, windows=windows, classifier="answers")
    return model


def nearest(clips: list[Clip], known: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class of the nearest training clip on raw joints, as probabilities."""
    found = raw_joints_of(Batch.from_clips(clips)).numpy()
    return np.eye(num_classes, dtype=np.float32)[labels[(found @ known.T).argmax(axis=1)]]


def raw_method(dataset: Dataset, train: np.ndarray, *, windows: bool) -> Method:
    """Return the nearest neighbour on raw joints among training clips, and windows of them."""
    durations = ClassifierConfig.of(dataset, None, "", clips=train).durations
    known, labels = raw_joints(dataset, train).numpy(), dataset.labels[train]
    if windows:
        added = TrainingWindows.of(dataset, train, durations)
        known = np.concatenate([known, raw_joints_of(Batch.from_clips(added.clips)).numpy()])
        labels = np.concatenate([labels, labels[added.sources]])
    classify = partial(nearest, known=known, labels=labels, num_classes=len(dataset.classes))
    return lambda clip: scan(clip, classify, dataset.classes, options=Scan(windows=durations))


def timelines(dataset: Dataset, split: str, models: Sequence[str]) -> None:
    """Print the measures of timelines of assembled recordings."""
    train, test = dataset.split(split)
    recordings = [assemble(dataset, test, seed=seed) for seed in range(ASSEMBLIES)]
    print("| | trained on | decoder | frame accuracy | edit | F1@10 | F1@25 | F1@50 | mAP@0.5 |\n" + "|---" * 9 + "|")
    for windows in (False, True):
        trained_on = "clips and windows" if windows else "clips"
        _show("1-NN on raw joints", trained_on, [raw_method(dataset, train, windows=windows)], recordings)
        for paths in models:
            ready = [fitted(path, dataset, split, windows=windows) for path in paths.split(",")]
            _show(paths, trained_on, [partial(_first, model) for model in ready], recordings)


def _first(model: Model, clip: Clip) -> Timeline:
    return model.timeline(clip, classifier="answers")[0]


def _show(
    name: str,
    trained_on: str,
    methods: Sequence[Method],
    recordings: Sequence[Sequence[tuple[Clip, list[Annotation]]]],
) -> None:
    found = [
        ([method(clip) for clip, _ in own], [truth for _, truth in own]) for method in methods for own in recordings
    ]
    for decoder, smoothing in DECODERS.items():
        scores = [score_timelines([one.decoded(smoothing) for one in some], truth) for some, truth in found]
        cells = [_cell([100 * one[measure] for one in scores]) for measure in scores[0]]
        print(f"| {name} | {trained_on} | {decoder} | {' | '.join(cells)} |", flush=True)


def delay(dataset: Dataset, split: str, models: Sequence[str]) -> None:
    """Print how long after its start an action is recognised in a stream, and how many are."""
    _, test = dataset.split(split)
    print("| | recognised before the end | seconds after the start, median | share of the action |\n|---|---|---|---|")
    for paths in models:
        shares: list[float] = []
        seconds: list[float] = []
        parts: list[float] = []
        for path in paths.split(","):
            model = fitted(path, dataset, split, windows=True)
            for seed in range(ASSEMBLIES):
                found = [one for own in assemble(dataset, test, seed=seed) for one in _delays(model, *own)]
                known = [one for one in found if one is not None]
                shares.append(100 * len(known) / len(found))
                seconds.append(float(np.median([one[0] for one in known])))
                parts.append(100 * float(np.median([one[1] for one in known])))
        print(f"| {paths} | {_cell(shares)} % | {_cell(seconds, 2)} | {_cell(parts)} % |", flush=True)


def _delays(model: Model, clip: Clip, truth: Sequence[Annotation]) -> list[tuple[float, float] | None]:
    """Return seconds and share of each action until the first right answer; None if there is none before its end."""
    options = StreamOptions(every=10)
    stream = model.stream(
        fps=clip.fps, classifier="answers", options=options, skeleton=clip.skeleton, match_joints=True
    )
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
    labels, num_classes = dataset.labels[test], len(dataset.classes)
    raw = raw_joints(dataset, test).numpy()
    vectors = {"raw joints": [raw]}
    for paths in models:
        ready = [load(path) for path in paths.split(",")]
        vectors[paths] = [model.embedder(dataset).embed_dataset(dataset, test).numpy() for model in ready]
    ways = {
        "k-means, true number": [Discovery(motifs=num_classes, seed=seed) for seed in range(ASSEMBLIES)],
        "k-means, number by stability": [Discovery(seed=seed) for seed in range(ASSEMBLIES)],
        "HDBSCAN": [Discovery(method="hdbscan", min_size=5)],
    }
    print(f"| | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    plain = [
        100 * adjusted_mutual_info_score(labels, KMeans(num_classes, n_init=5, random_state=seed).fit_predict(raw))
        for seed in range(ASSEMBLIES)
    ]
    print(f"| raw joints, not standardised | {_cell(plain)} ({num_classes} motifs) | | |")
    for name, some in vectors.items():
        found = [[discover(own, options) for own in some for options in way] for way in ways.values()]
        cells = [
            f"{_cell([100 * adjusted_mutual_info_score(labels, one.labels) for one in way])} "
            f"({_cell([one.num_motifs for one in way], 0)} motifs)"
            for way in found
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cell(values: Sequence[float], digits: int = 1) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 and np.std(values) > 0 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    WHAT = {"timelines": timelines, "delay": delay, "discovery": discovery}
    WHAT[sys.argv[1]](Dataset(sys.argv[2]), sys.argv[3], sys.argv[4:])
