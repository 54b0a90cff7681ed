"""A protocol's own pooling, in place of the one that the run's recipe has."""

import dataclasses
import json
import shutil

import pytest

from ulna.analysis.report import _predict
from ulna.core import options
from ulna.encoders import ENCODERS
from ulna.evaluation import PROTOCOLS, extract
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import evaluate
from ulna.evaluation.result import merge
from ulna.evaluation.prediction import predict
from ulna.training import load

QUICK = {"linear": {"epochs": 5}, "few-labels": {"share": 0.5, "epochs": 1, "steps": 0, "probe_epochs": 2}}


@pytest.fixture
def other(run, tmp_path):
    """The same run, pretrained with all blocks as its recipe's pooling."""
    shutil.copytree(run.path, tmp_path / run.path.name)
    path = tmp_path / run.path.name / "recipe.json"
    metadata = json.loads(path.read_text())
    assert metadata["recipe"]["encoder"]["pooling"] == "mean"
    metadata["recipe"]["encoder"]["pooling"] = "blocks"
    path.write_text(json.dumps(metadata))
    return load(path.parent)


@pytest.mark.parametrize("name", ["linear", "knn", "few-labels", "retrieval"])
def test_it_is_as_if_the_recipe_had_it(name, run, other, dataset):
    own = QUICK.get(name, {})
    expected = evaluate(other, dataset, protocol=options(PROTOCOLS, name, **own), split="half", seeds=1)
    chosen = options(PROTOCOLS, name, pooling="blocks", **own)
    results = evaluate(run, dataset, protocol=chosen, split="half", seeds=1)
    before, now = (next(iter(found.values())) for found in (expected, results))
    assert now.seeds[0].predictions == before.seeds[0].predictions
    assert now.seeds[0].metrics == before.seeds[0].metrics
    with_mean = next(
        iter(evaluate(run, dataset, protocol=options(PROTOCOLS, name, **own), split="half", seeds=1).values())
    )
    if name in ("linear", "few-labels", "retrieval"):  # which the pooling changes on these clips
        assert (with_mean.seeds[0].predictions, with_mean.seeds[0].metrics) != (
            now.seeds[0].predictions,
            now.seeds[0].metrics,
        )
    assert now.metadata["recipe"]["encoder"]["pooling"] == "blocks"
    assert now.protocol == f"{before.protocol} blocks"
    kept = f"{before.protocol.replace(' ', '-')}-blocks"
    assert (run.path / "results" / f"{kept}-half.json").is_file()
    assert f"untrained_{kept}" in results
    assert load(run.path).encoder.pooling == "mean", "the run stays as it was"


@pytest.mark.parametrize("name", ["linear", "few-labels"])
def test_its_classifier_predicts_what_was_evaluated(name, run, dataset):
    chosen = options(PROTOCOLS, name, pooling="blocks", **QUICK[name])
    results = evaluate(run, dataset, protocol=chosen, split="half", seeds=1, baselines=False)
    result = next(iter(results.values()))
    clips = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    labels = [name for name, _ in predict(load(run.path), clips, protocol=next(iter(results)))]
    assert labels == [dataset.classes[i] for i in result.seeds[0].predictions]


def test_an_unknown_one_is_answered_with_the_known(run, dataset):
    with pytest.raises(ValueError, match=r"pooling: expected .*'mean', 'blocks'.* got 'menu'"):
        evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", pooling="menu"), split="half")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_says_how_it_is_read(name):
    assert hasattr(options(ENCODERS, name), "pooling")


def test_a_classifier_of_another_encoder_is_named(run, dataset):
    chosen = options(PROTOCOLS, "linear", pooling="blocks", epochs=5)
    evaluate(run, dataset, protocol=chosen, split="half", seeds=1, baselines=False)
    own = Classifier.open(run.path, "linear-blocks")
    for pooling, message in (("menu", "got 'menu'"), ("mean", r"got one of \d+ features, not \d+"), (None, "features")):
        dataclasses.replace(own, pooling=pooling).save(run.path, "foreign")
        with pytest.raises(ValueError, match=f"classifiers: expected a classifier of this run's encoder.*{message}"):
            Classifier.open(run.path, "foreign").encoder_for(run)
    (run.path / "classifiers" / "foreign.safetensors").unlink()


def test_the_report_predicts_by_what_there_is(other, dataset):
    chosen = options(PROTOCOLS, "linear", pooling="mean", epochs=30)
    shutil.rmtree(other.path / "results", ignore_errors=True)
    shutil.rmtree(other.path / "classifiers", ignore_errors=True)
    results = evaluate(other, dataset, protocol=chosen, split="half", seeds=1, baselines=False)
    result = next(iter(results.values()))
    test = dataset.split("half")[1]
    features = extract(other.encoder, other.form, dataset, test)
    label, confidence = _predict(other, dataset, "half", test, features, [result])
    assert label.tolist() == result.seeds[0].predictions
    assert (confidence > 0).all()
    assert (_predict(other, dataset, "half", test, features, [])[0] == -1).all()


def test_files_from_before_there_was_a_readout_still_merge(run, dataset):
    found = evaluate(run, dataset, protocol=options(PROTOCOLS, "knn"), split="half", seeds=1, baselines=False)
    now = next(iter(found.values()))
    old = dataclasses.replace(now, options={k: v for k, v in now.options.items() if k != "pooling"})
    assert len(merge([old, now], {}).seeds) == 2
