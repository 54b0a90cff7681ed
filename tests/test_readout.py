"""A protocol's own readout, in place of the one that the run's recipe has."""

import dataclasses
import json
import shutil

import pytest

from ulna.analysis.report import _predict
from ulna.core import options
from ulna.encoders import ENCODERS
from ulna.protocols import PROTOCOLS, extract
from ulna.protocols.classifier import Classifier
from ulna.protocols.evaluation import evaluate
from ulna.protocols.outcome import merge
from ulna.protocols.prediction import predict
from ulna.train import load

QUICK = {"linear": {"epochs": 5}, "few-labels": {"share": 0.5, "epochs": 1, "steps": 0, "probe_epochs": 2}}


@pytest.fixture
def other(run, tmp_path):
    """The same run, pretrained with all blocks as its recipe's readout."""
    shutil.copytree(run.path, tmp_path / run.path.name)
    path = tmp_path / run.path.name / "recipe.json"
    facts = json.loads(path.read_text())
    assert facts["recipe"]["encoder"]["readout"] == "mean"
    facts["recipe"]["encoder"]["readout"] = "blocks"
    path.write_text(json.dumps(facts))
    return load(path.parent)


@pytest.mark.parametrize("name", ["linear", "knn", "few-labels", "retrieval"])
def test_it_is_as_if_the_recipe_had_it(name, run, other, store):
    own = QUICK.get(name, {})
    expected = evaluate(other, store, protocol=options(PROTOCOLS, name, **own), split="half", seeds=1)
    chosen = options(PROTOCOLS, name, readout="blocks", **own)
    outcomes = evaluate(run, store, protocol=chosen, split="half", seeds=1)
    before, now = (next(iter(found.values())) for found in (expected, outcomes))
    assert now.seeds[0].predictions == before.seeds[0].predictions
    assert now.seeds[0].metrics == before.seeds[0].metrics
    with_mean = next(
        iter(evaluate(run, store, protocol=options(PROTOCOLS, name, **own), split="half", seeds=1).values())
    )
    if name in ("linear", "few-labels", "retrieval"):  # which the readout changes on these clips
        assert (with_mean.seeds[0].predictions, with_mean.seeds[0].metrics) != (
            now.seeds[0].predictions,
            now.seeds[0].metrics,
        )
    assert now.facts["recipe"]["encoder"]["readout"] == "blocks"
    assert now.protocol == f"{before.protocol} blocks"
    kept = f"{before.protocol.replace(' ', '-')}-blocks"
    assert (run.path / "results" / f"{kept}-half.json").is_file()
    assert f"untrained_{kept}" in outcomes
    assert load(run.path).encoder.readout == "mean", "the run stays as it was"


@pytest.mark.parametrize("name", ["linear", "few-labels"])
def test_its_classifier_predicts_what_was_evaluated(name, run, store):
    chosen = options(PROTOCOLS, name, readout="blocks", **QUICK[name])
    outcomes = evaluate(run, store, protocol=chosen, split="half", seeds=1, baselines=False)
    outcome = next(iter(outcomes.values()))
    clips = [store.clip(int(i)) for i in store.split("half")[1]]
    labels = [name for name, _ in predict(load(run.path), clips, protocol=next(iter(outcomes)))]
    assert labels == [store.classes[i] for i in outcome.seeds[0].predictions]


def test_an_unknown_one_is_answered_with_the_known(run, store):
    with pytest.raises(ValueError, match=r"readout: expected .*'mean', 'blocks'.* got 'menu'"):
        evaluate(run, store, protocol=options(PROTOCOLS, "linear", readout="menu"), split="half")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_says_how_it_is_read(name):
    assert hasattr(options(ENCODERS, name), "readout")


def test_a_classifier_of_another_encoder_is_named(run, store):
    chosen = options(PROTOCOLS, "linear", readout="blocks", epochs=5)
    evaluate(run, store, protocol=chosen, split="half", seeds=1, baselines=False)
    own = Classifier.open(run.path, "linear-blocks")
    for readout, message in (("menu", "got 'menu'"), ("mean", r"got one of \d+ features, not \d+"), (None, "features")):
        dataclasses.replace(own, readout=readout).save(run.path, "foreign")
        with pytest.raises(ValueError, match=f"classifiers: expected a classifier of this run's encoder.*{message}"):
            Classifier.open(run.path, "foreign").encoder_for(run)
    (run.path / "classifiers" / "foreign.safetensors").unlink()


def test_the_report_predicts_by_what_there_is(other, store):
    chosen = options(PROTOCOLS, "linear", readout="mean", epochs=30)
    shutil.rmtree(other.path / "results", ignore_errors=True)
    shutil.rmtree(other.path / "classifiers", ignore_errors=True)
    outcomes = evaluate(other, store, protocol=chosen, split="half", seeds=1, baselines=False)
    outcome = next(iter(outcomes.values()))
    test = store.split("half")[1]
    features = extract(other.encoder, other.form, store, test)
    label, confidence = _predict(other, store, "half", test, features, [outcome])
    assert label.tolist() == outcome.seeds[0].predictions
    assert (confidence > 0).all()
    assert (_predict(other, store, "half", test, features, [])[0] == -1).all()


def test_files_from_before_there_was_a_readout_still_merge(run, store):
    found = evaluate(run, store, protocol=options(PROTOCOLS, "knn"), split="half", seeds=1, baselines=False)
    now = next(iter(found.values()))
    old = dataclasses.replace(now, options={k: v for k, v in now.options.items() if k != "readout"})
    assert len(merge([old, now], {}).seeds) == 2
