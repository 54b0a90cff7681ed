"""Novelty, unknown classes and calibrated probabilities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_clip, model_of, tiny
from ulna.core import InputError
from ulna.dataset import Dataset
from ulna.evaluation import LabelledSplit, evaluate
from ulna.evaluation.calibration import expected_calibration_error
from ulna.evaluation.protocols import Fit, Unknown
from ulna.formats.writing import write_clips
from ulna.models import load
from ulna.models.fitting import best_temperature, fit_logistic_regression
from ulna.models.novelty import Novelty


def vectors(num, seed=0, width=20, offset=0.0):
    random = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(5, width))
    return torch.tensor(random.normal(size=(num, 5)) @ basis + offset).float()


def test_alarms_are_as_frequent_as_stated():
    """Of new clips like the training clips, about a share of 10 % has a novelty above 0.9."""
    shares = []
    for seed in range(20):
        novelty = Novelty.of(vectors(100, seed), np.arange(100))
        shares.append(float((novelty(vectors(200, 1000 + seed)) > 0.9).float().mean()))
    assert 0.05 < np.mean(shares) < 0.13
    far = vectors(50, 3) * torch.linspace(-1, 1, 20) + 9 * torch.randn(20, generator=torch.Generator().manual_seed(0))
    assert (Novelty.of(vectors(100), np.arange(100))(far) > 0.9).float().mean() > 0.9


def test_alarms_with_more_features_than_clips():
    """The directions are not fitted to the clips that the threshold comes from."""
    rows = torch.randn(400, 600, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 601) ** -0.5
    novelty = Novelty.of(rows[:200], np.arange(200))
    assert float((novelty(rows[200:]) > 0.9).float().mean()) < 0.2


def test_novelty_by_hand():
    """Distances are cosine distances to the nearest clip; held out by groups, to the nearest clip of the others."""
    known, groups = vectors(30), np.repeat(np.arange(10), 3)
    novelty = Novelty.of(known, groups)
    unit = torch.nn.functional.normalize((known - known.mean(dim=0)) / known.std(dim=0, unbiased=False), dim=1)
    new = vectors(4, seed=5)
    row = torch.nn.functional.normalize((new - known.mean(dim=0)) / known.std(dim=0, unbiased=False), dim=1)
    torch.testing.assert_close(novelty.distance(new), 1 - (row @ unit.T).amax(dim=1), atol=1e-4, rtol=0)
    assert len(novelty.held_out) == 30
    assert (novelty.held_out > 1e-3).all(), "no clip is compared with its own group"
    assert novelty.distance(known).abs().max() < 1e-4, "a training clip itself"
    assert (novelty(known) == 0).all()
    copies = torch.cat([known, known])
    assert (Novelty.of(copies, np.tile(groups, 2)).held_out > 1e-3).all(), "copies are of the same group"
    assert Novelty.of(known, np.zeros(30)) is None, "one group tells nothing about others"


@given(st.integers(4, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_any_clips_have_a_novelty(num, width, seed):
    rows = torch.tensor(np.random.default_rng(seed).normal(size=(num, width))).float()
    rows[:, 0] = 1.0
    novelty = Novelty.of(rows, np.arange(num))
    found = novelty(rows + 0.1)
    assert ((found >= 0) & (found < 1)).all()
    assert novelty.directions.shape[1] <= 64
    same = Novelty.from_tensors(novelty.tensors())
    assert (same.distance(rows) - novelty.distance(rows)).abs().max() < 0.01


def test_calibration_error_by_hand():
    assert expected_calibration_error(np.array([0.8] * 10), np.array([True] * 8 + [False] * 2)) == pytest.approx(0)
    assert expected_calibration_error(np.array([1.0, 0.5]), np.array([False, True])) == pytest.approx(0.75)


@given(st.floats(0.3, 3), st.integers(0, 1000))
def test_the_temperature_of_scaled_logits_is_found(scale, seed):
    """Labels are drawn from probabilities; if their logits are multiplied by a factor, it is the temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(4000, 3)) * 2
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > random.random((4000, 1))).argmax(axis=1)
    stated = np.exp(scale * logits) / np.exp(scale * logits).sum(axis=1, keepdims=True)
    assert best_temperature(stated, labels) == pytest.approx(scale, rel=0.15)


def test_probabilities_of_noisy_labels_are_calibrated():
    """A fifth of the labels is wrong: without calibration on held-out clips, probabilities would be near one."""
    random = np.random.default_rng(0)
    features = torch.tensor(random.normal(size=(300, 40))).float()
    labels = (features[:, 0] > 0).long().numpy()
    noisy = np.where(random.random(300) < 0.2, 1 - labels, labels)
    weight, bias = fit_logistic_regression(features[:200], noisy[:200], 2)
    confidence, predicted = (features[200:] @ weight.T + bias).softmax(dim=1).max(dim=1)
    assert expected_calibration_error(confidence.numpy(), predicted.numpy() == noisy[200:]) < 0.15


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    model = model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("novelty") / "model")
    model.fit(dataset, split="half")
    return model


def strange(name="strange"):
    clip = make_clip(name, 40, seed=5)
    return replace(clip, position=clip.position[:, :, ::-1] * np.float32(2.5))


def test_models_say_unknown_when_asked_to(model, dataset, tmp_path):
    clips = [dataset.clip(int(i)) for i in dataset.split("half")[0]]
    answers = model.predict([*clips, strange()], unknown=0.1)
    assert answers[-1].label == "unknown"
    assert answers[-1].novelty > 0.9
    assert all(answer.label != "unknown" for answer in answers[:-1]), "its own training clips"
    assert all(answer.novelty < 0.05 for answer in answers[:-1])
    assert model.predict([strange()])[0].label != "unknown"
    saved = load(model.save(tmp_path / "saved").path)
    again = saved.predict([*clips, strange()], unknown=0.1)
    assert [one.label for one in again] == [one.label for one in answers]
    with pytest.raises(InputError, match="expected a share of false alarms between 0 and 1, found 2"):
        model.predict(clips, unknown=2.0)
    with pytest.raises(InputError, match=r"expected at least 1000 training clips for a share of 0\.001, found 20"):
        model.predict(clips, unknown=0.001)
    evaluate(model, dataset, split="half", seeds=1, baselines=False, save=True)
    with pytest.raises(InputError, match="expected a classifier that measures novelty, found one without"):
        load(model.path).predict(clips, unknown=0.1)


def test_the_protocol_leaves_classes_out(tmp_path):
    names = ("a", "b", "c", "d")
    clips = [
        make_clip(
            f"c{i}", 12 + i % 5, label=names[i % 4], seed=i, speed=0.1, splits={"half": ("train", "test")[i // 4 % 2]}
        )
        for i in range(80)
    ]
    dataset = Dataset.write(tmp_path / "dataset", clips, classes=names)
    model = model_of(tiny(epochs=1), dataset, tmp_path / "model")
    found = evaluate(model, dataset, Unknown(number=2), split="half", seeds=3, baselines=False).result
    assert set(found.seeds[0].metrics) == {"auroc", "fpr95", "auroc_softmax", "fpr95_softmax", "alarms"}
    assert all(0 <= value <= 1 for seed in found.seeds for value in seed.metrics.values())
    data = LabelledSplit.of(dataset, "half")
    for seed in found.seeds:
        assert len(set(seed.predictions)) <= 2
    one = evaluate(model, dataset, Unknown(classes=("a",)), split="half", baselines=False).result
    assert len(one.seeds) == 1
    assert 0 not in one.seeds[0].predictions
    assert len(one.seeds[0].predictions) == len(data.test)
    with pytest.raises(InputError, match="unknown class 'x'"):
        evaluate(model, dataset, Unknown(classes=("x",)), split="half", baselines=False)
    with pytest.raises(InputError, match="expected a class besides those left out, found 4 in all"):
        evaluate(model, dataset, Unknown(classes=names), split="half", baselines=False)
    alone = evaluate(model, dataset, Unknown(number=9), split="half", seeds=1, baselines=False).result.seeds[0]
    assert len(set(alone.predictions)) == 1, "one class is left"
    assert alone.metrics["auroc_softmax"] == 0.5


def test_the_fit_protocol_measures_calibration(model, dataset):
    found = evaluate(model, dataset, Fit(), split="half", baselines=False).result
    assert 0 <= found.seeds[0].metrics["ece"] <= 1


def test_the_command_says_unknown(model, tmp_path, command):
    fitted = model.save(tmp_path / "fitted")
    (tmp_path / "clips").mkdir()
    write_clips([strange("a"), strange("b")], tmp_path / "clips" / "*.npz")
    code, out, _ = command("predict", fitted.path, tmp_path / "clips", "--classifier", "fit", "--unknown", "0.1")
    assert code == 0
    assert out.count(" unknown ") == 2


def test_confidence_is_high_where_classes_are_far_apart():
    """Five labels of each of ten classes, which do not overlap."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 5)
    features = torch.tensor(np.eye(10)[labels] * 10 + random.normal(0, 0.1, (50, 10))).float()
    weight, bias = fit_logistic_regression(features, labels, 10)
    confidence, predicted = (features @ weight.T + bias).softmax(dim=1).max(dim=1)
    assert (predicted.numpy() == labels).all()
    assert confidence.min() > 0.9


def test_a_dataset_without_labels_is_fitted_by_a_table(model, tmp_path):
    clips = [make_clip(f"c{i}", 10 if i < 4 else 16, seed=i) for i in range(12)]
    dataset = Dataset.write(tmp_path / "unlabelled", clips)
    labels = {f"c{i}": "ab"[i % 2] for i in range(4)}
    found = model.fit(dataset, labels=labels, classifier="table")
    assert found.config.classes == ("a", "b")
    assert found.config.durations == pytest.approx((1 / 3,) * 3, abs=1e-3), "of the labelled clips"
