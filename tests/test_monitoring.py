"""Monitoring while pretraining: the effective rank, collapse, and the online k-NN."""

import csv

import numpy as np
import pytest
import torch

from conftest import model_of, tiny
from ulna.core import InputError, UlnaWarning
from ulna.training import monitoring
from ulna.training.monitoring import effective_rank, nearest_neighbours_accuracy


def test_the_effective_rank_of_known_spectra():
    """Equal singular values count fully, and vectors on a line as one."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(40, 8, generator=generator) - 0.0).Q
    basis = torch.linalg.qr(basis - basis.mean(dim=0)).Q
    centred = basis - basis.mean(dim=0)
    assert effective_rank(centred) == pytest.approx(8, rel=1e-3)
    line = torch.linspace(0, 1, 20)[:, None] * torch.randn(1, 5, generator=generator) + 3
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(6, 4)) < 5


def test_neighbours_vote():
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.0], [0.0, 1.0], [0.1, 0.9], [0.0, 0.8], [0.1, 0.8]])
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    test = torch.tensor([[1.0, 0.1], [0.0, 0.9]])
    assert nearest_neighbours_accuracy(train, test, labels, np.array([0, 1])) == 1.0
    assert nearest_neighbours_accuracy(train, test, labels, np.array([1, 1])) == 0.5


def rows_of(model):
    with (model.path / "monitoring.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_is_monitored_and_not_changed(dataset, tmp_path):
    plain = model_of(tiny(epochs=3), dataset, tmp_path / "plain")
    watched = model_of(tiny(epochs=3), dataset, tmp_path / "watched", monitor=f"{dataset.path}@half")
    assert [row["epoch"] for row in rows_of(plain)] == ["1", "2", "3"]
    assert "knn" not in rows_of(plain)[0]
    assert all(1 <= float(row["effective_rank"]) <= 100 for row in rows_of(watched))
    assert all(0 <= float(row["knn"]) <= 1 for row in rows_of(watched))
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(watched.encoder.state_dict()[name], value), "monitoring does not influence the training"


def test_a_collapse_is_reported_once(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring, "LOWEST_RANK", 1e6)
    monkeypatch.setattr(monitoring, "FEWEST_CLIPS", 10)
    with pytest.warns(UlnaWarning, match="the embeddings collapse: their effective rank is") as caught:
        model_of(tiny(epochs=2), dataset, tmp_path / "model")
    assert len([one for one in caught if "collapse" in str(one.message)]) == 1


def test_a_monitor_needs_labels_and_a_split(dataset, tmp_path):
    with pytest.raises(InputError, match="monitor: expected FOLDER@SPLIT, since the recipe names no split"):
        model_of(tiny().replace(split=None), dataset, tmp_path / "model", monitor=dataset)
    with pytest.raises(InputError, match=r"unknown split of .* 'none'"):
        model_of(tiny(), dataset, tmp_path / "model", monitor=f"{dataset.path}@none")
