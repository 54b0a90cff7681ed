"""ulna quickstart"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "quickstart",
        "The whole path on the sample inside the package: dataset, pretraining, linear evaluation, report.",
        [
            ("out", option(Path, "Folder to write; must not exist."), Path("quickstart")),
            ("seeds", option(int, "Encoders to pretrain, each from its own seed."), 3),
            ("epochs", option(int | None, "Epochs of pretraining; the recipe's by default."), None),
        ],
        arguments,
    )
    from ulna.analysis import write_report
    from ulna.cli.evaluate import show
    from ulna.core import options, refuse_existing, within
    from ulna.dataset.sample import CAVEAT, write_sample_dataset
    from ulna.evaluation import PROTOCOLS
    from ulna.evaluation.evaluation import evaluate, over_runs
    from ulna.recipes import RECIPES
    from ulna.training import pretrain

    within("seeds", wanted.seeds, 1)
    began = time.perf_counter()
    refuse_existing(wanted.out)
    dataset = write_sample_dataset(wanted.out / "dataset")
    print(f"{dataset.path}: {dataset.num_clips} clips, {dataset.num_frames:,} frames of motion capture")
    recipe = RECIPES["gl_transformer/sample"]()
    runs, judged = [], []
    for seed in range(wanted.seeds):
        training = dataclasses.replace(recipe.training, seed=seed, epochs=wanted.epochs or recipe.training.epochs)
        print(f"\npretraining without labels, seed {seed} ({seed + 1} of {wanted.seeds})")
        run = pretrain(dataclasses.replace(recipe, training=training), dataset, wanted.out / f"seed{seed}")
        runs.append(run)
        judged.append(evaluate(run, dataset, protocol=options(PROTOCOLS, "linear"), split="recordings", seeds=1))
    show(over_runs(judged))
    report = write_report(runs, wanted.out / "report.html", dataset=dataset)
    print(f"\n{CAVEAT}\n\nreport: {report}   ({(time.perf_counter() - began) / 60:.1f} minutes in all)")
