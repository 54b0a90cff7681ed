"""Label subsets, fine-tuning with all labels and with few."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_clip, run_of, tiny
from test_protocols import verdict
from ulna.core import get_skeleton, options
from ulna.data import write_store
from ulna.data.subsets import label_subset
from ulna.encoders import ENCODERS
from ulna.protocols import PROTOCOLS, FineTune, Labelled
from ulna.protocols.evaluation import evaluate
from ulna.protocols.finetune import _Learner
from ulna.protocols.prediction import predict


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
    with pytest.raises(FileNotFoundError, match=r"saved, got none of that name; choose among finetune"):
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
        {"turn": 0.7}, {"mirror": 0.9}, {"precision": "32-true"}, {"probe_epochs": 3},
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
