"""The benchmark: tasks, ranks and paired tests."""

import numpy as np
import pytest

from conftest import model_of, tiny
from ulna.cli.bench import main as cli_bench
from ulna.core import InputError
from ulna.evaluation.bench import TASKS, bench, compare, groups_alike, holm, mean_ranks, score
from ulna.evaluation.table import read_rows, rows_of
from ulna.models import Embedder


def test_mean_ranks_by_hand():
    scores = {
        "c": {"x": 10.0, "y": 20.0, "z": 30.0, "w": 40.0},
        "a": {"x": 90.0, "y": 80.0, "z": 70.0, "w": 60.0},
        "b": {"x": 80.0, "y": 80.0, "z": 60.0, "w": 70.0},
    }
    found = mean_ranks(scores)
    assert list(found.items()) == [("a", 1.375), ("b", 1.625), ("c", 3.0)]
    with pytest.raises(InputError, match="expected at least two methods with scores in the same blocks"):
        mean_ranks({"a": scores["a"], "b": {"x": 1.0}})


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def predictions(generator, hard, share):
    """Return (3, clips) correct predictions of a method that solves a share of the clips, the easiest first."""
    return (generator.random((3, len(hard))) * 0.2 + hard < share + 0.1).astype(float)


def test_comparisons_over_clips_and_seeds():
    generator = np.random.default_rng(0)
    hard = {"one": generator.random(200), "two": generator.random(150)}
    shares = {"good": 0.8, "twin": 0.8, "bad": 0.6}
    correct = {name: {d: predictions(generator, h, share) for d, h in hard.items()} for name, share in shares.items()}
    pairs = compare(correct)
    found = pairs["good", "bad"]
    means = {name: np.mean([own.mean() for own in data.values()]) for name, data in correct.items()}
    assert found.difference == pytest.approx(means["good"] - means["bad"])
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.01
    assert pairs["good", "twin"].low < 0 < pairs["good", "twin"].high
    assert pairs["good", "twin"].p > 0.1
    assert groups_alike(["twin", "good", "bad"], pairs) == [("twin", "good")]
    assert groups_alike(["twin", "good", "bad"], pairs, level=0.0) == [("twin", "good", "bad")]
    correct["bad"]["two"] = correct["bad"]["two"][:, :100]
    with pytest.raises(InputError, match="expected at least two methods with predictions for the same clips"):
        compare(correct)


def test_one_seed_is_compared_over_clips():
    """Two methods that differ on 20 of 100 clips, all in favour of the first: the standard error is 4 points."""
    one = np.ones((1, 100))
    two = one.copy()
    two[0, :20] = 0
    found = compare({"one": {"data": one}, "two": {"data": two}})["one", "two"]
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.12, 0.28), abs=0.015)


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=1), dataset, tmp_path_factory.mktemp("bench") / "model")


def test_every_task_gives_a_score(model, dataset):
    found = dict(bench([model], dataset, split="half", tasks=["linear", "retrieval", "10 % labels"]))
    assert list(found) == ["linear", "retrieval", "10 % labels"]
    assert found["linear"].random_init is not None
    assert found["linear"].raw_joints is None, "the same for all models and tasks"
    assert found["10 % labels"].random_init is None
    row = rows_of(found["retrieval"].result)[0]
    assert score(row) == pytest.approx(100 * found["retrieval"].result.metrics["mAP"], abs=0.01)
    assert score(rows_of(found["linear"].result)[0]) == rows_of(found["linear"].result)[0].accuracy
    with pytest.raises(InputError, match="tasks: expected some of linear, 1-NN"):
        next(bench([model], dataset, tasks=["lineal"]))


def test_clips_are_embedded_once_for_all_tasks(model, dataset, monkeypatch):
    alone = {
        name: evaluation.result
        for task in ("linear", "1-NN")
        for name, evaluation in bench([model], dataset, tasks=[task])
    }
    embedded = []
    embed = Embedder.embed_dataset
    monkeypatch.setattr(Embedder, "embed_dataset", lambda self, *args: embedded.append(self) or embed(self, *args))
    found = dict(bench([model], dataset, tasks=["linear", "1-NN", "retrieval"]))
    assert len(embedded) == 4, "training and test part, trained and random weights"
    assert len(set(embedded)) == 2
    for name, result in alone.items():
        assert found[name].result.seeds == result.seeds


def test_the_command_writes_rows_and_skips_finished_tasks(model, dataset, tmp_path, capsys):
    arguments = [str(model.path), "--data", str(dataset.path), "--split", "half", "--table", str(tmp_path / "t.csv")]
    cli_bench([*arguments, "--tasks", "1-NN"])
    assert "1-NN" in capsys.readouterr().out
    cli_bench([*arguments, "--tasks", "1-NN", "retrieval"])
    assert "1-NN: in the table already" in capsys.readouterr().out
    rows = read_rows(tmp_path / "t.csv")
    assert {(row.protocol, row.kind) for row in rows} >= {("knn", "trained"), ("retrieval", "random_init")}
    assert len([row for row in rows if (row.protocol, row.kind) == ("knn", "trained")]) == 1
    assert set(TASKS) >= {"linear", "fine-tuned"}
