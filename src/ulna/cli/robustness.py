"""ulna robustness MODEL... --data DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Models, run
from ulna.core import InputError, refuse_existing

FORMATS = (".png", ".svg", ".pdf")


def robustness(
    models: Models,
    /,
    *,
    data: Path,
    split: str | None = None,
    classifier: str = "linear",
    seeds: int = 3,
    out: Path | None = None,
) -> None:
    """Measure a classifier's accuracy under noise, missing joints and frames, other frame rates and viewpoints.

    Evaluate the models first. Several models of one recipe are its seeds; with --out models of several recipes are
    drawn beside one another.

    Args:
        models: Model folders.
        data: Dataset with labels.
        split: Split whose test part is corrupted; the recipe's by default.
        classifier: Name of the classifier: linear, finetune, finetune-5pct, ...
        seeds: Number of draws of random corruptions.
        out: Figure to write (.png, .svg, .pdf); figures/robustness.png in the first model's folder by default.
    """
    if out:
        refuse_existing(out)
        if out.suffix not in FORMATS:
            raise InputError(f"{out}: expected the name of a figure ending in {', '.join(FORMATS)}")
    from ulna.analysis import write_robustness
    from ulna.cli.loading import load_models, required_split
    from ulna.dataset import Dataset

    loaded, dataset = load_models(models), Dataset(data)
    chosen = required_split(loaded[0], dataset, split)
    print(write_robustness(loaded, dataset, split=chosen, classifier=classifier, seeds=seeds, path=out))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(robustness, arguments, prog="robustness")
