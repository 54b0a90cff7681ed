"""Results: what a protocol measured, seed by seed, and how it is saved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, model_validator

from ulna.core import Config, InputError, random_stream, read_config, write_text
from ulna.models import Provenance, Recipe

RESAMPLES = 2000
_WEIGHTS_AT_ONCE = 1 << 24  # of bootstrap resamples
Baseline = Literal["random_init", "raw_joints", "chance"]
Kind = Literal["trained", Baseline]
Label = Annotated[int, Field(ge=0, le=10_000_000)]


class ResultKey(Config):
    """What a result is a result of."""

    protocol: Annotated[str, Field(max_length=60)]
    """Name of the protocol."""
    variant: Annotated[str, Field(max_length=60)] = ""
    """Variant of the protocol, such as the share of labels."""
    options: dict[str, JsonValue] = {}
    """All options of the protocol."""
    split: Annotated[str, Field(max_length=200)]
    """Split whose test part was predicted; several folds are joined by "+"."""
    pooling: Annotated[str, Field(max_length=60)] = ""
    """Pooling of the embeddings; empty for baselines without an encoder."""
    min_frames: Annotated[int, Field(ge=0)] = 0
    """Clips with fewer frames were left out."""
    kind: Kind = "trained"
    """What was evaluated: the trained model, the same with randomly initialised weights, the nearest neighbour on raw
    joints, or always the most frequent class."""

    @property
    def title(self) -> str:
        """The key for people."""
        if self.kind == "raw_joints":
            return "1-NN on raw joints" + (f", {self.variant}" if self.variant else "")
        if self.kind == "chance":
            return "chance level (most frequent class)"
        name = " ".join(filter(None, (self.protocol, self.variant)))
        return f"{name}, random init" if self.kind == "random_init" else name

    def file_name(self, *, default_pooling: str) -> str:
        """Return the name of the file of a result in a model's folder.

        Args:
            default_pooling: Pooling that is not mentioned.
        """
        parts = [self.kind if self.kind in ("raw_joints", "chance") else self.protocol, self.variant]
        if self.pooling and self.pooling != default_pooling:
            parts.append(self.pooling)
        if self.kind == "random_init":
            parts.append("random_init")
        if self.min_frames:
            parts.append(f"from{self.min_frames}frames")
        return "-".join(filter(None, [*parts, self.split]))


class SeedResult(Config):
    """One seed's predictions for the test clips after the last epoch."""

    seed: int
    """Seed of the protocol."""
    predictions: list[Label]
    """Class index of each test clip."""
    oracle: float | None = None
    """Highest test accuracy of all epochs: for comparison with published numbers only."""
    oracle_epoch: int | None = None
    """Epoch of the oracle."""
    curve: list[float] = []
    """Test accuracy at the epochs at which the test clips were predicted."""
    run: str = ""
    """Name of the model that was evaluated."""
    metrics: dict[str, float] = {}
    """What the protocol measures besides accuracy."""
    labelled: list[str] = []
    """Ids of the training clips whose labels were used, if not all."""


class EvalMetadata(Config):
    """What is behind a result."""

    provenance: Provenance
    """Command, machine, versions and commit."""
    recipe: Recipe
    """Recipe of the model."""
    pretrained_on: str
    """Fingerprints of the datasets the model was pretrained on, joined by "+"."""
    start: str = ""
    """Recipe of the model that the pretraining started from; empty if it started from random weights."""
    dataset: str
    """Folder of the dataset that was evaluated on."""
    fingerprint: str
    """Fingerprint of that dataset."""
    seen_test_clips: int | None = None
    """Number of test clips the model was pretrained on (without labels)."""
    missing_joints: list[str] = []
    """Joints of the model's skeleton that the clips do not have."""
    runs: list[str]
    """Names of the models."""
    seconds: float
    """Duration of the evaluation."""
    training_minutes: list[float]
    """Duration of the pretraining of each model."""


class EvalResult(Config):
    """Accuracy of a protocol on the test part of a split. Accuracies are shares from 0 to 1."""

    key: ResultKey
    """What was evaluated and how."""
    classes: Annotated[list[str], Field(min_length=1)]
    """Names of the classes."""
    clips: Annotated[list[str], Field(min_length=1)]
    """Ids of the test clips."""
    labels: list[Label]
    """Class index of each test clip."""
    seeds: Annotated[list[SeedResult], Field(min_length=1)]
    """Results by seed."""
    groups: dict[str, list[str]] = {}
    """Names of classes by name of a group."""
    copied: list[Annotated[int, Field(ge=0)]] = []
    """Indices of test clips that are exact copies of training clips; `clean` leaves them out."""
    metadata: EvalMetadata | None = None
    """What is behind the result; None for baselines without a model."""

    @model_validator(mode="after")
    def _fits(self) -> EvalResult:
        num = len(self.clips)
        if len(self.labels) != num or any(len(seed.predictions) != num for seed in self.seeds):
            raise ValueError(f"expected a label and predictions for each of the {num} clips, found other numbers")
        if max(self.labels, default=0) >= len(self.classes) or any(
            max(seed.predictions, default=0) >= len(self.classes) for seed in self.seeds
        ):
            raise ValueError(f"expected labels below {len(self.classes)} (the number of classes), found others")
        if max(self.copied, default=0) >= num or {c for g in self.groups.values() for c in g} - set(self.classes):
            raise ValueError("expected copies among the clips and groups of the classes, found others")
        if len({tuple(sorted(seed.metrics)) for seed in self.seeds}) > 1:
            raise ValueError("expected the same metrics for all seeds, found different ones")
        return self

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
        """(runs, clips) share of each run's seeds that were correct; (seeds, clips) if there is one run only."""
        runs = [seed.run for seed in self.seeds]
        if len(set(runs)) == 1:
            return self.correct.astype(float)
        return np.array([self.correct[[r == run for r in runs]].mean(axis=0) for run in dict.fromkeys(runs)])

    @cached_property
    def by_run(self) -> np.ndarray:
        """(runs,) mean accuracy of each run's seeds; (seeds,) if there is one run only."""
        return np.asarray(self.correct_by_run.mean(axis=1))

    @property
    def accuracy(self) -> float:
        """Mean accuracy over runs."""
        return float(self.by_run.mean())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over runs, or over seeds if there is one run only."""
        return float(self.by_run.std(ddof=1)) if len(self.by_run) > 1 else None

    @property
    def spread_over(self) -> str:
        """What `sd` is taken over."""
        runs = len({seed.run for seed in self.seeds})
        return f"{runs} models" if runs > 1 else f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else ""

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean: test clips and runs are resampled with replacement."""
        correct = self.correct_by_run
        num_runs, num_clips = correct.shape
        generator = random_stream(0, "bootstrap")
        means: list[float] = []
        while len(means) < RESAMPLES:
            num = min(RESAMPLES - len(means), max(1, _WEIGHTS_AT_ONCE // num_clips))
            weights = generator.multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=num) / num_clips
            runs = generator.integers(num_runs, size=(num, num_runs))
            means += np.take_along_axis(weights @ correct.T, runs, axis=1).mean(axis=1).tolist()
        low, high = np.percentile(means, [2.5, 97.5])
        return float(low), float(high)

    @cached_property
    def clean(self) -> EvalResult | None:
        """The result without test clips that are copies of training clips; None if there are none, or no others."""
        kept = sorted(set(range(len(self.labels))) - set(self.copied))
        if len(kept) in (0, len(self.labels)):
            return None
        seeds = [
            SeedResult(
                seed=seed.seed, predictions=[seed.predictions[i] for i in kept], run=seed.run, labelled=seed.labelled
            )
            for seed in self.seeds
        ]
        return self.replace(
            clips=[self.clips[i] for i in kept], labels=[self.labels[i] for i in kept], seeds=seeds, copied=[]
        )

    @property
    def oracle(self) -> float | None:
        """Mean over seeds of the best epoch by test accuracy: for comparison with published numbers only."""
        bests = [seed.oracle for seed in self.seeds if seed.oracle is not None]
        return float(np.mean(bests)) if bests and len(bests) == len(self.seeds) else None

    @cached_property
    def confusion(self) -> np.ndarray:
        """(L, L) share of clips of each class (row) predicted as each class (column), over all seeds."""
        from sklearn.metrics import confusion_matrix

        truth = np.tile(self.labels, len(self.seeds))
        predicted = np.concatenate([seed.predictions for seed in self.seeds])
        counts = confusion_matrix(truth, predicted, labels=range(len(self.classes)))
        return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    @property
    def per_class(self) -> dict[str, float | None]:
        """Mean accuracy of each class; None for classes without a test clip."""
        tested = set(self.labels)
        return {name: float(self.confusion[k, k]) if k in tested else None for k, name in enumerate(self.classes)}

    @property
    def per_group(self) -> dict[str, float]:
        """Mean accuracy over the clips of each group of classes."""
        members = {name: {self.classes.index(c) for c in classes} for name, classes in self.groups.items()}
        chosen = {name: [label in known for label in self.labels] for name, known in members.items()}
        return {name: float(self.correct_by_run[:, own].mean()) for name, own in chosen.items() if any(own)}

    @property
    def metrics(self) -> dict[str, float]:
        """Mean over seeds of what the protocol measures besides accuracy."""
        return {name: float(np.mean([seed.metrics[name] for seed in self.seeds])) for name in self.seeds[0].metrics}

    def summary(self) -> str:
        """Return mean, spread and oracle for people."""
        spread = f" ± {100 * self.sd:.1f}" if self.sd is not None else ""
        oracle = f" (oracle {100 * self.oracle:.1f})" if self.oracle is not None else ""
        return f"{100 * self.accuracy:.1f}{spread} %{oracle}"

    def save(self, path: Path) -> None:
        """Write the result as JSON, with what is derived from it for other programs."""
        content = self.to_json() | {
            "derived": self._summary() | ({"clean": self.clean._summary()} if self.clean else {})
        }
        write_text(path, json.dumps(content))

    def _summary(self) -> dict[str, Any]:
        return {
            "num_test": len(self.labels),
            "accuracy": self.accuracy,
            "sd": self.sd,
            "spread_over": self.spread_over,
            "interval": self.interval,
            "oracle": self.oracle,
            "per_class": self.per_class,
            "per_group": self.per_group,
            "metrics": self.metrics,
        }

    @classmethod
    def open(cls, path: Path) -> EvalResult:
        """Read a saved result; raises InputError if the file is damaged."""
        saved = read_config(path, _SavedResult, what="a saved result", advice="Evaluate again.")
        return cls(**{name: getattr(saved, name) for name in cls.model_fields})


class _SavedResult(EvalResult):
    """A result in a file: what is derived from the rest is not read back."""

    derived: JsonValue = None


def merge(results: Iterable[EvalResult], metadata: EvalMetadata | None) -> EvalResult:
    """Return one result with the seeds of several models, evaluated alike on the same clips."""
    results = list(results)
    first = results[0]
    if any((result.key, result.clips) != (first.key, first.clips) for result in results):
        raise InputError("expected results of one protocol on one split to merge, found different ones")
    return first.replace(seeds=[seed for result in results for seed in result.seeds], metadata=metadata)


def pool_folds(folds: Iterable[EvalResult]) -> EvalResult:
    """Return one result over the folds of a data set: the test clips of all folds, seed by seed."""
    folds = list(folds)
    first = folds[0]
    clips = [clip for fold in folds for clip in fold.clips]
    alike = all(
        fold.key.replace(split="") == first.key.replace(split="")
        and (fold.classes, len(fold.seeds)) == (first.classes, len(first.seeds))
        for fold in folds
    )
    if not alike or len(set(clips)) < len(clips):
        raise InputError("expected results of one protocol on folds that share no test clip, found others")
    ends = np.cumsum([len(fold.clips) for fold in folds])
    seeds = [
        SeedResult(
            seed=same[0].seed,
            predictions=[label for seed in same for label in seed.predictions],
            run=f"seed {number}",
            metrics={name: float(np.mean([seed.metrics[name] for seed in same])) for name in same[0].metrics},
        )
        for number, same in enumerate(zip(*(fold.seeds for fold in folds), strict=True))
    ]
    copied = [int(end) - len(fold.clips) + i for fold, end in zip(folds, ends, strict=True) for i in fold.copied]
    return first.replace(
        key=first.key.replace(split="+".join(fold.key.split for fold in folds)),
        clips=clips,
        labels=[label for fold in folds for label in fold.labels],
        seeds=seeds,
        copied=copied,
    )
