"""ulna bench MODEL... --data DATASET --table FILE.csv"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ulna.cli.memory import keep_freed_memory
from ulna.cli.options import Flag, Models, run
from ulna.cli.stopping import exit_when_stopped


def bench(
    models: Models,
    /,
    *,
    data: Path,
    table: Path,
    split: str | None = None,
    tasks: tuple[str, ...] = (),
    match_joints: Flag = False,
    device: str = "auto",
) -> None:
    """Evaluate models under all tasks of the benchmark and append the results to a table.

    Tasks: linear, 1-NN, retrieval, 1 % labels, 5 % labels, 10 % labels, fine-tuned. Tasks whose results are in the
    table already are skipped, so that an interrupted benchmark can be continued.

    Args:
        models: Model folders of one recipe, one per training seed.
        data: Dataset with labels.
        table: CSV file that rows are appended to, one per task and seed.
        split: Split to evaluate on; the recipe's by default.
        tasks: Tasks, in quotes; all by default.
        match_joints: Accept a dataset of another skeleton and match joints by name (transfer).
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset
    from ulna.evaluation.bench import TASKS, score
    from ulna.evaluation.bench import bench as run_bench
    from ulna.evaluation.table import append_results, is_known, read_rows, rows_of

    loaded, dataset = load_models(models, device), Dataset(data)
    chosen = split or loaded[0].recipe.split or ""
    known = read_rows(table) if table.exists() else []
    missing = []
    for task in tasks or TASKS:
        if task in TASKS and is_known(known, loaded, dataset, chosen, TASKS[task]):
            print(f"{task}: in the table already")
        else:
            missing.append(task)
    if not missing:
        return
    save = not any(model.is_read_only for model in loaded)
    with exit_when_stopped("The same command continues there."), keep_freed_memory():
        for name, evaluation in run_bench(
            loaded, dataset, split=split, tasks=missing, match_joints=match_joints, save=save, device=device
        ):
            results = [result for result in (evaluation.result, evaluation.random_init) if result is not None]
            append_results(table, results)
            means = [
                f"{result.key.kind.replace('_', ' ')} {np.mean([score(row) for row in rows_of(result)]):.1f}"
                for result in results
            ]
            print(f"{name}: {', '.join(means)}", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(bench, arguments, prog="bench")
