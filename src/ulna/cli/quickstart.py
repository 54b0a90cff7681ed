"""ulna quickstart"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.memory import keep_freed_memory
from ulna.cli.options import run
from ulna.core import check_range, refuse_existing


def quickstart(*, out: Path = Path("quickstart"), seeds: int = 3, epochs: int | None = None) -> None:
    """Try everything on the sample inside the package: dataset, pretraining, linear evaluation, report.

    Args:
        out: Folder to write; must not exist.
        seeds: Number of encoders to pretrain, each from its own seed.
        epochs: Epochs of pretraining; the recipe's by default.
    """
    from ulna.analysis import write_report
    from ulna.dataset.sample import SAMPLES, write_sample_dataset
    from ulna.evaluation import evaluate
    from ulna.recipes import get_recipe
    from ulna.training import pretrain

    check_range("seeds", seeds, 1, 1000)
    recipe = get_recipe("gl_transformer/sample")
    if epochs is not None:
        recipe = recipe.replace(training=recipe.training.replace(epochs=epochs))
    began = time.perf_counter()
    refuse_existing(out)
    dataset = write_sample_dataset(out / "dataset", "cmu")
    print(f"{dataset.path}: {dataset.num_clips} clips, {dataset.num_frames:,} frames of motion capture")
    models = []
    for seed in range(seeds):
        print(f"\npretraining without labels, seed {seed} ({seed + 1} of {seeds})")
        with keep_freed_memory():
            models.append(pretrain(recipe.with_seed(seed), dataset, out / f"seed{seed}"))
    with keep_freed_memory():
        evaluation = evaluate(models, dataset, split="recordings", seeds=1, save=True)
    print("\n" + evaluation.table())
    report = write_report(models, out / "report.html", dataset=dataset)
    print(f"\n{SAMPLES['cmu'].caveat}\n\nreport: {report}   ({(time.perf_counter() - began) / 60:.1f} minutes in all)")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(quickstart, arguments, prog="quickstart")
