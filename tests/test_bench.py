"""The benchmark: tasks, ranks and paired tests."""

import numpy as np
import pytest

from conftest import model_of, tiny
from ulna.cli.bench import main as cli_bench
from ulna.core import InputError
from ulna.evaluation.bench import TASKS, bench, holm, paired_difference, ranks, score
from ulna.evaluation.table import read_rows, rows_of


def test_ranks_by_hand():
    scores = {
        "a": {"x": 90.0, "y": 80.0, "z": 70.0, "w": 60.0},
        "b": {"x": 80.0, "y": 80.0, "z": 60.0, "w": 70.0},
        "c": {"x": 10.0, "y": 20.0, "z": 30.0, "w": 40.0},
    }
    found = ranks(scores)
    assert found.methods == ("a", "b", "c")
    assert found.mean == (1.375, 1.625, 3.0)
    assert found.blocks == 4
    assert 0 < found.p_all < 0.1
    assert found.p_pairs["a", "b"] == found.p_pairs["b", "a"] == 1.0
    assert found.alike() == [("a", "b", "c")], "four blocks prove nothing"
    assert found.alike(level=0.9) == [("a", "b")]
    with pytest.raises(InputError, match="expected at least two methods with scores in the same three or more blocks"):
        ranks({"a": scores["a"], "b": {"x": 1.0}})


def test_methods_that_differ_everywhere_are_told_apart():
    generator = np.random.default_rng(0)
    blocks = [f"b{k}" for k in range(20)]
    base = dict(zip(blocks, generator.uniform(50, 60, 20), strict=True))
    scores = {
        "good": {b: v + 10 + generator.random() for b, v in base.items()},
        "twin": {b: v + 10 + generator.random() for b, v in base.items()},
        "bad": base,
    }
    found = ranks(scores)
    assert found.methods[2] == "bad"
    assert found.alike() == [found.methods[:2]]
    assert found.p_pairs["good", "bad"] < 0.001


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_paired_differences():
    generator = np.random.default_rng(0)
    hard = generator.random(200)
    one, two = ((generator.random((3, 200)) * 0.2 + hard < limit).astype(float) for limit in (0.8, 0.6))
    mean, low, high, p = paired_difference(one, two)
    assert low < mean < high
    assert mean == pytest.approx(one.mean() - two.mean())
    assert low > 0
    assert p < 0.01
    assert paired_difference(one, one)[0] == 0
    assert paired_difference(one, one)[3] > 0.5
    with pytest.raises(InputError, match="expected predictions for the same clips, found 200 and 100"):
        paired_difference(one, two[:, :100])


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=1), dataset, tmp_path_factory.mktemp("bench") / "model")


def test_every_task_gives_a_score(model, dataset):
    found = dict(bench([model], dataset, split="half", tasks=["linear", "retrieval", "10 % labels"]))
    assert list(found) == ["linear", "retrieval", "10 % labels"]
    assert found["linear"].random_init is not None
    assert found["10 % labels"].random_init is None
    row = rows_of(found["retrieval"].result)[0]
    assert score(row) == pytest.approx(100 * found["retrieval"].result.metrics["mAP"], abs=0.01)
    assert score(rows_of(found["linear"].result)[0]) == rows_of(found["linear"].result)[0].accuracy
    with pytest.raises(InputError, match="tasks: expected some of linear, 1-NN"):
        next(bench([model], dataset, tasks=["lineal"]))


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
