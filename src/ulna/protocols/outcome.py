"""Outcomes: what a protocol measured, seed by seed, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import counted, write_text

RESAMPLES = 2000
_AT_ONCE = 1 << 24  # weights of a resample held at once


@dataclass(frozen=True)
class SeedOutcome:
    """One seed's predictions for the test clips after the last epoch; `oracle` is the best epoch by test accuracy.

    `curve` is the test accuracy at the epochs that were looked at, `metrics` what a protocol measures besides
    accuracy, `labelled` the ids of the training clips whose labels were used where they were not all.
    """

    seed: int
    predictions: list[int]
    oracle: float | None = None
    oracle_epoch: int | None = None
    curve: list[float] = field(default_factory=list)
    run: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    labelled: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """Accuracy of a protocol on the test part of a split. Accuracies are fractions; spread is the sample sd.

    `copied` are the places of test clips that are exact copies of training clips: `clean` leaves them out.
    """

    protocol: str
    options: Mapping[str, Any]
    split: str
    classes: list[str]
    clips: list[str]
    labels: list[int]
    seeds: list[SeedOutcome]
    facts: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    copied: list[int] = field(default_factory=list)

    @property
    def file_stem(self) -> str:
        """What files of this protocol are called in a run's folders."""
        return self.protocol.replace(" ", "-")

    @property
    def chosen(self) -> dict[str, Any]:
        """Its options without those that are None, which older files may not know."""
        return {name: value for name, value in self.options.items() if value is not None}

    @cached_property
    def correct(self) -> np.ndarray:
        """(seeds, clips) bool."""
        return np.array([np.array(seed.predictions) == np.array(self.labels) for seed in self.seeds])

    @cached_property
    def accuracies(self) -> np.ndarray:
        """(seeds,) accuracy after the last epoch."""
        return np.asarray(self.correct.mean(axis=1))

    @cached_property
    def correct_by_run(self) -> np.ndarray:
        """(runs, clips) share of each run's seeds that were right; (seeds, clips) where there is one run only."""
        runs = [seed.run for seed in self.seeds]
        if len(set(runs)) == 1:
            return self.correct.astype(float)
        return np.array([self.correct[[r == run for r in runs]].mean(axis=0) for run in dict.fromkeys(runs)])

    @cached_property
    def by_run(self) -> np.ndarray:
        """(runs,) mean accuracy of each run's seeds; (seeds,) where there is one run only."""
        return np.asarray(self.correct_by_run.mean(axis=1))

    @property
    def mean(self) -> float:
        return float(self.by_run.mean())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over runs, or over the probe's seeds where there is one run only."""
        return float(self.by_run.std(ddof=1)) if len(self.by_run) > 1 else None

    @property
    def spread_over(self) -> str:
        """What `sd` is taken over."""
        runs = len({seed.run for seed in self.seeds})
        return f"{runs} runs" if runs > 1 else f"{len(self.seeds)} probe seeds" if len(self.seeds) > 1 else ""

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean: both the test clips and the runs are drawn anew, with replacement."""
        correct = self.correct_by_run
        num_runs, num_clips = correct.shape
        generator = counted(0, "bootstrap")
        means: list[float] = []
        while len(means) < RESAMPLES:
            num = min(RESAMPLES - len(means), max(1, _AT_ONCE // num_clips))
            weights = generator.multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=num) / num_clips
            runs = generator.integers(num_runs, size=(num, num_runs))
            means += np.take_along_axis(weights @ correct.T, runs, axis=1).mean(axis=1).tolist()
        low, high = np.percentile(means, [2.5, 97.5])
        return float(low), float(high)

    @cached_property
    def clean(self) -> Outcome | None:
        """The same without the test clips that are copies of training clips; None if there is none, or no other."""
        kept = sorted(set(range(len(self.labels))) - set(self.copied))
        if len(kept) in (0, len(self.labels)):
            return None
        seeds = [
            SeedOutcome(seed.seed, [seed.predictions[i] for i in kept], run=seed.run, labelled=seed.labelled)
            for seed in self.seeds
        ]
        clips, labels = [self.clips[i] for i in kept], [self.labels[i] for i in kept]
        return Outcome(
            self.protocol, self.options, self.split, self.classes, clips, labels, seeds, self.facts, self.groups
        )

    @property
    def oracle(self) -> float | None:
        """Mean over seeds of the best epoch, chosen on the test part: for comparison with published numbers only."""
        bests = [seed.oracle for seed in self.seeds if seed.oracle is not None]
        return float(np.mean(bests)) if bests and len(bests) == len(self.seeds) else None

    @cached_property
    def confusion(self) -> np.ndarray:
        """(L, L) share of each true class (row) given each label (column), mean over seeds; empty rows are zero."""
        counts = np.zeros((len(self.classes),) * 2)
        for seed in self.seeds:
            np.add.at(counts, (np.array(self.labels), np.array(seed.predictions)), 1)
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    @property
    def per_class(self) -> dict[str, float | None]:
        """Mean accuracy of each class; None where the test part has no clip of it."""
        tested = set(self.labels)
        return {name: float(self.confusion[k, k]) if k in tested else None for k, name in enumerate(self.classes)}

    @property
    def per_group(self) -> dict[str, float]:
        """Mean accuracy over the clips of each group of classes that the data set names."""
        members = {name: {self.classes.index(c) for c in classes} for name, classes in self.groups.items()}
        chosen = {name: [label in known for label in self.labels] for name, known in members.items()}
        return {name: float(self.correct_by_run[:, own].mean()) for name, own in chosen.items() if any(own)}

    @property
    def metrics(self) -> dict[str, float]:
        """Mean over seeds of what the protocol measures besides accuracy."""
        names = self.seeds[0].metrics if self.seeds else {}
        return {name: float(np.mean([seed.metrics[name] for seed in self.seeds])) for name in names}

    def summary(self) -> str:
        """For people: mean, spread, and the oracle named as such."""
        spread = f" ± {100 * self.sd:.1f}" if self.sd is not None else ""
        oracle = f" (oracle best epoch {100 * self.oracle:.1f})" if self.oracle is not None else ""
        return f"{100 * self.mean:.1f}{spread} %{oracle}"

    def save(self, path: Path) -> None:
        """Write what was measured, and beside it what follows from it, for people and other programs."""
        clean = {"clean": self.clean._derived()} if self.clean else {}
        values = asdict(self) | self._derived() | clean | {"confusion": self.confusion.round(4).tolist()}
        write_text(path, json.dumps(values))

    def _derived(self) -> dict[str, Any]:
        return {
            "num_test": len(self.labels),
            "accuracy": self.mean,
            "sd": self.sd,
            "spread_over": self.spread_over,
            "interval": self.interval,
            "oracle": self.oracle,
            "accuracies": self.accuracies.tolist(),
            "per_class": self.per_class,
            "per_group": self.per_group,
            "metrics": self.metrics,
        }

    @classmethod
    def open(cls, path: Path) -> Outcome:
        """A saved outcome; ValueError if the file is none."""
        try:
            values = json.loads(path.read_text())
            wanted = [f.name for f in fields(cls) if f.name in values or f.default_factory is MISSING]
            seeds = [SeedOutcome(**seed) for seed in values["seeds"]]
            made = cls(**{name: values[name] for name in wanted} | {"seeds": seeds})
            made.summary(), made.per_class, made.per_group, made.clean, dict(made.facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: expected a saved outcome, got a damaged file ({error!r})") from None
        return made


def merge(outcomes: Iterable[Outcome], facts: Mapping[str, Any]) -> Outcome:
    """One outcome with the seeds of several runs of the same protocol, split and clips."""
    outcomes = list(outcomes)
    first = outcomes[0]
    if len({json.dumps([o.protocol, o.split, o.clips, o.chosen]) for o in outcomes}) > 1:
        raise ValueError("expected outcomes of one protocol on one split to merge, got different ones")
    seeds = [seed for outcome in outcomes for seed in outcome.seeds]
    return Outcome(
        first.protocol, first.options, first.split, first.classes, first.clips, first.labels, seeds, dict(facts),
        first.groups, first.copied,
    )  # fmt: skip


def pool(folds: Iterable[Outcome]) -> Outcome:
    """One outcome over the folds of a data set: the test clips of all of them, by the seeds in their order."""
    folds = list(folds)
    first = folds[0]
    clips = [clip for fold in folds for clip in fold.clips]
    alike = {json.dumps([o.protocol, o.classes, o.chosen, len(o.seeds)]) for o in folds}
    if len(alike) > 1 or len(set(clips)) < len(clips):
        raise ValueError("expected outcomes of one protocol on folds that share no test clip, got others")
    ends = np.cumsum([len(fold.clips) for fold in folds])
    seeds = [
        SeedOutcome(
            same[0].seed, [label for seed in same for label in seed.predictions], run=f"seed {place}",
            metrics={name: float(np.mean([seed.metrics[name] for seed in same])) for name in same[0].metrics},
        )
        for place, same in enumerate(zip(*(fold.seeds for fold in folds), strict=True))
    ]  # fmt: skip
    return Outcome(
        first.protocol,
        first.options,
        "+".join(fold.split for fold in folds),
        first.classes,
        clips,
        [label for fold in folds for label in fold.labels],
        seeds,
        {**first.facts, "folds": [dict(fold.facts) for fold in folds]},
        first.groups,
        [int(end) - len(fold.clips) + place for fold, end in zip(folds, ends, strict=True) for place in fold.copied],
    )
