"""Label subsets, fine-tuning with all labels and with few."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_clip, run_of, tiny
from test_protocols import verdict
from ulna.core import get_skeleton, options
from ulna.data import write_dataset
from ulna.dataset.label_subsets import label_subset
from ulna.encoders import ENCODERS
from ulna.evaluation import PROTOCOLS, FineTune, Labelled
from ulna.evaluation.evaluation import evaluate
from ulna.evaluation.finetune import _Learner
from ulna.evaluation.prediction import predict


def test_label_subsets(tmp_path):
    clips = [make_clip(f"c{i}", 4, label=i % 3 // 2, seed=i, splits={"s": "train"}) for i in range(90)]
    dataset = write_dataset(tmp_path / "dataset", clips, get_skeleton("kinect_v1"), classes=["x", "y"])
    drawn = label_subset(dataset, "s", 0.1, 7)
    assert np.bincount(dataset.labels[drawn]).tolist() == [6, 3], "a tenth of each class"
    file = dataset.path / "subsets" / "s-0.1-seed7.txt"
    assert file.read_text().split() == sorted(dataset.ids[i] for i in drawn)
    assert np.array_equal(label_subset(dataset, "s", 0.1, 7), drawn)
    file.unlink()
    assert np.array_equal(label_subset(dataset, "s", 0.1, 7), drawn), "drawn anew it is the same"
    assert not np.array_equal(label_subset(dataset, "s", 0.1, 8), drawn)
    assert np.bincount(dataset.labels[label_subset(dataset, "s", 0.001, 0)]).tolist() == [1, 1], "at least one of each"
    assert len(label_subset(dataset, "s", 1.0, 0)) == 90
    file.write_text("c1\nnobody\n")
    with pytest.raises(ValueError, match="got 'nobody'; remove the file"):
        label_subset(dataset, "s", 0.1, 7)
    with pytest.raises(ValueError, match="share: expected a number above 0 and at most 1"):
        label_subset(dataset, "s", 0.0, 7)


def test_fine_tuning_learns_and_keeps_what_it_learnt(dataset, tmp_path):
    still = options(ENCODERS, "gl_transformer", width=4, num_heads=2, num_blocks=1, dropout=0.0, drop_path=0.0)
    run = run_of(dataclasses.replace(tiny(epochs=4), encoder=still), dataset, tmp_path / "run")
    results = evaluate(
        run,
        dataset,
        protocol=options(PROTOCOLS, "finetune", epochs=20, steps=0, batch_size=5, learning_rate=3e-3),
        split="half",
        seeds=1,
    )
    assert list(results) == ["finetune", "untrained_finetune", "raw_1nn", "chance"]
    seed = results["finetune"].seeds[0]
    assert results["finetune"].mean > 0.8
    assert seed.curve[-1] == results["finetune"].mean
    assert len(seed.curve) == 5, "looked at five times"
    test = [dataset.clip(int(i)) for i in dataset.split("half")[1]]
    named = predict(run, test, protocol="finetune")
    assert [dataset.classes.index(name) for name, _ in named] == seed.predictions
    with pytest.raises(FileNotFoundError, match=r"saved, got none of that name; choose among finetune"):
        predict(run, test, protocol="few-labels")
    results = evaluate(run, dataset, protocol=options(PROTOCOLS, "scratch", epochs=1, steps=0), split="half", seeds=1)
    assert list(results) == ["scratch", "raw_1nn", "chance"], "its own untrained encoder"


def test_dropout_leaves_no_trace_in_fine_tuning_that_learns_nothing(dataset, tmp_path):
    """Embeddings under dropout have another mean and spread than those that are tested."""
    wild = options(ENCODERS, "gl_transformer", width=4, num_heads=2, num_blocks=2, dropout=0.4, pooling="blocks")
    run = run_of(dataclasses.replace(tiny(epochs=1), encoder=wild), dataset, tmp_path / "run")
    still = {"steps": 0, "batch_size": 5, "learning_rate": 1e-12, "precision": "32-true", "time": 0.0, "shear": 0.0}
    data = Labelled.of(dataset, "half")
    predicted = verdict(FineTune(epochs=20, **still), run, data)[0].predictions
    assert np.mean(predicted == data.test_labels) > 0.8, "as good as the probe that it began with"


def test_fine_tuning_with_few_labels(dataset, run):
    protocol = options(PROTOCOLS, "few-labels", share=0.2, epochs=2, steps=3)
    result = evaluate(run, dataset, protocol=protocol, split="half", seeds=2, baselines=False)["few-labels-20pct"]
    for seed in result.seeds:
        assert len(seed.labelled) == 4
        kept = dataset.path / "subsets" / f"half-0.2-seed{seed.seed}.txt"
        assert kept.read_text().split() == seed.labelled
        assert len(seed.curve) == 3, "as many epochs as the steps asked for take"
    assert result.seeds[0].labelled != result.seeds[1].labelled


def test_every_option_of_fine_tuning_is_read(dataset, run):
    data = Labelled.of(dataset, "half")
    plain = {"epochs": 2, "steps": 0, "batch_size": 10, "learning_rate": 1e-2}
    reference = verdict(FineTune(**plain), run, data)[1].weight
    for change in (
        {"share": 0.5}, {"epochs": 3}, {"steps": 5}, {"batch_size": 7}, {"learning_rate": 1e-3}, {"weight_decay": 5.0},
        {"layer_decay": 0.1}, {"warmup": 0.5}, {"label_smoothing": 0.0}, {"time": 0.5}, {"shear": 0.0},
        {"turn": 0.7}, {"mirror": 0.9}, {"precision": "32-true"}, {"probe_epochs": 3},
    ):  # fmt: skip
        assert not torch.allclose(verdict(FineTune(**plain | change), run, data)[1].weight, reference), change


def test_layer_decay_by_hand(dataset, run):
    encoder = run.encoder
    learner = _Learner(encoder, run.form, Labelled.of(dataset, "half"))
    optimizer = FineTune(layer_decay=0.5)._optimizer(learner)
    num_stages = len(encoder.layer_groups())
    assert [group["rate"] for group in optimizer.param_groups] == [0.5**d for d in range(num_stages, -1, -1)]
    own = [p for group in optimizer.param_groups[:-1] for p in group["params"]]
    assert {id(p) for p in own} == {id(p) for p in encoder.parameters()}, "layer_groups are all of the encoder"
