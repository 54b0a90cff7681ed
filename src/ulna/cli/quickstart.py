"""ulna quickstart"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ulna.cli.memory import keep_freed_memory
from ulna.cli.options import run
from ulna.core import check_range, refuse_existing

if TYPE_CHECKING:
    from ulna.dataset import Dataset
    from ulna.evaluation.evaluate import Evaluation
    from ulna.models import Model

PER_CLASS = (1, 5)  # labels
CAVEAT = """\
These exercises can be told apart by poses from one camera: random weights, which are given the poses as well, are as
good here. On other data pretraining helps: `ulna models`, docs/any_body.md."""
ENCODER, HERE = "ulna/base", "pretrained here"


def quickstart(*, out: Path = Path("quickstart"), draws: int = 5, epochs: int | None = None) -> None:
    """Classify movements with few labels, with the pretrained encoder and one that is pretrained here; write reports.

    The data are the sample of UI-PRMD inside the package. Labels come from five people; the other five
    are the test set.

    Args:
        out: Folder to write; must not exist.
        draws: Number of times that labelled clips are drawn.
        epochs: Epochs of pretraining; the recipe's by default.
    """
    import ulna
    from ulna.analysis import write_cards, write_report
    from ulna.dataset.sample import write_sample_dataset

    check_range("draws", draws, 1, 1000)
    recipe = ulna.recipes.get_recipe("quickstart")
    if epochs is not None:
        recipe = recipe.replace(training=recipe.training.replace(epochs=epochs))
    began = time.perf_counter()
    refuse_existing(out)
    dataset = write_sample_dataset(out / "dataset")
    print(f"{dataset.path}: {dataset.num_clips} clips of {len(dataset.classes)} movements by ten people\n")
    with keep_freed_memory():
        folders = {ENCODER: out / "base", HERE: out / "pretrained_here"}
        models = {ENCODER: ulna.load(ENCODER).save(folders[ENCODER])}
        print("pretraining a small encoder without labels")
        models[HERE] = ulna.pretrain(recipe, dataset, folders[HERE])

        found = {title: _few_labels(model, dataset, draws) for title, model in models.items()}
        rows = {
            "1-NN on raw joints": [one.raw_joints for one in found[ENCODER]],
            "random init": [one.random_init for one in found[ENCODER]],
        } | {title: [one.result for one in own] for title, own in found.items()}
        print(f"\naccuracy on people whose labels were not used, over {draws} draws of the labels")
        print(f"{'':20}" + "".join(f"{f'{number} per class':>16}" for number in PER_CLASS))
        for name, results in rows.items():
            print(f"{name:20}" + "".join(f"{one.summary():>16}" for one in results if one is not None))
        print(f"\n{CAVEAT}\n")
        for folder, model in zip(folders.values(), models.values(), strict=True):
            print(f"report: {write_report([model], folder / 'report.html', dataset=dataset)}")
            write_cards([model])
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes in all")


def _few_labels(model: Model, dataset: Dataset, draws: int) -> list[Evaluation]:
    """Return the accuracy with each number of labels per class, beside raw joints and random init."""
    from ulna.evaluation import Evaluator
    from ulna.evaluation.protocols import Fit

    evaluator = Evaluator(model, dataset, split="xsub", save=True, keep_embeddings=True)
    return [
        evaluator.evaluate(Fit(per_class=number), seeds=draws, baselines=("random_init", "raw_joints"))
        for number in PER_CLASS
    ]


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(quickstart, arguments, prog="quickstart")
