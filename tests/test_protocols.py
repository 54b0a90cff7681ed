"""Embeddings, linear evaluation, k-NN, retrieval, baselines, classifiers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import encoder_of, make_clip
from ulna.core import InputError, get_skeleton
from ulna.evaluation import LabelledSplit, RunOptions, evaluate
from ulna.evaluation.baselines import chance_level, nearest_raw_joints
from ulna.evaluation.knn import vote
from ulna.evaluation.protocols import KNN, Linear, Retrieval
from ulna.evaluation.retrieval import rank
from ulna.models import Classifier, ClassifierConfig, Embedder
from ulna.preprocessing import Disentangled
from ulna.training.finetuning import Head


def embedder_of(num_persons=1):
    """A small encoder with random weights everywhere, in training mode."""
    preprocessor = Disentangled(Disentangled.Config(max_frames=16), get_skeleton("kinect_v1"), num_persons)
    encoder = encoder_of("gl_transformer", preprocessor, num_heads=4, depth=2).train()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Embedder(encoder, preprocessor)


def first_result(protocol, model, data, seed=0):
    return next(protocol.run(model.embedder(data.dataset), data, seeds=[seed], options=RunOptions()))


def test_embeddings_do_not_depend_on_batches(dataset, monkeypatch):
    embedder = embedder_of()
    clips = np.array([5, 1, 30, 31, 2])
    whole = embedder.embed_dataset(dataset, clips)
    assert embedder.encoder.training, "the mode is restored"
    monkeypatch.setattr("ulna.models.embedding.FRAMES_PER_BATCH", {"cpu": 3})
    torch.testing.assert_close(embedder.embed_dataset(dataset, clips), whole, atol=1e-5, rtol=0)
    assert whole.shape == (5, 160)


def test_missing_persons_are_added(dataset):
    features = embedder_of(3).embed_dataset(dataset, np.array([0, 1]))
    assert features.shape == (2, 480)


def test_linear_learns_what_is_linear(dataset, model):
    data = LabelledSplit.of(dataset, "half")
    result, classifier = first_result(Linear(epochs=60), model, data)
    again, _ = first_result(Linear(epochs=60), model, data)
    assert result == again
    assert len(result.curve) == 60
    accuracy = np.mean(np.array(result.predictions) == data.test_labels)
    assert accuracy == pytest.approx(result.curve[-1])
    assert accuracy > 0.8
    assert result.oracle == max(result.curve)
    features = model.embedder(dataset).embed_dataset(dataset, data.test)
    assert classifier(features).argmax(dim=1).tolist() == result.predictions


def test_the_encoder_stays_frozen(dataset, model):
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    first_result(Linear(epochs=3, augment=2), model, LabelledSplit.of(dataset, "half"))
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert all(p.grad is None for p in model.encoder.parameters())


def test_the_options_of_linear_evaluation_are_read(dataset, model):
    data = LabelledSplit.of(dataset, "half")
    plain = first_result(Linear(epochs=5), model, data)[1]
    for change in (
        {"standardise": False}, {"augment": 1}, {"batch_size": 7}, {"weight_decay": 0.1}, {"learning_rate": 0.1},
        {"epochs": 6},
    ):  # fmt: skip
        other = first_result(Linear(**({"epochs": 5} | change)), model, data)[1]
        assert not torch.allclose(other.weight, plain.weight), change


def test_linear_evaluation_trains_on_augmented_versions_in_turn(dataset, model, monkeypatch):
    """Each version is made once and used again; with as many versions as epochs every epoch has its own (paper)."""
    made = []
    embed_dataset = Embedder.embed_dataset

    def noted(*arguments, augmentation=None, **options):
        made.append(augmentation)
        return embed_dataset(*arguments, augmentation=augmentation, **options)

    monkeypatch.setattr(Embedder, "embed_dataset", noted)
    data = LabelledSplit.of(dataset, "half")
    weights = {}
    for augment, yaw in ((2, 0.0), (2, 1.0), (9, 0.0)):
        made.clear()
        weights[augment, yaw] = first_result(Linear(epochs=9, augment=augment, yaw=yaw), model, data)[1].weight
        changes = [augmentation for augmentation in made if augmentation]
        assert len(changes) == min(augment, 8)
        assert all(change.yaw == yaw for change in changes)
    assert not torch.allclose(weights[2, 0.0], weights[2, 1.0])
    assert not torch.allclose(weights[2, 0.0], weights[9, 0.0])
    with pytest.raises(InputError, match="expected augment of at least 1"):
        Linear(yaw=1.0)


def test_knn_by_hand():
    train, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 0, 1])
    test = torch.tensor([[1.0, 0.05], [0.1, 5]])
    assert vote(train, labels, test, k=1, temperature=0.1, num_classes=2).tolist() == [0, 1]
    assert vote(train, labels, test, k=3, temperature=100.0, num_classes=2).tolist() == [0, 0]
    assert vote(train, labels, test, k=99, temperature=0.01, num_classes=2).tolist() == [0, 1]


def test_knn_protocol(dataset, model):
    result, classifier = first_result(KNN(k=3), model, LabelledSplit.of(dataset, "half"))
    assert classifier is None
    assert len(result.predictions) == 20


def test_baselines(dataset):
    data = LabelledSplit.of(dataset, "half")
    assert chance_level(data).accuracy == 0.5
    itself = LabelledSplit(dataset, "half", data.train, data.train)
    assert nearest_raw_joints(itself).accuracy == 1.0


def test_standardisation_is_folded_in():
    torch.manual_seed(0)
    features = torch.randn(30, 5) * torch.tensor([1.0, 10, 0.1, 1, 0]) + 3
    head = Head(5, 4)
    head.update(features)
    assert head.sd[4] == 1
    torch.testing.assert_close(head.standardised(features).mean(dim=0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(head.standardised(features)[:, :4].std(dim=0, unbiased=False), torch.ones(4))
    config = ClassifierConfig(classes=("a", "b", "c", "d"), split="half", fingerprint="", pooling="mean")
    classifier = Classifier(*head.folded(), config)
    torch.testing.assert_close(classifier(features), head(features).detach().softmax(dim=1), atol=1e-4, rtol=0)
    more = torch.cat([features.repeat(9, 1), features + 10])
    head.update(features + 10, 0.1)
    torch.testing.assert_close(head.mean, more.mean(dim=0))
    torch.testing.assert_close(head.variance, more.var(dim=0, unbiased=False))


def test_predictions_agree_with_evaluation(dataset, model):
    evaluation = evaluate(model, dataset, Linear(epochs=20), split="half", seeds=1)
    test = dataset.split("half")[1]
    predictions = model.predict([dataset.clip(int(i)) for i in test])
    named = [dataset.classes.index(prediction.label) for prediction in predictions]
    assert named == evaluation.result.seeds[0].predictions
    assert [prediction.clip for prediction in predictions] == [dataset.ids[i] for i in test]
    for prediction in predictions:
        assert 0.5 <= prediction.confidence <= 1
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert prediction.probabilities[dataset.classes.index(prediction.label)] == prediction.confidence
    with pytest.raises(InputError, match=r"expected skeleton 'kinect_v1' .*found 'sbu'"):
        model.predict([make_clip("a", 5, skeleton="sbu")])


def test_ranking_by_hand():
    gallery, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 1, 0])
    queries, truth = torch.tensor([[1.0, 0.01], [0.05, 1]]), torch.tensor([0, 1])
    first, metrics = rank(queries, truth, gallery, labels, k=(1, 2))
    assert first.tolist() == [0, 0]
    assert metrics["mAP"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert (metrics["recall@1"], metrics["recall@2"]) == (0.5, 1.0)
    first, metrics = rank(gallery, labels, gallery, labels, k=(1,), exclude_self=True)
    assert first.tolist() == [1, 0, 1]
    assert metrics["mAP"] == pytest.approx(1 / 2), "one query has nothing to find, the others find theirs second"
    with pytest.raises(InputError, match="clips of the test clips' classes to find, found none"):
        rank(queries, torch.tensor([5, 5]), gallery, labels, k=(1,))


def test_retrieval_among_test_clips(dataset, model):
    data = LabelledSplit.of(dataset, "half")
    train, _ = first_result(Retrieval(k=(1, 5)), model, data)
    test, _ = first_result(Retrieval(among="test"), model, data)
    assert set(train.metrics) == {"mAP", "recall@1", "recall@5"}
    assert train.metrics["recall@1"] == np.mean(np.array(train.predictions) == data.test_labels)
    assert train.metrics["mAP"] != test.metrics["mAP"]


def test_votes_do_not_underflow():
    torch.manual_seed(0)
    train, test = torch.randn(40, 64), torch.randn(20, 64)
    labels = torch.arange(40) % 3 + 1
    for temperature in (1e-3, 5e-3):
        assert (vote(train, labels, test, k=5, temperature=temperature, num_classes=4) > 0).all(), "class 0 has no clip"


def test_clips_in_double_precision_are_predicted(dataset, model):
    evaluate(model, dataset, Linear(epochs=3), split="half", seeds=1, baselines=False)
    clip = dataset.clip(0)
    double = replace(clip, position=clip.position.astype(np.float64))
    ((one,), (two,)) = (model.predict([c], classifier="linear") for c in (double, clip))
    assert (one.label, one.confidence) == (two.label, two.confidence)
    assert np.array_equal(one.probabilities, two.probabilities)
