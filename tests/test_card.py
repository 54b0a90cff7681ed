"""The model card: what was measured, and how far seeds agree."""

import pytest
import torch

from conftest import model_of, tiny
from ulna.analysis import neighbour_agreement, write_cards, write_robustness
from ulna.cli.report import main as cli_report
from ulna.core import InputError
from ulna.evaluation import evaluate
from ulna.evaluation.protocols import Fit, Linear


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    return [model_of(tiny(epochs=1).with_seed(seed), dataset, folder / f"seed{seed}") for seed in (0, 1)]


def test_agreement_by_hand():
    """Points on a circle: the same order agrees fully; an order in which neighbours are far apart, not at all."""
    angle = torch.arange(12) * torch.pi / 6
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert neighbour_agreement([circle, 3 * circle], neighbours=2) == pytest.approx(1)
    assert neighbour_agreement([circle, circle[(torch.arange(12) * 5) % 12]], neighbours=2) == pytest.approx(0)
    with pytest.raises(InputError, match="at least two models and of more than 10 clips, found 1 models and 12 clips"):
        neighbour_agreement([circle])


def test_the_card_has_what_was_measured(models, dataset, tmp_path, capsys):
    evaluate(models, dataset, Linear(epochs=2), split="half", seeds=1, save=True)
    evaluate(models, dataset, Fit(per_class=2), split="half", seeds=1, save=True)
    write_robustness(models[:1], dataset, split="half", classifier="linear", seeds=1)
    cli_report([str(model.path) for model in models] + ["--data", str(dataset.path)])
    written = capsys.readouterr().out
    cards = [(model.path / "README.md").read_text() for model in models]
    assert all(str(model.path / "README.md") in written for model in models)
    for card in cards:
        assert "| dataset | half | linear |" in card
        row = next(line for line in card.splitlines() if "| fit 2-per-class |" in line)
        assert row.count("±") == 3, "model, random init and raw joints, each over two draws"
        assert "## Agreement between seeds" in card
        assert "## Limits" in card
        assert str(dataset.path) not in card, "no folders of this machine"
    assert "| missing joints |" in cards[0]
    (models[0].path / "results" / "robustness" / "linear-half.json").write_text('{"accuracy": 3}')
    with pytest.raises(InputError, match="expected accuracies on corrupted clips, found a damaged file"):
        write_cards(models)
