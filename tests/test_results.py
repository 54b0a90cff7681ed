"""Results of evaluations over models and seeds: what is saved, counted, merged and refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.core import InputError, UlnaWarning
from ulna.dataset import Dataset
from ulna.evaluation import (
    EvalResult,
    LabelledSplit,
    ResultKey,
    SeedResult,
    check_same_recipe,
    evaluate,
    merge,
    over_models,
)
from ulna.evaluation.baselines import chance_level, nearest_raw_joints
from ulna.evaluation.protocols import KNN, Linear
from ulna.evaluation.table import recipe_changes, rows_of
from ulna.models import Classifier
from ulna.recipes import get_recipe


def result_of(*predictions):
    return EvalResult(
        key=ResultKey(protocol="linear", options={"epochs": 3}, split="half"),
        classes=["a", "b", "c"],
        clips=list("wxyz"),
        labels=[0, 0, 1, 1],
        seeds=[SeedResult(seed=k, predictions=list(p), oracle=0.75) for k, p in enumerate(predictions)],
    )


def test_results_by_hand(tmp_path):
    measured = result_of([0, 0, 1, 0], [0, 1, 1, 0])
    assert measured.accuracy == pytest.approx(0.625)
    assert measured.sd == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert measured.oracle == 0.75
    np.testing.assert_allclose(measured.confusion, [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]])
    assert measured.per_class == {"a": 0.75, "b": 0.5, "c": None}
    assert measured.summary() == "62.5 ± 17.7 % (oracle 75.0)"
    assert result_of([0, 0, 1, 1]).sd is None
    measured.save(tmp_path / "o.json")
    assert EvalResult.open(tmp_path / "o.json") == measured
    runs = [
        SeedResult(seed=0, predictions=p, run=name)
        for name, p in zip("aabb", [[0, 0, 1, 1]] * 2 + [[0, 1, 1, 0]] * 2, strict=True)
    ]
    spread = measured.replace(seeds=runs)
    assert spread.by_run.tolist() == [1.0, 0.5]
    assert spread.sd == pytest.approx(np.std([1.0, 0.5], ddof=1)), "seeds of one run are no independent runs"
    assert (spread.spread_over, measured.spread_over) == ("2 models", "2 seeds")
    both = merge([measured, result_of([0, 0, 1, 1])], None)
    assert len(both.seeds) == 3
    other = measured.replace(key=ResultKey(protocol="knn", split="half"))
    with pytest.raises(InputError, match="different ones"):
        merge([measured, other], None)


def test_evaluate_saves_everything_if_asked_to(dataset, model):
    protocol = Linear(epochs=20)
    evaluation = evaluate(model, dataset, protocol, split="half", seeds=2)
    assert not (model.path / "results").exists()
    assert not (model.path / "classifiers").exists()
    saved = evaluate(model, dataset, protocol, split="half", seeds=2, save=True)
    for unsaved, result in zip(evaluation.results, saved.results, strict=True):
        assert unsaved.key == result.key
        assert unsaved.seeds == result.seeds
    kinds = ["trained", "chance", "raw_joints", "random_init"]
    assert [result.key.kind for result in saved.results] == kinds
    assert [saved.result, saved.chance, saved.raw_joints, saved.random_init] == saved.results
    names = ["linear-half", "chance-half", "raw_joints-half", "linear-random_init-half"]
    assert {file.name for file in (model.path / "results").iterdir()} == {f"{name}.json" for name in names}
    for name, result in zip(names, saved.results, strict=True):
        assert EvalResult.open(model.path / "results" / f"{name}.json") == result
    content = json.loads((model.path / "results" / "linear-half.json").read_text())
    assert content["derived"]["accuracy"] == saved.result.accuracy
    assert len(content["seeds"]) == 2
    assert content["metadata"]["fingerprint"] == dataset.fingerprint
    classifier = Classifier.open(model.path / "classifiers", "linear")
    assert (classifier.config.classes, classifier.config.split) == (("slow", "fast"), "half")
    assert classifier.config.pooling == "mean"
    assert classifier.is_trained_on(dataset, "half")
    assert classifier.weight.shape == (2, 80)
    with pytest.raises(InputError, match="expected saved models to write results to"):
        evaluate(model.random_init(0), dataset, protocol, split="half", save=True)


def test_pretraining_on_test_clips_is_counted(dataset, model, tmp_path):
    result = evaluate(model, dataset, KNN(), split="half", seeds=3, baselines=False).result
    assert result.metadata.seen_test_clips == 0
    assert len(result.seeds) == 1, "seeds make no difference to k-NN"
    assert model.count_seen(dataset, dataset.split("half")[0]) == 20
    other = [replace(dataset.clip(i), id=f"another name {i}") for i in range(40)]
    renamed = Dataset.write(tmp_path / "renamed", other, classes=dataset.classes)
    assert model.count_seen(renamed, np.arange(40)) == 20, "under any name, in any dataset"
    copy = model.save(tmp_path / "copy")
    assert copy.count_seen(renamed, np.arange(40)) == 20, "a copy remembers its clips"
    everything = model_of(tiny(epochs=1).replace(split=None), dataset, tmp_path / "everything")
    with pytest.warns(UlnaWarning, match="20 test clips were seen in pretraining of 'everything'"):
        result = evaluate(everything, dataset, KNN(), split="half", baselines=False).result
    assert result.metadata.seen_test_clips == 20


def copy_with(model, path, **training):
    """A copy of the model in a folder, as if it had been trained by another recipe."""
    recipe = model.recipe.replace(training=model.recipe.training.replace(**training))
    return replace(model, config=model.config.replace(recipe=recipe), path=shutil.copytree(model.path, path))


def test_only_models_of_one_recipe_are_evaluated_together(dataset, model, tmp_path):
    models = [
        copy_with(model, tmp_path / f"s{seed}", seed=seed, epochs=epochs) for seed, epochs in ((1, 4), (2, 4), (3, 5))
    ]
    evaluations = [evaluate(one, dataset, KNN(), split="half", baselines=False) for one in models]
    merged = over_models(evaluations[:2]).result
    assert merged.spread_over == "2 models"
    assert merged.metadata.runs == ["s1", "s2"]
    together = evaluate(models[:2], dataset, KNN(), split="half", baselines=False).result
    assert together.seeds == merged.seeds
    with pytest.raises(InputError, match="differ in their seed only"):
        over_models(evaluations)
    with pytest.raises(InputError, match="differ in their seed only"):
        evaluate(models, dataset, KNN(), split="half", baselines=False)


def test_unlabelled_clips_are_left_out(tmp_path):
    clips = [
        make_clip(f"c{i}", 5, label=None if i < 2 else "x", splits={"s": "train" if i % 2 else "test"})
        for i in range(6)
    ]  # fmt: skip
    data = LabelledSplit.of(Dataset.write(tmp_path / "dataset", clips, classes=["x"]), "s")
    assert (len(data.train), len(data.test)) == (2, 2)
    bare = Dataset.write(tmp_path / "bare", clips[:2], classes=["x"])
    with pytest.raises(InputError, match="found 0 to train and 0 to test on"):
        LabelledSplit.of(bare, "s")


def dataset_with_copies(path):
    """Twelve clips of two classes; two of the test clips are training clips under another name."""
    clips = [
        make_clip(f"c{i}", 8, label=CLASSES[i % 2], seed=i, splits={"s": "train" if i < 8 else "test"})
        for i in range(12)
    ]  # fmt: skip
    clips += [replace(clips[i], id=f"again{i}", splits={"s": "test"}) for i in (0, 3)]
    groups = {"one": CLASSES[:1], "other": CLASSES[1:]}
    return Dataset.write(path, clips, classes=CLASSES, class_groups=groups)


def test_copies_among_test_clips_are_counted_separately(model, tmp_path):
    dataset = dataset_with_copies(tmp_path / "dataset")
    data = LabelledSplit.of(dataset, "s")
    assert [data.test_ids[i] for i in data.copied] == ["again0", "again3"]
    result = nearest_raw_joints(data)
    assert result.seeds[0].predictions[-2:] == result.labels[-2:], "copies are always right"
    assert result.clean.clips == ["c8", "c9", "c10", "c11"]
    assert result.accuracy == pytest.approx((4 * result.clean.accuracy + 2) / 6)
    result.save(tmp_path / "o.json")
    saved = json.loads((tmp_path / "o.json").read_text())
    assert saved["derived"]["clean"]["accuracy"] == result.clean.accuracy
    assert EvalResult.open(tmp_path / "o.json").clean == result.clean
    everything = LabelledSplit(data.dataset, "s", data.train, data.train)
    assert chance_level(everything).clean is None, "no clip is left without the copies"
    with pytest.warns(UlnaWarning, match="2 test clips also occur in the training part"):
        evaluation = evaluate(model, dataset, KNN(), split="s", baselines=False)
    assert evaluation.result.copied == [4, 5]


def test_groups_and_the_bootstrap_interval(tmp_path):
    result = nearest_raw_joints(LabelledSplit.of(dataset_with_copies(tmp_path / "dataset"), "s"))
    assert set(result.per_group) == {"one", "other"}
    assert result.per_group["one"] == result.per_class["slow"]
    many = EvalResult(
        key=ResultKey(protocol="p", split="s"),
        classes=["a", "b"],
        clips=["c"] * 400,
        labels=[0] * 400,
        seeds=[SeedResult(seed=0, predictions=[0] * 300 + [1] * 100)],
    )
    low, high = many.interval
    assert (low, high) == pytest.approx((0.75 - 0.0424, 0.75 + 0.0424), abs=0.006), "normal: 1.96 sqrt(p (1 - p) / n)"
    seeds = [
        SeedResult(seed=i, predictions=[0] * n + [1] * (400 - n), run=str(i)) for i, n in enumerate((240, 360))
    ]  # fmt: skip
    assert np.ptp(many.replace(seeds=seeds).interval) > 0.25, "runs that differ widen it"
    assert many.interval == (low, high)


def test_randomly_initialised_encoders_are_runs_of_their_own(dataset, model):
    evaluation = evaluate(model, dataset, Linear(epochs=3), split="half", seeds=3)
    assert evaluation.result.spread_over == "3 seeds"
    assert evaluation.random_init.spread_over == "3 models"


def test_models_of_one_name_in_two_folders(dataset, model, tmp_path):
    models = [copy_with(model, tmp_path / folder / "model", seed=ord(folder)) for folder in "ab"]
    evaluations = [evaluate(one, dataset, KNN(), split="half", baselines=False) for one in models]
    assert over_models(evaluations).result.spread_over == "2 models"
    with pytest.raises(InputError, match="that differ in their seed only"):
        check_same_recipe([model, model])


def test_rows_say_what_a_model_was_pretrained_on(dataset, model, tmp_path):
    """All clips instead of the training part of the split, and the recipe of the starting point."""
    whole = model_of(tiny(epochs=1).replace(split=None), dataset, tmp_path / "whole", start=model.path)
    with pytest.warns(UlnaWarning, match="test clips were seen in pretraining of 'whole'"):
        found = rows_of(evaluate(whole, dataset, split="half", seeds=1, baselines=False).result)[0]
    assert (found.changes, found.start, found.pretrained_on) == ("unknown recipe split=all", "tiny", "")
    own = rows_of(evaluate(model, dataset, split="half", seeds=1, baselines=False).result)[0]
    assert (own.changes, own.start) == ("unknown recipe", "")
    started = model_of(model.recipe.with_seed(5), dataset, tmp_path / "started", start=model.path)
    with pytest.raises(InputError, match="expected models of one recipe and start"):
        evaluate([started, model], dataset, split="half")


def test_rows_say_on_which_other_datasets_a_model_was_pretrained(dataset, model):
    result = evaluate(model, dataset, split="half", seeds=1, baselines=False).result
    known = result.metadata.replace(pretrained_on="a" * 16 + "+" + "b" * 16)
    (row,) = rows_of(result.replace(metadata=known))
    assert row.pretrained_on == known.pretrained_on
    assert row.key != rows_of(result)[0].key


def test_rows_say_what_differs_from_the_named_recipe():
    recipe = get_recipe("gl_transformer/own_3d")
    changed = recipe.replace(body="human36m", encoder=recipe.encoder.replace(missing_token=True))
    assert recipe_changes(recipe.to_json()) == ""
    assert recipe_changes(changed.to_json()) == "body=human36m encoder.missing_token=True"
