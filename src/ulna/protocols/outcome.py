"""Outcomes: what a protocol measured, seed by seed, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import write_text


@dataclass(frozen=True)
class SeedOutcome:
    """One seed's predictions for the test clips after the last epoch; `oracle` is the best epoch by test accuracy."""

    seed: int
    predictions: list[int]
    oracle: float | None = None
    oracle_epoch: int | None = None
    curve: list[float] = field(default_factory=list)
    run: str = ""


@dataclass(frozen=True)
class Outcome:
    """Accuracy of a protocol on the test part of a split. Accuracies are fractions; spread is the sample sd."""

    protocol: str
    options: Mapping[str, Any]
    split: str
    classes: list[str]
    clips: list[str]
    labels: list[int]
    seeds: list[SeedOutcome]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def accuracies(self) -> np.ndarray:
        """(seeds,) accuracy after the last epoch."""
        return np.array([np.mean(np.array(seed.predictions) == np.array(self.labels)) for seed in self.seeds])

    @cached_property
    def by_run(self) -> np.ndarray:
        """(runs,) mean accuracy of each run's seeds; (seeds,) where there is one run only."""
        runs = [seed.run for seed in self.seeds]
        if len(set(runs)) == 1:
            return self.accuracies
        return np.array([self.accuracies[[r == run for r in runs]].mean() for run in dict.fromkeys(runs)])

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

    @property
    def oracle(self) -> float | None:
        """Mean over seeds of the best epoch, chosen on the test part: for comparison with published numbers only."""
        bests = [seed.oracle for seed in self.seeds if seed.oracle is not None]
        return float(np.mean(bests)) if len(bests) == len(self.seeds) else None

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

    def summary(self) -> str:
        """For people: mean, spread, and the oracle named as such."""
        spread = f" ± {100 * self.sd:.1f}" if self.sd is not None else ""
        oracle = f" (oracle best epoch {100 * self.oracle:.1f})" if self.oracle is not None else ""
        return f"{100 * self.mean:.1f}{spread} %{oracle}"

    def save(self, path: Path) -> None:
        values = asdict(self) | {
            "accuracy": self.mean,
            "spread_over": self.spread_over,
            "sd": self.sd,
            "oracle": self.oracle,
            "accuracies": self.accuracies.tolist(),
            "per_class": self.per_class,
            "confusion": self.confusion.round(4).tolist(),
        }
        write_text(path, json.dumps(values))

    @classmethod
    def open(cls, path: Path) -> Outcome:
        """A saved outcome; ValueError if the file is none."""
        try:
            values = json.loads(path.read_text())
            fields = {name: values[name] for name in cls.__dataclass_fields__}
            made = cls(**fields | {"seeds": [SeedOutcome(**seed) for seed in values["seeds"]]})
            made.summary(), made.per_class, dict(made.facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: expected a saved outcome, got a damaged file ({error!r})") from None
        return made


def merge(outcomes: Iterable[Outcome], facts: Mapping[str, Any]) -> Outcome:
    """One outcome with the seeds of several runs of the same protocol, split and clips."""
    outcomes = list(outcomes)
    first = outcomes[0]
    if len({json.dumps([o.protocol, o.split, o.clips, o.options]) for o in outcomes}) > 1:
        raise ValueError("expected outcomes of one protocol on one split to merge, got different ones")
    seeds = [seed for outcome in outcomes for seed in outcome.seeds]
    return Outcome(
        first.protocol, first.options, first.split, first.classes, first.clips, first.labels, seeds, dict(facts)
    )
