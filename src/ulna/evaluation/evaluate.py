"""Evaluation: models under a protocol, beside what they must exceed."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from lightning.fabric.utilities import rank_zero_only

from ulna.core import InputError, UlnaWarning, check_range
from ulna.dataset import Dataset
from ulna.evaluation.baselines import chance_level, nearest_raw_joints
from ulna.evaluation.linear import Linear
from ulna.evaluation.protocol import LabelledSplit, Protocol, RunOptions
from ulna.evaluation.results import Baseline, EvalMetadata, EvalResult, Kind, ResultKey, SeedResult, merge
from ulna.models import Classifier, Embedder, Model, load, provenance
from ulna.models.classifier import FOLDER
from ulna.models.folder import RESULTS
from ulna.training import Hardware

WORK = "finetuning.unfinished"


@dataclass(frozen=True)
class Evaluation:
    """A protocol's result, beside what it must exceed.

    Args:
        result: Result of the protocol.
        random_init: The same with randomly initialised encoders; None if it was not asked for or makes no sense.
        raw_joints: Nearest neighbour on raw joints; None if it was not asked for.
        chance: Always the most frequent class; None if it was not asked for.
    """

    result: EvalResult
    random_init: EvalResult | None = None
    raw_joints: EvalResult | None = None
    chance: EvalResult | None = None

    @property
    def results(self) -> list[EvalResult]:
        """All results, the protocol's own first."""
        return [r for r in (self.result, self.chance, self.raw_joints, self.random_init) if r is not None]

    def table(self) -> str:
        """Return a table of accuracies for people."""
        first = self.result
        options = ", ".join(f"{name} {value}" for name, value in first.key.options.items())
        lines = [f"split {first.key.split}, {len(first.labels)} test clips; {first.key.title}: {options}"]
        lines += [_row(result) for result in self.results]
        if first.clean:
            lines.append(
                f"clean: without {len(first.copied)} test clips that are exact copies of training clips; "
                f"{len(first.clean.labels)} remain"
            )
            lines += [_row(result.clean) for result in self.results if result.clean]
        if first.metadata and first.metadata.missing_joints:
            lines.append(f"  missing joints of the clips' skeleton: {', '.join(first.metadata.missing_joints)}")
        if first.metrics:
            lines.append("  " + ", ".join(f"{name} {100 * value:.1f}" for name, value in first.metrics.items()))
        for kind, values in (("group", first.per_group), ("class", first.per_class)):
            known = [f"{name} {100 * a:.0f}" for name, a in values.items() if a is not None]
            if known:
                lines.append(f"  per {kind}: " + ", ".join(known))
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the result as JSON, and the others beside it."""
        for result in self.results[1:]:
            result.save(path.with_suffix(f".{result.key.kind}.json"))
        self.result.save(path)


def _row(result: EvalResult) -> str:
    low, high = (100 * end for end in result.interval)
    spread = f", {result.spread_over}" if result.spread_over else ""
    return f"  {result.key.title:36} {result.summary():32} [{low:.1f}, {high:.1f}{spread}]"


def evaluate(
    model: Model | str | Path | Sequence[Model | str | Path],
    dataset: Dataset | str | Path,
    protocol: Protocol | None = None,
    *,
    split: str | None = None,
    seeds: int = 3,
    pooling: str | None = None,
    min_frames: int = 0,
    baselines: bool | Collection[Baseline] = True,
    match_joints: bool = False,
    save: bool = False,
    device: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
) -> Evaluation:
    """Evaluate a model on labelled clips. The last epoch is reported, and the test clips choose nothing.

    The classifier of the first seed becomes one of the model's classifiers, which `Model.predict` uses.

    Args:
        model: A model or its folder; several models of one recipe with different seeds are evaluated together, with
            mean and spread over models.
        dataset: A dataset with labels, or its folder.
        protocol: How to evaluate; linear evaluation by default.
        split: Split whose training labels are used and whose test part is predicted; the recipe's by default.
        seeds: Number of seeds of the protocol for each model.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        min_frames: Leave clips with fewer frames out of both parts of the split.
        baselines: Also evaluate a randomly initialised encoder, the nearest neighbour on raw joints and chance level,
            or some of them: "random_init", "raw_joints", "chance".
        match_joints: Accept a dataset of another skeleton and match joints by name.
        save: Write results and classifiers into the model folders, label subsets into the dataset, and checkpoints of
            fine-tuning, from which an interrupted evaluation continues.
        device: "cpu", "cuda", or "auto": a GPU if there is one. For models given as folders and for fine-tuning.
        devices: Number of devices for fine-tuning, or "auto" for all.
        strategy: Lightning's strategy for several devices.

    Returns:
        The results.

    Raises:
        InputError: If models, dataset, split and protocol do not fit together.
    """
    evaluator = Evaluator(
        model, dataset, split=split, pooling=pooling, min_frames=min_frames, match_joints=match_joints, save=save,
        device=device, devices=devices, strategy=strategy,
    )  # fmt: skip
    return evaluator.evaluate(protocol or Linear(), seeds=seeds, baselines=baselines)


class Evaluator:
    """Models and labelled clips, loaded once to be evaluated under several protocols.

    Args:
        model: A model or its folder, or several of one recipe, as for `evaluate`.
        dataset: A dataset with labels, or its folder.
        split: Split whose training labels are used and whose test part is predicted; the recipe's by default.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        min_frames: Leave clips with fewer frames out of both parts of the split.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        save: Write results, classifiers, label subsets and checkpoints, as for `evaluate`.
        keep_embeddings: Embed the clips only once for all protocols, at the cost of memory.
        device: "cpu", "cuda", or "auto": a GPU if there is one. For models given as folders and for fine-tuning.
        devices: Number of devices for fine-tuning, or "auto" for all.
        strategy: Lightning's strategy for several devices.

    Raises:
        InputError: If models, dataset and split do not fit together.
    """

    def __init__(
        self,
        model: Model | str | Path | Sequence[Model | str | Path],
        dataset: Dataset | str | Path,
        *,
        split: str | None = None,
        pooling: str | None = None,
        min_frames: int = 0,
        match_joints: bool = False,
        save: bool = False,
        keep_embeddings: bool = False,
        device: str = "auto",
        devices: int | str = 1,
        strategy: str = "auto",
    ) -> None:
        given = [model] if isinstance(model, Model | str | Path) else list(model)
        dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.models = [one if isinstance(one, Model) else load(one, device=device) for one in given]
        check_same_recipe(self.models)
        chosen = split or self.models[0].recipe.split
        if chosen is None:
            raise InputError(
                f"expected a split, since the recipe names none; {dataset.path} has {', '.join(dataset.splits)}"
            )
        if save and any(one.path is None or one.is_read_only for one in self.models):
            raise InputError(
                "expected saved models to write results to, found one that was not saved or is read-only. "
                "Call Model.save."
            )
        self.data = LabelledSplit.of(dataset, chosen, min_frames=min_frames, keep_embeddings=keep_embeddings)
        self.pooling = pooling
        self.match_joints = match_joints
        self.save = save
        device = self.models[0].device.type
        self.hardware = Hardware(device=device, devices=devices, strategy=strategy)  # type: ignore[arg-type]
        self._embedders = [one.embedder(dataset, pooling=pooling, match_joints=match_joints) for one in self.models]
        self._random: dict[int, Embedder] = {}  # by seed, if embeddings are kept
        dataset.verify()
        for one in self.models:
            warn_about_clips(one, self.data)

    def evaluate(
        self, protocol: Protocol, *, seeds: int = 3, baselines: bool | Collection[Baseline] = True
    ) -> Evaluation:
        """Evaluate the models under a protocol.

        Args:
            protocol: How to evaluate.
            seeds: Number of seeds of the protocol for each model.
            baselines: All, none or some of the baselines, as for `evaluate`.

        Raises:
            InputError: If the protocol does not fit the models or the clips.
        """
        check_range("seeds", seeds, 1, 10_000)
        wanted = frozenset(get_args(Baseline) if baselines is True else baselines or ())
        draws = tuple(one.recipe.training.seed * seeds + number for one in self.models for number in range(seeds))
        task = _Task(
            protocol, self.data, seeds, self.pooling, wanted, self.match_joints, self.save, self.hardware, draws,
            self._random,
        )  # fmt: skip
        evaluated = [task.evaluate(one, own) for one, own in zip(self.models, self._embedders, strict=True)]
        if self.save and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            for one, (results, classifier) in zip(self.models, evaluated, strict=True):
                task.save(one, results, classifier)
        return over_models([results for results, _ in evaluated])


def warn_about_clips(model: Model, data: LabelledSplit) -> None:
    """Warn about test clips that were seen in pretraining or occur in the training part."""
    seen = model.count_seen(data.dataset, data.test)
    if seen:
        warnings.warn(
            f"{seen} test clips were seen in pretraining of {model.name!r} (without labels)", UlnaWarning, stacklevel=3
        )
    if data.copied:
        warnings.warn(
            f"{len(data.copied)} test clips also occur in the training part; report accuracy without them as well",
            UlnaWarning,
            stacklevel=3,
        )


@dataclass(frozen=True)
class _Task:
    """What is done with each model."""

    protocol: Protocol
    data: LabelledSplit
    seeds: int
    pooling: str | None
    baselines: frozenset[Baseline]
    match_joints: bool
    save_results: bool
    hardware: Hardware
    draws: tuple[int, ...]  # seeds of all models
    random: dict[int, Embedder]

    def evaluate(self, model: Model, embedder: Embedder) -> tuple[Evaluation, Classifier | None]:
        """Return the results of one model, and the classifier of the first seed."""
        metadata = self._metadata(model, embedder)
        result, classifier = self._run(model, embedder, "trained", metadata)
        if classifier is not None:
            model.classifiers[self._name(model, result)] = classifier
        random_init = None
        if "random_init" in self.baselines and self.protocol.uses_pretrained:
            random_init, _ = self._run(model, embedder, "random_init", metadata)
        raw_joints = self.raw_joints if "raw_joints" in self.baselines else None
        chance = chance_level(self.data) if "chance" in self.baselines else None
        return Evaluation(result, random_init, raw_joints, chance), classifier

    @cached_property
    def raw_joints(self) -> EvalResult:
        """Result of the nearest neighbour on raw joints, which is the same for all models."""
        return nearest_raw_joints(self.data, self.protocol, self.draws)

    def _run(
        self, model: Model, embedder: Embedder, kind: Kind, metadata: EvalMetadata
    ) -> tuple[EvalResult, Classifier | None]:
        began = time.perf_counter()
        is_fresh = kind == "random_init" or not self.protocol.uses_pretrained
        first = model.recipe.training.seed * self.seeds
        num = self.seeds if self.protocol.is_random or is_fresh else 1
        seeds: list[SeedResult] = []
        kept: Classifier | None = None
        for one, classifier in self._results(model, embedder, range(first, first + num), is_fresh=is_fresh):
            # Randomly initialised encoders are runs of their own.
            run = f"{model.name}, weights {one.seed}" if is_fresh else model.name
            seeds.append(one.replace(run=run))
            kept = classifier if one.seed == first else kept
        key = ResultKey(
            protocol=self.protocol.name,
            variant=self.protocol.variant,
            options=self.protocol.to_json(),
            split=self.data.split,
            pooling=embedder.pooling,
            min_frames=self.data.min_frames,
            kind=kind,
        )
        result = self.data.result(key, seeds, metadata.replace(seconds=round(time.perf_counter() - began, 1)))
        return result, kept if kind == "trained" else None

    def _results(
        self, model: Model, embedder: Embedder, seeds: range, *, is_fresh: bool
    ) -> Iterator[tuple[SeedResult, Classifier | None]]:
        """Yield the results of all seeds: of one trained encoder, or of a new encoder for each seed."""
        options = RunOptions(self.hardware, self._work(model), self.save_results)
        if not is_fresh:
            yield from self.protocol.run(embedder, self.data, seeds=seeds, options=options)
            return
        for seed in seeds:
            own = RunOptions(self.hardware, None, self.save_results)
            yield from self.protocol.run(self._fresh(model, embedder, seed), self.data, seeds=[seed], options=own)

    def _fresh(self, model: Model, embedder: Embedder, seed: int) -> Embedder:
        """Return an embedder with randomly initialised weights, the same one again if embeddings are kept."""
        found = self.random.get(seed)  # models of one recipe differ in nothing else
        if found is None:
            found = Embedder(model.random_init(seed).encoder, embedder.preprocessor, embedder.pooling)
            if self.data.embeddings is not None:
                self.random[seed] = found
        return found

    def _work(self, model: Model) -> Path | None:
        """Return the folder for checkpoints."""
        if not self.save_results or model.path is None or self.protocol.name != "finetune":
            return None
        name = f"{self.protocol.variant or 'all'}-{self.data.split}-{self.data.dataset.fingerprint}"
        options = [
            self.protocol.to_json(),
            self.pooling,
            self.match_joints,
            self.data.min_frames,
        ]  # others must not continue a checkpoint
        return model.path / WORK / f"{name}-{hashlib.sha256(json.dumps(options).encode()).hexdigest()[:8]}"

    def _metadata(self, model: Model, embedder: Embedder) -> EvalMetadata:
        """Return what is behind a model's results, without the duration."""
        dataset = self.data.dataset
        return EvalMetadata(
            provenance=provenance(),
            recipe=model.recipe,
            pretrained_on=model.config.fingerprints,
            start=model.config.start_recipe,
            dataset=str(dataset.path.resolve()),
            fingerprint=dataset.fingerprint,
            seen_test_clips=model.count_seen(dataset, self.data.test),
            missing_joints=embedder.preprocessor.missing_joints(dataset.skeleton),
            runs=[model.name],
            seconds=0,
            training_minutes=[round(model.config.total_seconds / 60, 1)],
        )

    def _name(self, model: Model, result: EvalResult) -> str:
        """Return the name of the classifier."""
        pooling = "" if result.key.pooling == model.recipe.pooling else result.key.pooling
        return "-".join(filter(None, (result.key.protocol, result.key.variant, pooling)))

    def save(self, model: Model, evaluation: Evaluation, classifier: Classifier | None) -> None:
        """Write results and classifier into a model's folder, after everything was computed."""
        assert model.path is not None
        own = self.data.dataset.fingerprint == model.config.data.fingerprint
        ending = "" if own else f"-{self.data.dataset.fingerprint[:8]}"
        for result in evaluation.results:
            name = result.key.file_name(default_pooling=model.recipe.pooling)
            result.save(model.path / RESULTS / f"{name}{ending}.json")
        if classifier is not None:
            classifier.save(model.path / FOLDER, self._name(model, evaluation.result))
        work = self._work(model)
        if work is not None and work.exists():
            _remove(work)


def _remove(work: Path) -> None:
    shutil.rmtree(work)
    if not any(work.parent.iterdir()):
        work.parent.rmdir()


def check_same_recipe(models: Sequence[Model]) -> None:
    """Raise InputError unless models have one recipe and dataset and differ in their seed only."""
    if not models:
        raise InputError("expected at least one model, found none")
    recipes = [model.recipe.with_seed(0) for model in models]
    seeds = [model.recipe.training.seed for model in models]
    data = [(model.config.fingerprints, model.config.data.num_clips, model.config.start_recipe) for model in models]
    if any(one != recipes[0] for one in recipes) or len(set(data)) > 1 or len(set(seeds)) < len(seeds):
        raise InputError(
            "expected models of one recipe and start on the same clips that differ in their seed only, found others: "
            f"{', '.join(model.name for model in models)} with seeds {', '.join(map(str, seeds))}"
        )


def over_models(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Merge the results of several models of one recipe; baselines without a model are kept once."""
    if len(evaluations) == 1:
        return evaluations[0]
    first = evaluations[0]
    return Evaluation(
        _merged([one.result for one in evaluations]),
        None if first.random_init is None else _merged([one.random_init for one in evaluations if one.random_init]),
        first.raw_joints,
        first.chance,
    )


def _merged(results: Sequence[EvalResult]) -> EvalResult:
    """Merge results of models of one recipe on one dataset."""
    known = [result.metadata for result in results if result.metadata is not None]
    same = [one.recipe.with_seed(0) for one in known]
    if any((a, b.fingerprint) != (same[0], known[0].fingerprint) for a, b in zip(same, known, strict=True)):
        raise InputError("expected models of one recipe on one dataset that differ in their seed only, found others")
    metadata = known[0].replace(
        runs=[run for one in known for run in one.runs],
        training_minutes=[minutes for one in known for minutes in one.training_minutes],
    )
    names = [{seed.run for seed in result.seeds} for result in results]
    if len(set().union(*names)) < sum(map(len, names)):  # folders of one name in different places
        results = [
            result.replace(seeds=[seed.replace(run=f"{seed.run} ({number})") for seed in result.seeds])
            for number, result in enumerate(results, 1)
        ]
    return merge(results, metadata)
