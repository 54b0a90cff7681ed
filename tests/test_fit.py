"""Few labels in seconds: the protocol `fit`, and raw joints beside it with the same labels."""

import numpy as np
import pytest
import torch

from conftest import model_of, tiny
from ulna.cli.fit import main as cli_fit
from ulna.core import InputError
from ulna.dataset import label_subset
from ulna.evaluation import LabelledSplit, evaluate
from ulna.evaluation.baselines import nearest_raw_joints, raw_joints
from ulna.evaluation.protocols import FineTune, Fit
from ulna.evaluation.table import rows_of
from ulna.models import fitting, load
from ulna.models.fitting import fit_logistic_regression


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("fit") / "model")


def test_draws_per_class_are_nested(dataset):
    one, five, many = (label_subset(dataset, "half", 1.0, 3, per_class=n) for n in (1, 5, 1000))
    assert np.bincount(dataset.labels[one]).tolist() == [1, 1]
    assert np.bincount(dataset.labels[five]).tolist() == [5, 5]
    assert set(one) < set(five) < set(many)
    assert np.array_equal(many, label_subset(dataset, "half", 1.0, 3))
    with pytest.raises(InputError, match="per_class: expected a number of at least 1"):
        label_subset(dataset, "half", 1.0, 3, per_class=0)
    with pytest.raises(InputError, match=r"expected share or per_class, found share 0\.5 and per_class 2"):
        Fit(share=0.5, per_class=2)


def test_the_protocol_is_what_the_model_fits(model, dataset):
    """With all labels of the training part, it gives the predictions of `Model.fit`."""
    evaluation = evaluate(model, dataset, Fit(), split="half", baselines=False)
    assert len(evaluation.result.seeds) == 1, "nothing is drawn"
    model.fit(dataset, split="half", classifier="own")
    test = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    own = [dataset.classes.index(p.label) for p in model.predict(test, classifier="own")]
    assert own == evaluation.result.seeds[0].predictions


@pytest.mark.parametrize("protocol", [Fit(per_class=1), FineTune(per_class=1, epochs=1, steps=0, probe_epochs=1)])
def test_raw_joints_know_the_same_labels(model, dataset, protocol):
    evaluation = evaluate(model, dataset, protocol, split="half", seeds=2, baselines=["raw_joints"])
    assert evaluation.result.key.variant == evaluation.raw_joints.key.variant == "1-per-class"
    data = LabelledSplit.of(dataset, "half")
    test = raw_joints(dataset, data.test)
    for own, raw in zip(evaluation.result.seeds, evaluation.raw_joints.seeds, strict=True):
        clips = [dataset.ids.index(name) for name in own.labelled]
        known = raw_joints(dataset, np.array(clips))
        nearest = ((test[:, None] - known) ** 2).sum(dim=2).argmin(dim=1)
        assert dataset.labels[np.array(clips)[nearest.numpy()]].tolist() == raw.predictions
    assert {row.options for row in rows_of(evaluation.raw_joints)} == {"per_class=1"}
    assert nearest_raw_joints(data).key.variant == "", "all labels by default"


def two_groups(num):
    """Two groups of directions that differ in the first feature, and much more within a group in the second."""
    random = np.random.default_rng(0)
    labels = np.arange(num) % 2
    spread = np.linspace(-1, 1, num)[:, None] * [0.0, 2.0, 0.0]
    return torch.tensor(
        spread + (2 * labels[:, None] - 1) * [1.0, 0.0, 0.0] + random.normal(0, 0.02, (num, 3))
    ).float(), labels


def test_clips_without_a_label_take_those_of_similar_clips(monkeypatch):
    """The labelled clips also differ by the second feature, by chance; the others show that only the first counts."""
    features, labels = two_groups(200)
    known = np.array([0, 199])
    others = np.setdiff1d(np.arange(200), known)

    def accuracy(unlabelled):
        weight, bias = fit_logistic_regression(features[known], labels[known], 2, unlabelled=unlabelled)
        return float(((features @ weight.T + bias).argmax(dim=1).numpy() == labels).mean())

    assert accuracy(None) < 0.8
    assert accuracy(features[:0]) == accuracy(None), "no clips without a label"
    assert accuracy(features[others]) > 0.95
    seen = []
    fit = fitting._fit
    monkeypatch.setattr(fitting, "MOST_SPREAD", 72)
    monkeypatch.setattr(fitting, "_fit", lambda *arrays: seen.append(len(arrays[3])) or fit(*arrays))
    assert accuracy(features[others]) > 0.95
    assert seen == [66], "every third of 198"


def test_models_and_the_command_use_them_unless_told_not_to(model, dataset, tmp_path, capsys):
    names = [dataset.ids[i] for i in (0, 1)]
    labels = {name: dataset.classes[dataset.labels[dataset.ids.index(name)]] for name in names}
    used = model.fit(dataset, labels=labels, classifier="used")
    alone = model.fit(dataset, labels=labels, classifier="alone", unlabelled=False)
    assert not torch.allclose(used.weight, alone.weight)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items()))
    for option, expected in (([], used), (["--no-unlabelled"], alone)):
        out = tmp_path / f"model{len(option)}"
        cli_fit([str(model.path), "--data", str(dataset.path), "--labels", str(table), "--out", str(out), *option])
        torch.testing.assert_close(load(out).classifiers["fit"].weight, expected.weight, atol=1e-4, rtol=1e-3)
    found = [
        evaluate(model, dataset, Fit(per_class=1, unlabelled=used), split="half", seeds=1, baselines=False).result
        for used in (True, False)
    ]
    assert found[0].seeds[0].predictions != found[1].seeds[0].predictions


def test_more_features_than_clips_give_the_same_classifier():
    """Constant features carry nothing; with them, weights are found in the span of the clips."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 10)
    features = torch.from_numpy(rng.normal(size=(30, 8)) + 1.5 * np.eye(3)[labels] @ rng.normal(size=(3, 8))).float()
    others = torch.from_numpy(rng.normal(size=(9, 8))).float()
    wide, wide_others = (torch.cat([rows, torch.ones(len(rows), 100)], dim=1) for rows in (features, others))
    weight, bias = fit_logistic_regression(features, labels, 3, unlabelled=others)
    wide_weight, wide_bias = fit_logistic_regression(wide, labels, 3, unlabelled=wide_others)
    one, two = (others @ weight.T + bias).softmax(dim=1), (wide_others @ wide_weight.T + wide_bias).softmax(dim=1)
    assert two.numpy() == pytest.approx(one.numpy(), abs=2e-3)
