"""Features, linear evaluation, kNN, baselines, outcomes, classifiers."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from conftest import make_clip
from test_gl_transformer import small
from test_train import run_of, tiny
from ulna.core import get_skeleton, options
from ulna.data import write_store
from ulna.inputs import Disentangled
from ulna.protocols import KNN, PROTOCOLS, Labelled, Linear, Outcome, extract
from ulna.protocols.baselines import chance, nearest_raw_joints
from ulna.protocols.classifier import Classifier, fold, standardisation
from ulna.protocols.evaluation import evaluate, over_runs
from ulna.protocols.knn import vote
from ulna.protocols.outcome import SeedOutcome, merge
from ulna.protocols.prediction import predict

FORM = Disentangled(max_frames=16)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return run_of(tiny(epochs=4), store, tmp_path_factory.mktemp("runs") / "run")


def test_features_do_not_depend_on_batches(store, monkeypatch):
    encoder = small().train()
    clips = np.array([5, 1, 30, 31, 2])
    whole = extract(encoder, FORM, store, clips)
    assert encoder.training, "the mode is put back"
    monkeypatch.setattr("ulna.protocols.features.FRAMES_AT_ONCE", 3)
    torch.testing.assert_close(extract(encoder, FORM, store, clips), whole, atol=1e-5, rtol=0)
    assert whole.shape == (5, 160)


def test_clips_with_fewer_persons_are_widened(store):
    features = extract(small(3), FORM, store, np.array([0, 1]))
    assert features.shape == (2, 480)


def test_linear_learns_what_is_linear(store, run):
    data = Labelled.of(store, "half")
    outcome, classifier = Linear(epochs=60).run(run.encoder, run.form, data, seed=0)
    again, _ = Linear(epochs=60).run(run.encoder, run.form, data, seed=0)
    assert outcome == again
    assert len(outcome.curve) == 60
    accuracy = np.mean(np.array(outcome.predictions) == data.test_labels)
    assert accuracy == pytest.approx(outcome.curve[-1])
    assert accuracy > 0.8
    assert outcome.oracle == max(outcome.curve)
    features = extract(run.encoder, run.form, store, data.test)
    assert classifier(features).argmax(dim=1).tolist() == outcome.predictions


def test_the_encoder_stays_frozen(store, run):
    before = {name: value.clone() for name, value in run.encoder.state_dict().items()}
    Linear(epochs=3, augment=True).run(run.encoder, run.form, Labelled.of(store, "half"), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in run.encoder.state_dict().items())
    assert all(p.grad is None for p in run.encoder.parameters())


def test_the_probe_options_are_read(store, run):
    data = Labelled.of(store, "half")
    plain = Linear(epochs=5).run(run.encoder, run.form, data, seed=0)[1]
    for change in (
        {"standardise": False}, {"augment": True}, {"batch_size": 7}, {"weight_decay": 0.1}, {"learning_rate": 0.1},
        {"epochs": 6},
    ):  # fmt: skip
        other = Linear(**({"epochs": 5} | change)).run(run.encoder, run.form, data, seed=0)[1]
        assert not torch.allclose(other.weight, plain.weight), change


def test_knn_by_hand():
    train, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 0, 1])
    test = torch.tensor([[1.0, 0.05], [0.1, 5]])
    assert vote(train, labels, test, k=1, temperature=0.1, num_classes=2).tolist() == [0, 1]
    assert vote(train, labels, test, k=3, temperature=100.0, num_classes=2).tolist() == [0, 0]
    assert vote(train, labels, test, k=99, temperature=0.01, num_classes=2).tolist() == [0, 1]


def test_knn_protocol(store, run):
    outcome, classifier = KNN(k=3).run(run.encoder, run.form, Labelled.of(store, "half"), seed=0)
    assert classifier is None
    assert len(outcome.predictions) == 20


def test_baselines(store):
    data = Labelled.of(store, "half")
    assert chance(data).mean == 0.5
    itself = Labelled(store, "half", data.train, data.train)
    assert nearest_raw_joints(itself).mean == 1.0


def test_standardisation_is_folded_in():
    torch.manual_seed(0)
    features = torch.randn(30, 5) * torch.tensor([1.0, 10, 0.1, 1, 0]) + 3
    weight, bias = torch.randn(4, 5), torch.randn(4)
    mean, sd = standardisation(features)
    assert sd[4] == 1
    expected = (((features - mean) / sd) @ weight.T + bias).softmax(dim=1)
    classifier = Classifier(*fold(weight, bias, mean, sd), ("a", "b", "c", "d"), "half")
    torch.testing.assert_close(classifier(features), expected, atol=1e-4, rtol=0)


def outcome(*predictions):
    seeds = [SeedOutcome(k, list(p), oracle=0.75) for k, p in enumerate(predictions)]
    return Outcome("linear", {"epochs": 3}, "half", ["a", "b", "c"], list("wxyz"), [0, 0, 1, 1], seeds)


def test_outcomes_by_hand(tmp_path):
    measured = outcome([0, 0, 1, 0], [0, 1, 1, 0])
    assert measured.mean == pytest.approx(0.625)
    assert measured.sd == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert measured.oracle == 0.75
    np.testing.assert_allclose(measured.confusion, [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]])
    assert measured.per_class == {"a": 0.75, "b": 0.5, "c": None}
    assert measured.summary() == "62.5 ± 17.7 % (oracle best epoch 75.0)"
    assert outcome([0, 0, 1, 1]).sd is None
    measured.save(tmp_path / "o.json")
    assert Outcome.open(tmp_path / "o.json") == measured
    runs = [
        SeedOutcome(0, p, run=name) for name, p in zip("aabb", [[0, 0, 1, 1]] * 2 + [[0, 1, 1, 0]] * 2, strict=True)
    ]
    spread = dataclasses.replace(measured, seeds=runs)
    assert spread.by_run.tolist() == [1.0, 0.5]
    assert spread.sd == pytest.approx(np.std([1.0, 0.5], ddof=1)), "seeds of one run are no independent runs"
    assert (spread.spread_over, measured.spread_over) == ("2 runs", "2 probe seeds")
    both = merge([measured, outcome([0, 0, 1, 1])], {})
    assert len(both.seeds) == 3
    with pytest.raises(ValueError, match="different ones"):
        merge([measured, Outcome("knn", {}, "half", ["a"], ["w"], [0], [])], {})


def test_evaluate_saves_everything(store, run):
    outcomes = evaluate(run, store, protocol=options(PROTOCOLS, "linear", epochs=20), split="half", seeds=2)
    assert list(outcomes) == ["linear", "untrained_linear", "raw_1nn", "chance"]
    saved = json.loads((run.path / "results" / "linear-half.json").read_text())
    assert saved["accuracy"] == outcomes["linear"].mean
    assert len(saved["seeds"]) == 2
    assert saved["facts"]["fingerprint"] == store.fingerprint
    classifier = Classifier.open(run.path)
    assert (classifier.classes, classifier.split) == (("slow", "fast"), "half")
    assert classifier.weight.shape == (2, 80)


def test_pretraining_on_test_clips_is_counted(store, run):
    outcome = evaluate(run, store, protocol=options(PROTOCOLS, "knn"), split="half", seeds=3, baselines=False)["knn"]
    assert outcome.facts["pretrained_on_test"] == 0
    assert len(outcome.seeds) == 1, "seeds make no difference to kNN"
    greedy = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, split=None))
    outcome = evaluate(greedy, store, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False)["knn"]
    assert outcome.facts["pretrained_on_test"] == 20


def test_only_runs_of_one_recipe_are_seeds_of_one_another(store, run, tmp_path):
    judged = []
    for seed, epochs in ((1, 4), (2, 4), (3, 5)):
        recipe = dataclasses.replace(
            run.recipe, training=dataclasses.replace(run.recipe.training, seed=seed, epochs=epochs)
        )
        other = dataclasses.replace(run, recipe=recipe, path=shutil.copytree(run.path, tmp_path / f"s{seed}"))
        judged.append(evaluate(other, store, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False))
    assert over_runs(judged[:2])["knn"].spread_over == "2 runs"
    with pytest.raises(ValueError, match="differ in their seed only"):
        over_runs(judged)


def test_prediction_agrees_with_evaluation(store, run):
    outcomes = evaluate(run, store, protocol=options(PROTOCOLS, "linear", epochs=20), split="half", seeds=1)
    test = store.split("half")[1]
    labelled = predict(run, [store.clip(int(i)) for i in test])
    assert [store.classes.index(name) for name, _ in labelled] == outcomes["linear"].seeds[0].predictions
    assert all(0.5 <= confidence <= 1 for _, confidence in labelled)
    with pytest.raises(ValueError, match="this run cannot label it"):
        predict(run, [make_clip("a", 5, skeleton="sbu")])


def test_unlabelled_clips_are_left_out(tmp_path):
    clips = [
        make_clip(f"c{i}", 5, label=None if i < 2 else 0, splits={"s": "train" if i % 2 else "test"}) for i in range(6)
    ]
    store = write_store(tmp_path / "store", clips, get_skeleton("kinect_v1"), classes=["x"])
    data = Labelled.of(store, "s")
    assert (len(data.train), len(data.test)) == (2, 2)
    bare = write_store(tmp_path / "bare", clips[:2], get_skeleton("kinect_v1"), classes=["x"])
    with pytest.raises(ValueError, match="got 0 to train and 0 to test on"):
        Labelled.of(bare, "s")
