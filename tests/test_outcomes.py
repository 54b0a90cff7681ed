"""Evaluation over runs and seeds: what is saved, random_stream, merged and refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from conftest import make_clip, run_of, tiny
from ulna.core import get_skeleton, options
from ulna.data import write_dataset
from ulna.evaluation import PROTOCOLS, Labelled, EvalResult
from ulna.evaluation.baselines import chance, nearest_raw_joints
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import check_alike, evaluate, over_runs
from ulna.evaluation.result import SeedResult, merge


def result(*predictions):
    seeds = [SeedResult(k, list(p), oracle=0.75) for k, p in enumerate(predictions)]
    return EvalResult("linear", {"epochs": 3}, "half", ["a", "b", "c"], list("wxyz"), [0, 0, 1, 1], seeds)


def test_outcomes_by_hand(tmp_path):
    measured = result([0, 0, 1, 0], [0, 1, 1, 0])
    assert measured.mean == pytest.approx(0.625)
    assert measured.sd == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert measured.oracle == 0.75
    np.testing.assert_allclose(measured.confusion, [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]])
    assert measured.per_class == {"a": 0.75, "b": 0.5, "c": None}
    assert measured.summary() == "62.5 ± 17.7 % (oracle best epoch 75.0)"
    assert result([0, 0, 1, 1]).sd is None
    measured.save(tmp_path / "o.json")
    assert EvalResult.open(tmp_path / "o.json") == measured
    runs = [
        SeedResult(0, p, run=name) for name, p in zip("aabb", [[0, 0, 1, 1]] * 2 + [[0, 1, 1, 0]] * 2, strict=True)
    ]
    spread = dataclasses.replace(measured, seeds=runs)
    assert spread.by_run.tolist() == [1.0, 0.5]
    assert spread.sd == pytest.approx(np.std([1.0, 0.5], ddof=1)), "seeds of one run are no independent runs"
    assert (spread.spread_over, measured.spread_over) == ("2 runs", "2 probe seeds")
    both = merge([measured, result([0, 0, 1, 1])], {})
    assert len(both.seeds) == 3
    with pytest.raises(ValueError, match="different ones"):
        merge([measured, EvalResult("knn", {}, "half", ["a"], ["w"], [0], [])], {})


def test_evaluate_saves_everything(dataset, run):
    results = evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=20), split="half", seeds=2)
    assert list(results) == ["linear", "untrained_linear", "raw_1nn", "chance"]
    saved = json.loads((run.path / "results" / "linear-half.json").read_text())
    assert saved["accuracy"] == results["linear"].mean
    assert len(saved["seeds"]) == 2
    assert saved["metadata"]["fingerprint"] == dataset.fingerprint
    classifier = Classifier.open(run.path)
    assert (classifier.classes, classifier.split) == (("slow", "fast"), "half")
    assert classifier.weight.shape == (2, 80)


def test_pretraining_on_test_clips_is_counted(dataset, run, tmp_path):
    result = evaluate(run, dataset, protocol=options(PROTOCOLS, "knn"), split="half", seeds=3, baselines=False)["knn"]
    assert result.metadata["pretrained_on_test"] == 0
    assert len(result.seeds) == 1, "seeds make no difference to kNN"
    assert run.num_seen(dataset, dataset.split("half")[0]) == 20
    other = [dataclasses.replace(dataset.clip(i), id=f"another name {i}") for i in range(40)]
    renamed = write_dataset(tmp_path / "renamed", other, dataset.skeleton, classes=dataset.classes)
    assert run.num_seen(renamed, np.arange(40)) == 20, "under any name, in any dataset"
    greedy = run_of(dataclasses.replace(tiny(epochs=1), split=None), dataset, tmp_path / "greedy")
    result = evaluate(greedy, dataset, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False)["knn"]
    assert result.metadata["pretrained_on_test"] == 20


def test_only_runs_of_one_recipe_are_seeds_of_one_another(dataset, run, tmp_path):
    judged = []
    for seed, epochs in ((1, 4), (2, 4), (3, 5)):
        recipe = dataclasses.replace(
            run.recipe, training=dataclasses.replace(run.recipe.training, seed=seed, epochs=epochs)
        )
        other = dataclasses.replace(run, recipe=recipe, path=shutil.copytree(run.path, tmp_path / f"s{seed}"))
        judged.append(evaluate(other, dataset, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False))
    assert over_runs(judged[:2])["knn"].spread_over == "2 runs"
    with pytest.raises(ValueError, match="differ in their seed only"):
        over_runs(judged)


def test_unlabelled_clips_are_left_out(tmp_path):
    clips = [
        make_clip(f"c{i}", 5, label=None if i < 2 else 0, splits={"s": "train" if i % 2 else "test"}) for i in range(6)
    ]
    dataset = write_dataset(tmp_path / "dataset", clips, get_skeleton("kinect_v1"), classes=["x"])
    data = Labelled.of(dataset, "s")
    assert (len(data.train), len(data.test)) == (2, 2)
    bare = write_dataset(tmp_path / "bare", clips[:2], get_skeleton("kinect_v1"), classes=["x"])
    with pytest.raises(ValueError, match="got 0 to train and 0 to test on"):
        Labelled.of(bare, "s")


def copied_store(path):
    """Twelve clips of two classes; two of the test clips are training clips under another name."""
    clips = [make_clip(f"c{i}", 8, label=i % 2, seed=i, splits={"s": "train" if i < 8 else "test"}) for i in range(12)]
    clips += [dataclasses.replace(clips[i], id=f"again{i}", splits={"s": "test"}) for i in (0, 3)]
    groups = {"one": ("x",), "other": ("y",)}
    return write_dataset(path, clips, get_skeleton("kinect_v1"), classes=["x", "y"], class_groups=groups)


def test_copies_in_the_test_part_are_told_apart(tmp_path):
    data = Labelled.of(copied_store(tmp_path / "dataset"), "s")
    assert [data.test_ids[i] for i in data.copied] == ["again0", "again3"]
    result = nearest_raw_joints(data)
    assert result.seeds[0].predictions[-2:] == result.labels[-2:], "copies are always right"
    assert result.clean.clips == ["c8", "c9", "c10", "c11"]
    assert result.mean == pytest.approx((4 * result.clean.mean + 2) / 6)
    result.save(tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["clean"]["accuracy"] == result.clean.mean
    assert EvalResult.open(tmp_path / "o.json").clean == result.clean
    assert chance(Labelled(data.dataset, "s", data.train, data.train)).clean is None, "all of it copies: no clean part"


def test_groups_and_the_bootstrap_interval(tmp_path):
    result = nearest_raw_joints(Labelled.of(copied_store(tmp_path / "dataset"), "s"))
    assert set(result.per_group) == {"one", "other"}
    assert result.per_group["one"] == result.per_class["x"]
    many = EvalResult("p", {}, "s", ["a", "b"], ["c"] * 400, [0] * 400, [SeedResult(0, [0] * 300 + [1] * 100)])
    low, high = many.interval
    assert (low, high) == pytest.approx((0.75 - 0.0424, 0.75 + 0.0424), abs=0.006), "normal: 1.96 sqrt(p (1 - p) / n)"
    two = dataclasses.replace(many, seeds=[SeedResult(i, [0] * n + [1] * (400 - n), run=str(i)) for i, n in
                                           enumerate((240, 360))])  # fmt: skip
    assert np.ptp(two.interval) > 0.25, "runs that differ widen it"
    assert many.interval == (low, high)


def test_fresh_weights_are_runs_of_their_own(dataset, run):
    results = evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=3), split="half", seeds=3)
    assert results["linear"].spread_over == "3 probe seeds"
    assert results["untrained_linear"].spread_over == "3 runs"


def test_runs_of_one_name_in_two_places(dataset, run, tmp_path):
    judged = []
    for place in "ab":
        training = dataclasses.replace(run.recipe.training, seed=ord(place))
        other = dataclasses.replace(
            run, recipe=dataclasses.replace(run.recipe, training=training),
            path=shutil.copytree(run.path, tmp_path / place / "run"),
        )  # fmt: skip
        judged.append(evaluate(other, dataset, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False))
    assert over_runs(judged)["knn"].spread_over == "2 runs"
    with pytest.raises(ValueError, match="which differ in their seed only"):
        check_alike([run, run])
