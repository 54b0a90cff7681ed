"""Evaluation: a run under a protocol, beside what it must beat, saved as files in the run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ulna.core import Options, build, within
from ulna.data import Store
from ulna.inputs import InputForm
from ulna.inputs.mapped import Mapped
from ulna.protocols import PROTOCOLS
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.baselines import chance, nearest_raw_joints
from ulna.protocols.classifier import Classifier
from ulna.protocols.outcome import Outcome, SeedOutcome, merge
from ulna.train.provenance import provenance
from ulna.train.run import RESULTS, Run

CHANCE, RAW, UNTRAINED = "chance", "raw_1nn", "untrained"


def evaluate(
    run: Run, store: Store, *, protocol: Options, split: str, seeds: int = 3, baselines: bool = True
) -> dict[str, Outcome]:
    """Outcomes by name: the protocol's own first, then chance, 1-NN on raw joints and the untrained encoder.

    Each is saved as RUN/results/NAME-SPLIT.json, on another store than the run was pretrained on with that store's
    fingerprint at the end; the first seed's classifier as RUN/classifiers/NAME.safetensors.
    Raises ValueError if the store's skeleton, persons or split do not fit.
    """
    within("seeds", seeds, 1)
    judge: Protocol = build(PROTOCOLS, protocol)
    if judge.readout is not None:
        run = run.read(judge.readout)
    form = judge.form_for(run, store)
    data = Labelled.of(store, split)
    store.verify()
    name = _name(protocol, judge, "-")
    outcomes = {name: _judge(run, form, data, judge, protocol, seeds, trained=judge.pretrained)}
    if baselines and judge.pretrained:
        outcomes[f"{UNTRAINED}_{name}"] = _judge(run, form, data, judge, protocol, seeds, trained=False)
    if baselines:
        outcomes |= {RAW: nearest_raw_joints(data), CHANCE: chance(data)}
    ending = "" if store.fingerprint == run.facts["data"]["fingerprint"] else f"-{store.fingerprint[:8]}"
    for name, outcome in outcomes.items():
        outcome.save(run.path / RESULTS / f"{name}-{split}{ending}.json")
    return outcomes


def _judge(
    run: Run, form: InputForm, data: Labelled, judge: Protocol, protocol: Options, seeds: int, *, trained: bool
) -> Outcome:
    began = time.perf_counter()
    outcomes = []
    first = run.recipe.training.seed * seeds
    numbers = range(first, first + (seeds if judge.is_random or not trained else 1))
    for outcome, classifier in _verdicts(run, form, data, judge, numbers, trained=trained):
        # Fresh weights are runs of their own.
        outcomes.append(replace(outcome, run=run.path.name + ("" if trained else f", weights {outcome.seed}")))
        if classifier and outcome.seed == first and trained == judge.pretrained:
            replace(classifier, readout=judge.readout).save(run.path, _name(protocol, judge, "-"))
    name = _name(protocol, judge, " ")
    is_baseline = judge.pretrained and not trained
    return Outcome(
        protocol=f"{name} on an untrained encoder" if is_baseline else name,
        options=protocol.to_json(),
        split=data.split,
        classes=list(data.store.classes),
        clips=data.test_ids,
        labels=data.test_labels.tolist(),
        seeds=outcomes,
        facts=facts(run, form, data, time.perf_counter() - began),
        groups=data.groups,
        copied=data.copied,
    )


def _name(protocol: Options, judge: Protocol, between: str) -> str:
    """The protocol's name and, where there are any, its variant's and its readout's."""
    return between.join(filter(None, (protocol.component, judge.variant, judge.readout)))


def _verdicts(
    run: Run, form: InputForm, data: Labelled, judge: Protocol, seeds: range, *, trained: bool
) -> Iterator[tuple[SeedOutcome, Classifier | None]]:
    """Over all seeds: the one trained encoder, or fresh weights for each."""
    if trained:
        yield from judge.run(run.encoder, form, data, seeds=seeds)
        return
    for seed in seeds:
        yield from judge.run(run.untrained(seed), form, data, seeds=[seed])


def facts(run: Run, form: InputForm, data: Labelled, seconds: float) -> dict[str, Any]:
    """What stands behind a number: provenance, data, and what pretraining took."""
    return provenance() | {
        "recipe": run.recipe.to_json(),
        "pretrained_on": _data(run),
        "pretrained_on_test": run.num_seen(data.store, data.test),
        "runs": [run.path.name],
        "absent_joints": form.absent if isinstance(form, Mapped) else [],
        "store": str(data.store.path.resolve()),
        "fingerprint": data.store.fingerprint,
        "seconds": round(seconds, 1),
        "training_minutes": [round(run.facts["training_seconds"] / 60, 1)],
    }


def _but_seed(facts: Mapping[str, Any]) -> dict[str, Any]:
    recipe = facts["recipe"] | {"training": facts["recipe"]["training"] | {"seed": None}}
    return {"recipe": recipe} | {name: facts[name] for name in ("fingerprint", "pretrained_on")}


def check_alike(runs: Sequence[Run]) -> None:
    """ValueError unless runs are of one recipe and data, and differ in their seed."""
    made = [_but_seed({"recipe": run.recipe.to_json(), "fingerprint": "", "pretrained_on": _data(run)}) for run in runs]
    seeds = [run.recipe.training.seed for run in runs]
    if any(one != made[0] for one in made) or len(set(seeds)) < len(seeds):
        raise ValueError(
            "expected runs of one recipe on the same clips, which differ in their seed only, got others: "
            f"{', '.join(str(run.path) for run in runs)} with seeds {', '.join(map(str, seeds))}"
        )


def _data(run: Run) -> dict[str, Any]:
    return {name: run.facts["data"][name] for name in ("fingerprint", "num_clips")}


def _told_apart(outcomes: list[Outcome]) -> list[Outcome]:
    """Outcomes whose runs have different names, also where folders of one name lie in different places."""
    names = [{seed.run for seed in outcome.seeds} for outcome in outcomes]
    if len(set().union(*names)) == sum(map(len, names)):
        return outcomes
    return [
        replace(outcome, seeds=[replace(seed, run=f"{seed.run} ({number})") for seed in outcome.seeds])
        for number, outcome in enumerate(outcomes, 1)
    ]


def over_runs(judged: Sequence[Mapping[str, Outcome]]) -> dict[str, Outcome]:
    """Outcomes over several runs of one recipe, which are taken as its seeds; baselines without one are kept once."""
    merged: dict[str, Outcome] = {}
    for name, first in judged[0].items():
        outcomes = _told_apart([one[name] for one in judged if name in one])
        if len(outcomes) < len(judged):
            continue
        if not first.facts:
            merged[name] = first
            continue
        made = {json.dumps(_but_seed(outcome.facts), sort_keys=True) for outcome in outcomes}
        if len(made) > 1:
            raise ValueError("expected runs of one recipe on one store, which differ in their seed only, got others")
        known = {key: value for key, value in first.facts.items() if key != "store"}
        known["runs"] = [run for outcome in outcomes for run in outcome.facts["runs"]]
        known["training_minutes"] = [minutes for outcome in outcomes for minutes in outcome.facts["training_minutes"]]
        merged[name] = merge(outcomes, known)
    return merged
