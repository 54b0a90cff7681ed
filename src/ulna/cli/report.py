"""ulna report MODEL..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Models, run
from ulna.core import refuse_existing


def report(models: Models, /, *, data: Path | None = None, out: Path | None = None) -> None:
    """Write one self-contained HTML file on a model, or on several models of one recipe with different seeds.

    The model cards (README.md in the model folders) are written again, with everything that was measured.

    Args:
        models: Model folders.
        data: Dataset whose clips are shown; by default the one evaluated on.
        out: File to write; report.html in the first model's folder by default.
    """
    from ulna.analysis import write_cards, write_report
    from ulna.analysis.report import writable_folder
    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset
    from ulna.evaluation import check_same_recipe

    if out and out.exists() and out.suffix != ".html":
        refuse_existing(out)
    loaded = load_models(models)
    check_same_recipe(loaded)
    dataset = None if data is None else Dataset(data)
    print(write_report(loaded, out or writable_folder(loaded[0]) / "report.html", dataset=dataset))
    if not any(model.is_read_only for model in loaded):
        for path in write_cards(loaded, dataset=dataset):
            print(path)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(report, arguments, prog="report")
