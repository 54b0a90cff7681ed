"""Features, linear evaluation, kNN, retrieval, baselines, classifiers."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_clip
from test_gl_transformer import small
from ulna.core import options
from ulna.preprocessing import Disentangled
from ulna.evaluation import KNN, PROTOCOLS, Labelled, Linear, Retrieval, extract
from ulna.evaluation.baselines import chance, nearest_raw_joints
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import evaluate
from ulna.evaluation.head import Head
from ulna.evaluation.knn import vote
from ulna.evaluation.prediction import predict
from ulna.evaluation.retrieval import rank

FORM = Disentangled(max_frames=16)


def verdict(protocol, run, data, seed=0):
    return next(protocol.run(run.encoder, run.form, data, seeds=[seed]))


def test_features_do_not_depend_on_batches(dataset, monkeypatch):
    encoder = small().train()
    clips = np.array([5, 1, 30, 31, 2])
    whole = extract(encoder, FORM, dataset, clips)
    assert encoder.training, "the mode is put back"
    monkeypatch.setattr("ulna.evaluation.features.FRAMES_AT_ONCE", 3)
    torch.testing.assert_close(extract(encoder, FORM, dataset, clips), whole, atol=1e-5, rtol=0)
    assert whole.shape == (5, 160)


def test_clips_with_fewer_persons_are_widened(dataset):
    features = extract(small(3), FORM, dataset, np.array([0, 1]))
    assert features.shape == (2, 480)


def test_linear_learns_what_is_linear(dataset, run):
    data = Labelled.of(dataset, "half")
    result, classifier = verdict(Linear(epochs=60), run, data)
    again, _ = verdict(Linear(epochs=60), run, data)
    assert result == again
    assert len(result.curve) == 60
    accuracy = np.mean(np.array(result.predictions) == data.test_labels)
    assert accuracy == pytest.approx(result.curve[-1])
    assert accuracy > 0.8
    assert result.oracle == max(result.curve)
    features = extract(run.encoder, run.form, dataset, data.test)
    assert classifier(features).argmax(dim=1).tolist() == result.predictions


def test_the_encoder_stays_frozen(dataset, run):
    before = {name: value.clone() for name, value in run.encoder.state_dict().items()}
    verdict(Linear(epochs=3, augment=2), run, Labelled.of(dataset, "half"))
    assert all(torch.equal(value, before[name]) for name, value in run.encoder.state_dict().items())
    assert all(p.grad is None for p in run.encoder.parameters())


def test_the_probe_options_are_read(dataset, run):
    data = Labelled.of(dataset, "half")
    plain = verdict(Linear(epochs=5), run, data)[1]
    for change in (
        {"standardise": False}, {"augment": 1}, {"batch_size": 7}, {"weight_decay": 0.1}, {"learning_rate": 0.1},
        {"epochs": 6},
    ):  # fmt: skip
        other = verdict(Linear(**({"epochs": 5} | change)), run, data)[1]
        assert not torch.allclose(other.weight, plain.weight), change


def test_the_probe_learns_from_changed_versions_in_turn(dataset, run, monkeypatch):
    """Each version is made once and shown again; as many as epochs: anew each epoch, as the paper."""
    made = []

    def noted(*arguments, augmentation=None, **options):
        made.append(augmentation)
        return extract(*arguments, augmentation=augmentation, **options)

    monkeypatch.setattr("ulna.evaluation.linear.extract", noted)
    data = Labelled.of(dataset, "half")
    probes = {}
    for augment, turn in ((2, 0.0), (2, 1.0), (9, 0.0)):
        made.clear()
        probes[augment, turn] = verdict(Linear(epochs=9, augment=augment, turn=turn), run, data)[1].weight
        changes = [augmentation for augmentation in made if augmentation]
        assert len(changes) == min(augment, 8)
        assert all(change.turn == turn for change in changes)
    assert not torch.allclose(probes[2, 0.0], probes[2, 1.0])
    assert not torch.allclose(probes[2, 0.0], probes[9, 0.0])
    with pytest.raises(ValueError, match="expected augment of at least 1"):
        Linear(turn=1.0)


def test_knn_by_hand():
    train, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 0, 1])
    test = torch.tensor([[1.0, 0.05], [0.1, 5]])
    assert vote(train, labels, test, k=1, temperature=0.1, num_classes=2).tolist() == [0, 1]
    assert vote(train, labels, test, k=3, temperature=100.0, num_classes=2).tolist() == [0, 0]
    assert vote(train, labels, test, k=99, temperature=0.01, num_classes=2).tolist() == [0, 1]


def test_knn_protocol(dataset, run):
    result, classifier = verdict(KNN(k=3), run, Labelled.of(dataset, "half"))
    assert classifier is None
    assert len(result.predictions) == 20


def test_baselines(dataset):
    data = Labelled.of(dataset, "half")
    assert chance(data).mean == 0.5
    itself = Labelled(dataset, "half", data.train, data.train)
    assert nearest_raw_joints(itself).mean == 1.0


def test_standardisation_is_folded_in():
    torch.manual_seed(0)
    features = torch.randn(30, 5) * torch.tensor([1.0, 10, 0.1, 1, 0]) + 3
    head = Head(5, 4)
    head.see(features)
    assert head.sd[4] == 1
    torch.testing.assert_close(head.scaled(features).mean(dim=0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(head.scaled(features)[:, :4].std(dim=0, unbiased=False), torch.ones(4))
    classifier = Classifier(*head.folded(), ("a", "b", "c", "d"), "half", "")
    torch.testing.assert_close(classifier(features), head(features).detach().softmax(dim=1), atol=1e-4, rtol=0)
    more = torch.cat([features.repeat(9, 1), features + 10])
    head.see(features + 10, 0.1)
    torch.testing.assert_close(head.mean, more.mean(dim=0))
    torch.testing.assert_close(head.variance, more.var(dim=0, unbiased=False))


def test_prediction_agrees_with_evaluation(dataset, run):
    results = evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=20), split="half", seeds=1)
    test = dataset.split("half")[1]
    labelled = predict(run, [dataset.clip(int(i)) for i in test])
    assert [dataset.classes.index(name) for name, _ in labelled] == results["linear"].seeds[0].predictions
    assert all(0.5 <= confidence <= 1 for _, confidence in labelled)
    with pytest.raises(ValueError, match="this run cannot label it"):
        predict(run, [make_clip("a", 5, skeleton="sbu")])


def test_ranking_by_hand():
    gallery, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 1, 0])
    queries, truth = torch.tensor([[1.0, 0.01], [0.05, 1]]), torch.tensor([0, 1])
    first, metrics = rank(queries, truth, gallery, labels, k=(1, 2))
    assert first.tolist() == [0, 0]
    assert metrics["mAP"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert (metrics["recall@1"], metrics["recall@2"]) == (0.5, 1.0)
    first, metrics = rank(gallery, labels, gallery, labels, k=(1,), is_among_itself=True)
    assert first.tolist() == [1, 0, 1]
    assert metrics["mAP"] == pytest.approx(1 / 2), "one query has nobody to find, the others find theirs second"
    with pytest.raises(ValueError, match="clips of the test clips' classes to find, got none"):
        rank(queries, torch.tensor([5, 5]), gallery, labels, k=(1,))


def test_retrieval_among_test_clips(dataset, run):
    data = Labelled.of(dataset, "half")
    near, _ = verdict(Retrieval(k=(1, 5)), run, data)
    among, _ = verdict(Retrieval(among="test"), run, data)
    assert set(near.metrics) == {"mAP", "recall@1", "recall@5"}
    assert near.metrics["recall@1"] == np.mean(np.array(near.predictions) == data.test_labels)
    assert near.metrics["mAP"] != among.metrics["mAP"]


def test_votes_do_not_underflow():
    torch.manual_seed(0)
    train, test = torch.randn(40, 64), torch.randn(20, 64)
    labels = torch.arange(40) % 3 + 1
    for temperature in (1e-3, 5e-3):
        assert (vote(train, labels, test, k=5, temperature=temperature, num_classes=4) > 0).all(), "class 0 has no clip"


def test_clips_in_double_precision_are_labelled(dataset, run):
    evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=3), split="half", seeds=1, baselines=False)
    clip = dataset.clip(0)
    double = dataclasses.replace(clip, position=clip.position.astype(np.float64))
    assert predict(run, [double]) == predict(run, [clip])
