"""Pooling chosen for an evaluation, in place of the recipe's own."""

import json
import shutil
from dataclasses import replace

import pytest

from ulna.analysis.report import _predict
from ulna.core import InputError
from ulna.encoders import ENCODERS
from ulna.evaluation import evaluate, merge
from ulna.evaluation.protocols import KNN, FineTune, Linear, Retrieval
from ulna.models import Classifier, ClassifierConfig, load

PROTOCOLS = {
    "linear": Linear(epochs=5),
    "knn": KNN(),
    "finetune-50pct": FineTune(share=0.5, epochs=1, steps=0, probe_epochs=2),
    "retrieval": Retrieval(),
}


@pytest.fixture
def other(model, tmp_path):
    """The same model, pretrained with all blocks as its recipe's pooling and not evaluated yet."""
    shutil.copytree(model.path, tmp_path / model.path.name, ignore=shutil.ignore_patterns("results", "classifiers"))
    path = tmp_path / model.path.name / "config.json"
    config = json.loads(path.read_text())
    assert config["recipe"]["pooling"] == "mean"
    config["recipe"]["pooling"] = "blocks"
    path.write_text(json.dumps(config))
    return load(path.parent, device="cpu")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_it_is_as_if_the_recipe_had_it(name, model, other, dataset):
    options = {"protocol": PROTOCOLS[name], "split": "half", "seeds": 1, "save": True}
    expected = evaluate(other, dataset, **options)
    evaluation = evaluate(model, dataset, pooling="blocks", **options)
    before, now = expected.result, evaluation.result
    assert now.seeds[0].predictions == before.seeds[0].predictions
    assert now.seeds[0].metrics == before.seeds[0].metrics
    with_mean = evaluate(model, dataset, **options).result
    if name in ("linear", "finetune-50pct", "retrieval"):  # which the pooling changes on these clips
        assert (with_mean.seeds[0].predictions, with_mean.seeds[0].metrics) != (
            now.seeds[0].predictions,
            now.seeds[0].metrics,
        )
    assert now.key == before.key
    assert (now.key.pooling, with_mean.key.pooling) == ("blocks", "mean")
    assert now.key.replace(pooling="mean") == with_mean.key
    assert (model.path / "results" / f"{name}-blocks-half.json").is_file()
    assert (model.path / "results" / f"{name}-half.json").is_file()
    assert (other.path / "results" / f"{name}-half.json").is_file(), "the recipe's own pooling is not mentioned"
    assert evaluation.random_init.key == now.key.replace(kind="random_init")
    assert (model.path / "results" / f"{name}-blocks-random_init-half.json").is_file()
    assert evaluation.random_init.seeds[0].predictions == expected.random_init.seeds[0].predictions
    assert load(model.path).recipe.pooling == "mean", "the model stays as it was"


@pytest.mark.parametrize("name", ["linear", "finetune-50pct"])
def test_its_classifier_predicts_what_was_evaluated(name, model, dataset):
    result = evaluate(
        model, dataset, PROTOCOLS[name], split="half", pooling="blocks", seeds=1, baselines=False, save=True
    ).result
    clips = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    predictions = load(model.path, device="cpu").predict(clips, classifier=f"{name}-blocks")
    assert [one.label for one in predictions] == [dataset.classes[i] for i in result.seeds[0].predictions]


def test_an_unknown_one_is_refused_with_the_known_ones(model, dataset):
    with pytest.raises(InputError, match=r"pooling of GLTransformer: expected .*'mean', 'blocks'.* found 'menu'"):
        evaluate(model, dataset, Linear(), split="half", pooling="menu")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_lists_its_poolings(name):
    assert {"mean", "blocks"} <= set(ENCODERS[name].poolings)


def test_a_classifier_of_another_encoder_is_refused(model, dataset):
    evaluate(model, dataset, Linear(epochs=5), split="half", pooling="blocks", seeds=1, baselines=False, save=True)
    folder = model.path / "classifiers"
    own = Classifier.open(folder, "linear-blocks")
    assert own.config.pooling == "blocks"
    clips = [dataset.clip(0)]
    width = r"model 'model': expected a classifier of embeddings of width \d+, found one of width \d+\. Evaluate or fit"
    for pooling, message in (("menu", "pooling of GLTransformer: expected one of .* found 'menu'"), ("mean", width)):
        replace(own, config=own.config.replace(pooling=pooling)).save(folder, "foreign")
        foreign = Classifier.open(folder, "foreign")
        with pytest.raises(InputError, match=message):
            model.encoder_of(foreign)
        with pytest.raises(InputError, match=message):
            load(model.path, device="cpu").predict(clips, classifier="foreign")
    (folder / "foreign.safetensors").unlink()
    with pytest.raises(InputError, match="pooling: expected text, found None"):
        own.config.replace(pooling=None)
    values = {key: value for key, value in own.config.to_json().items() if key != "pooling"}
    with pytest.raises(InputError, match="pooling: expected a value, found nothing"):
        ClassifierConfig.from_json(values)


def test_the_report_predicts_by_a_classifier_of_any_pooling(other, dataset):
    assert not other.classifiers
    test = dataset.split("half")[1]
    options = {"split": "half", "pooling": "mean", "seeds": 1, "baselines": False, "save": True}
    result = evaluate(other, dataset, Linear(epochs=30), **options).result
    for model in (other, load(other.path, device="cpu")):
        assert list(model.classifiers) == ["linear-mean"]
        label, confidence = _predict(model, dataset, "half", test)
        assert label.tolist() == result.seeds[0].predictions
        assert (confidence > 0).all()
    other.classifiers.clear()
    label, confidence = _predict(other, dataset, "half", test)
    assert (label == -1).all()
    assert (confidence == 0).all()


def test_results_of_different_poolings_are_not_merged(model, dataset):
    options = {"split": "half", "seeds": 1, "baselines": False}
    mean, again, blocks = (
        evaluate(model, dataset, KNN(), pooling=pooling, **options).result for pooling in (None, "mean", "blocks")
    )
    assert len(merge([mean, again], None).seeds) == 2
    with pytest.raises(InputError, match="expected results of one protocol on one split to merge"):
        merge([mean, blocks], None)
