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
from ulna.core.places import stand_ins
from ulna.data import Batch, write_store
from ulna.data.subsets import label_subset
from ulna.encoders import ENCODERS
from ulna.inputs import Disentangled
from ulna.inputs.mapped import Mapped
from ulna.protocols import KNN, PROTOCOLS, FineTune, Labelled, Linear, Outcome, Retrieval, extract
from ulna.protocols.baselines import chance, nearest_raw_joints
from ulna.protocols.classifier import Classifier
from ulna.protocols.evaluation import check_alike, evaluate, over_runs
from ulna.protocols.finetune import _Learner
from ulna.protocols.head import Head
from ulna.protocols.knn import vote
from ulna.protocols.outcome import SeedOutcome, merge
from ulna.protocols.prediction import predict
from ulna.protocols.retrieval import rank

FORM = Disentangled(max_frames=16)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return run_of(tiny(epochs=4), store, tmp_path_factory.mktemp("runs") / "run")


def verdict(protocol, run, data, seed=0):
    return next(protocol.run(run.encoder, run.form, data, seeds=[seed]))


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
    outcome, classifier = verdict(Linear(epochs=60), run, data)
    again, _ = verdict(Linear(epochs=60), run, data)
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
    verdict(Linear(epochs=3, augment=True), run, Labelled.of(store, "half"))
    assert all(torch.equal(value, before[name]) for name, value in run.encoder.state_dict().items())
    assert all(p.grad is None for p in run.encoder.parameters())


def test_the_probe_options_are_read(store, run):
    data = Labelled.of(store, "half")
    plain = verdict(Linear(epochs=5), run, data)[1]
    for change in (
        {"standardise": False}, {"augment": True}, {"batch_size": 7}, {"weight_decay": 0.1}, {"learning_rate": 0.1},
        {"epochs": 6},
    ):  # fmt: skip
        other = verdict(Linear(**({"epochs": 5} | change)), run, data)[1]
        assert not torch.allclose(other.weight, plain.weight), change


def test_knn_by_hand():
    train, labels = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 0, 1])
    test = torch.tensor([[1.0, 0.05], [0.1, 5]])
    assert vote(train, labels, test, k=1, temperature=0.1, num_classes=2).tolist() == [0, 1]
    assert vote(train, labels, test, k=3, temperature=100.0, num_classes=2).tolist() == [0, 0]
    assert vote(train, labels, test, k=99, temperature=0.01, num_classes=2).tolist() == [0, 1]


def test_knn_protocol(store, run):
    outcome, classifier = verdict(KNN(k=3), run, Labelled.of(store, "half"))
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


def test_pretraining_on_test_clips_is_counted(store, run, tmp_path):
    outcome = evaluate(run, store, protocol=options(PROTOCOLS, "knn"), split="half", seeds=3, baselines=False)["knn"]
    assert outcome.facts["pretrained_on_test"] == 0
    assert len(outcome.seeds) == 1, "seeds make no difference to kNN"
    assert run.num_seen(store, store.split("half")[0]) == 20
    other = [dataclasses.replace(store.clip(i), id=f"another name {i}") for i in range(40)]
    renamed = write_store(tmp_path / "renamed", other, store.skeleton, classes=store.classes)
    assert run.num_seen(renamed, np.arange(40)) == 20, "under any name, in any store"
    greedy = run_of(dataclasses.replace(tiny(epochs=1), split=None), store, tmp_path / "greedy")
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


def copied_store(path):
    """Twelve clips of two classes; two of the test clips are training clips under another name."""
    clips = [make_clip(f"c{i}", 8, label=i % 2, seed=i, splits={"s": "train" if i < 8 else "test"}) for i in range(12)]
    clips += [dataclasses.replace(clips[i], id=f"again{i}", splits={"s": "test"}) for i in (0, 3)]
    groups = {"one": ("x",), "other": ("y",)}
    return write_store(path, clips, get_skeleton("kinect_v1"), classes=["x", "y"], class_groups=groups)


def test_copies_in_the_test_part_are_told_apart(tmp_path):
    data = Labelled.of(copied_store(tmp_path / "store"), "s")
    assert [data.test_ids[i] for i in data.copied] == ["again0", "again3"]
    outcome = nearest_raw_joints(data)
    assert outcome.seeds[0].predictions[-2:] == outcome.labels[-2:], "copies are always right"
    assert outcome.clean.clips == ["c8", "c9", "c10", "c11"]
    assert outcome.mean == pytest.approx((4 * outcome.clean.mean + 2) / 6)
    outcome.save(tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["clean"]["accuracy"] == outcome.clean.mean
    assert Outcome.open(tmp_path / "o.json").clean == outcome.clean
    assert chance(Labelled(data.store, "s", data.train, data.train)).clean is None, "all of it copies: no clean part"


def test_groups_and_the_bootstrap_interval(tmp_path):
    outcome = nearest_raw_joints(Labelled.of(copied_store(tmp_path / "store"), "s"))
    assert set(outcome.per_group) == {"one", "other"}
    assert outcome.per_group["one"] == outcome.per_class["x"]
    many = Outcome("p", {}, "s", ["a", "b"], ["c"] * 400, [0] * 400, [SeedOutcome(0, [0] * 300 + [1] * 100)])
    low, high = many.interval
    assert (low, high) == pytest.approx((0.75 - 0.0424, 0.75 + 0.0424), abs=0.006), "normal: 1.96 sqrt(p (1 - p) / n)"
    two = dataclasses.replace(many, seeds=[SeedOutcome(i, [0] * n + [1] * (400 - n), run=str(i)) for i, n in
                                           enumerate((240, 360))])  # fmt: skip
    assert np.ptp(two.interval) > 0.25, "runs that differ widen it"
    assert many.interval == (low, high)


def test_label_subsets(tmp_path):
    clips = [make_clip(f"c{i}", 4, label=i % 3 // 2, seed=i, splits={"s": "train"}) for i in range(90)]
    store = write_store(tmp_path / "store", clips, get_skeleton("kinect_v1"), classes=["x", "y"])
    drawn = label_subset(store, "s", 0.1, 7)
    assert np.bincount(store.labels[drawn]).tolist() == [6, 3], "a tenth of each class"
    file = store.path / "subsets" / "s-0.1-seed7.txt"
    assert file.read_text().split() == sorted(store.ids[i] for i in drawn)
    assert np.array_equal(label_subset(store, "s", 0.1, 7), drawn)
    file.unlink()
    assert np.array_equal(label_subset(store, "s", 0.1, 7), drawn), "drawn anew it is the same"
    assert not np.array_equal(label_subset(store, "s", 0.1, 8), drawn)
    assert np.bincount(store.labels[label_subset(store, "s", 0.001, 0)]).tolist() == [1, 1], "at least one of each"
    assert len(label_subset(store, "s", 1.0, 0)) == 90
    file.write_text("c1\nnobody\n")
    with pytest.raises(ValueError, match="got 'nobody'; remove the file"):
        label_subset(store, "s", 0.1, 7)
    with pytest.raises(ValueError, match="share: expected a number above 0 and at most 1"):
        label_subset(store, "s", 0.0, 7)


def test_fine_tuning_learns_and_keeps_what_it_learnt(store, tmp_path):
    still = options(ENCODERS, "gl_transformer", width=4, num_heads=2, num_blocks=1, dropout=0.0, drop_path=0.0)
    run = run_of(dataclasses.replace(tiny(epochs=4), encoder=still), store, tmp_path / "run")
    outcomes = evaluate(
        run,
        store,
        protocol=options(PROTOCOLS, "finetune", epochs=20, steps=0, batch_size=5, learning_rate=3e-3),
        split="half",
        seeds=1,
    )
    assert list(outcomes) == ["finetune", "untrained_finetune", "raw_1nn", "chance"]
    seed = outcomes["finetune"].seeds[0]
    assert outcomes["finetune"].mean > 0.8
    assert seed.curve[-1] == outcomes["finetune"].mean
    assert len(seed.curve) == 5, "looked at five times"
    test = [store.clip(int(i)) for i in store.split("half")[1]]
    named = predict(run, test, protocol="finetune")
    assert [store.classes.index(name) for name, _ in named] == seed.predictions
    with pytest.raises(FileNotFoundError, match=r"--protocol few-labels` saves, got none; the run has those of fine"):
        predict(run, test, protocol="few-labels")
    outcomes = evaluate(run, store, protocol=options(PROTOCOLS, "scratch", epochs=1, steps=0), split="half", seeds=1)
    assert list(outcomes) == ["scratch", "raw_1nn", "chance"], "its own untrained encoder"


def test_dropout_leaves_no_trace_in_fine_tuning_that_learns_nothing(store, tmp_path):
    """Embeddings under dropout have another mean and spread than those that are tested."""
    wild = options(ENCODERS, "gl_transformer", width=4, num_heads=2, num_blocks=2, dropout=0.4, readout="blocks")
    run = run_of(dataclasses.replace(tiny(epochs=1), encoder=wild), store, tmp_path / "run")
    still = {"steps": 0, "batch_size": 5, "learning_rate": 1e-12, "precision": "32-true", "time": 0.0, "shear": 0.0}
    data = Labelled.of(store, "half")
    predicted = verdict(FineTune(epochs=20, **still), run, data)[0].predictions
    assert np.mean(predicted == data.test_labels) > 0.8, "as good as the probe that it began with"


def test_fine_tuning_with_few_labels(store, run):
    protocol = options(PROTOCOLS, "few-labels", share=0.2, epochs=2, steps=3)
    outcome = evaluate(run, store, protocol=protocol, split="half", seeds=2, baselines=False)["few-labels-20pct"]
    for seed in outcome.seeds:
        assert len(seed.labelled) == 4
        kept = store.path / "subsets" / f"half-0.2-seed{seed.seed}.txt"
        assert kept.read_text().split() == seed.labelled
        assert len(seed.curve) == 3, "as many epochs as the steps asked for take"
    assert outcome.seeds[0].labelled != outcome.seeds[1].labelled


def test_every_option_of_fine_tuning_is_read(store, run):
    data = Labelled.of(store, "half")
    plain = {"epochs": 2, "steps": 0, "batch_size": 10, "learning_rate": 1e-2}
    reference = verdict(FineTune(**plain), run, data)[1].weight
    for change in (
        {"share": 0.5}, {"epochs": 3}, {"steps": 5}, {"batch_size": 7}, {"learning_rate": 1e-3}, {"weight_decay": 5.0},
        {"layer_decay": 0.1}, {"warmup": 0.5}, {"label_smoothing": 0.0}, {"time": 0.5}, {"shear": 0.0},
        {"precision": "32-true"}, {"probe_epochs": 3},
    ):  # fmt: skip
        assert not torch.allclose(verdict(FineTune(**plain | change), run, data)[1].weight, reference), change


def test_layer_decay_by_hand(store, run):
    encoder = run.encoder
    learner = _Learner(encoder, run.form, Labelled.of(store, "half"))
    optimizer = FineTune(layer_decay=0.5)._optimizer(learner)
    num_stages = len(encoder.stages())
    assert [group["rate"] for group in optimizer.param_groups] == [0.5**d for d in range(num_stages, -1, -1)]
    own = [p for group in optimizer.param_groups[:-1] for p in group["params"]]
    assert {id(p) for p in own} == {id(p) for p in encoder.parameters()}, "stages are all of the encoder"


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


def test_retrieval_among_test_clips(store, run):
    data = Labelled.of(store, "half")
    near, _ = verdict(Retrieval(k=(1, 5)), run, data)
    among, _ = verdict(Retrieval(among="test"), run, data)
    assert set(near.metrics) == {"mAP", "recall@1", "recall@5"}
    assert near.metrics["recall@1"] == np.mean(np.array(near.predictions) == data.test_labels)
    assert near.metrics["mAP"] != among.metrics["mAP"]


def test_transfer_to_another_skeleton(store, run, tmp_path):
    clips = [
        make_clip(f"c{i}", 6, skeleton="kinect_v2", label=i % 2, seed=i, splits={"s": "train" if i % 4 < 2 else "test"})
        for i in range(16)
    ]
    other = write_store(tmp_path / "store", clips, get_skeleton("kinect_v2"), classes=["x", "y"])
    with pytest.raises(ValueError, match="or map joints by name"):
        evaluate(run, other, protocol=options(PROTOCOLS, "linear"), split="s")
    outcome = evaluate(run, other, protocol=options(PROTOCOLS, "transfer", judge="knn"), split="s", baselines=False)
    assert len(outcome["transfer-knn"].labels) == 8
    assert not (run.path / "classifiers" / "transfer.safetensors").exists()


def test_joints_stand_for_one_another():
    v1, v2, sbu = (get_skeleton(name) for name in ("kinect_v1", "kinect_v2", "sbu"))
    assert stand_ins(v2, v2) == tuple(range(25))
    names = {joint: None if k is None else v2.joints[k] for joint, k in zip(v1.joints, stand_ins(v2, v1), strict=True)}
    assert names["hip_centre"] == "spine_base"
    assert names["spine"] == "spine_mid"
    assert names["shoulder_centre"] == "spine_shoulder"
    assert all(names[j] == j for j in v1.joints if j not in ("hip_centre", "spine", "shoulder_centre"))
    back = {joint: None if k is None else sbu.joints[k] for joint, k in zip(v2.joints, stand_ins(sbu, v2), strict=True)}
    assert back["spine_shoulder"] == "neck", "the centre chooses first"
    assert [joint for joint, k in back.items() if k is None] == [
        "spine_base", "neck", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_hand_tip", "left_thumb",
        "right_hand_tip", "right_thumb",
    ]  # fmt: skip
    taken = [k for k in stand_ins(sbu, v2) if k is not None]
    assert len(set(taken)) == len(taken), "no joint stands for two"
    camel = dataclasses.replace(
        v1, name="camel", joints=tuple("".join(w.title() for w in j.split("_")) for j in v1.joints), centre="Spine",
        shoulders=("LeftShoulder", "RightShoulder"), parts={}, torso=(),
    )  # fmt: skip
    assert stand_ins(camel, v1) == tuple(range(20))
    bare = dataclasses.replace(v1, name="bare", joints=("a",), parents=(-1,), centre="a", shoulders=None, parts={},
                               torso=())  # fmt: skip
    with pytest.raises(ValueError, match="stand for spine, left_shoulder, right_shoulder of 'kinect_v1', got 'bare'"):
        stand_ins(bare, v1)


def test_mapped_clips_are_the_same_motion():
    v1, v2 = get_skeleton("kinect_v1"), get_skeleton("kinect_v2")
    clip = make_clip("a", 7, skeleton="kinect_v1")
    position = np.zeros((7, 1, 25, 3), np.float32)
    own = [k if k is not None else 0 for k in stand_ins(v2, v1)]
    position[:, :, own] = clip.position
    there = np.zeros((7, 1, 25), bool)
    there[:, :, own] = True
    seen = dataclasses.replace(clip, position=position, present=there, skeleton=v2)
    mapped = Mapped(FORM, v2, v1)
    torch.testing.assert_close(mapped(Batch.from_clips([seen])).position, FORM(Batch.from_clips([clip])).position)
    assert (
        not Mapped(FORM, get_skeleton("sbu"), v1)(Batch.from_clips([make_clip("b", 3, skeleton="sbu")]))
        .present[:, :, v1.index("left_wrist")]
        .any()
    )


def test_votes_do_not_underflow():
    torch.manual_seed(0)
    train, test = torch.randn(40, 64), torch.randn(20, 64)
    labels = torch.arange(40) % 3 + 1
    for temperature in (1e-3, 5e-3):
        assert (vote(train, labels, test, k=5, temperature=temperature, num_classes=4) > 0).all(), "class 0 has no clip"


def test_fresh_weights_are_runs_of_their_own(store, run):
    outcomes = evaluate(run, store, protocol=options(PROTOCOLS, "linear", epochs=3), split="half", seeds=3)
    assert outcomes["linear"].spread_over == "3 probe seeds"
    assert outcomes["untrained_linear"].spread_over == "3 runs"


def test_runs_of_one_name_in_two_places(store, run, tmp_path):
    judged = []
    for place in "ab":
        training = dataclasses.replace(run.recipe.training, seed=ord(place))
        other = dataclasses.replace(
            run, recipe=dataclasses.replace(run.recipe, training=training),
            path=shutil.copytree(run.path, tmp_path / place / "run"),
        )  # fmt: skip
        judged.append(evaluate(other, store, protocol=options(PROTOCOLS, "knn"), split="half", baselines=False))
    assert over_runs(judged)["knn"].spread_over == "2 runs"
    with pytest.raises(ValueError, match="which differ in their seed only"):
        check_alike([run, run])


def test_clips_in_double_precision_are_labelled(store, run):
    evaluate(run, store, protocol=options(PROTOCOLS, "linear", epochs=3), split="half", seeds=1, baselines=False)
    clip = store.clip(0)
    double = dataclasses.replace(clip, position=clip.position.astype(np.float64))
    assert predict(run, [double]) == predict(run, [clip])
