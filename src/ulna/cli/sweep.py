"""ulna sweep GRID --data DATASET --out FOLDER"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, choose, run
from ulna.core import check_range, write_text
from ulna.recipes import GRIDS, RECIPES, Grid, GridRow, get_recipe

RESULTS = "results.csv"
USAGE = """usage: ulna sweep GRID --data DATASET --out FOLDER [options] [-- OPTIONS OF THE RECIPE]

Print the commands that pretrain and evaluate a grid of recipes, or run them one after another with --execute.

grids, or the name of any recipe:
{}"""


def commands(
    grid: Grid, data: Path, out: Path, *, seeds: int, protocols: Sequence[str], splits: Sequence[str],
    overrides: Sequence[str],
) -> Iterator[tuple[Path, list[str]]]:  # fmt: skip
    """Yield the commands of a grid, each with the file or folder that exists once it has run.

    Args:
        grid: Recipes, protocols and splits.
        data: Dataset.
        out: Folder for models and results.
        seeds: Number of pretraining seeds.
        protocols: Protocols, each with its options; those of the grid if empty.
        splits: Splits; those of the grid, or the recipe's own, if empty.
        overrides: Options that change the recipes.
    """
    evaluations = []
    for recipe in dict.fromkeys(row.recipe for row in grid.rows):
        for split in splits or grid.splits or [get_recipe(recipe).split or ""]:
            folder = out / recipe.replace("/", "-") / (split or "all")
            models = [folder / f"seed{seed}" for seed in range(seeds)]
            on_split = ["--split", split] if split else []
            for seed, model in enumerate(models):
                words = ["ulna", "pretrain", recipe, "--data", str(data), "--out", str(model), *on_split]
                yield model, [*words, "--training.seed", str(seed), *overrides]
            for protocol in protocols or grid.protocols:
                name, *options = shlex.split(protocol)
                done = folder / ("-".join([name, *options]).replace("--", "") + ".json")
                words = ["ulna", "evaluate", *map(str, models), "--data", str(data), *on_split, "--protocol", name]
                words += [*options, "--seeds", "1", "--out", str(done), "--table", str(out / RESULTS)]
                evaluations.append((done, words if name == "linear" else [*words, "--no-baselines"]))
    yield from evaluations


def command(overrides: Sequence[str]) -> Callable[..., None]:
    """Return the command with the options that change the recipes."""

    def sweep(
        name: Positional[str],
        /,
        *,
        data: Path,
        out: Path,
        seeds: int = 3,
        protocols: tuple[str, ...] = (),
        splits: tuple[str, ...] = (),
        execute: Flag = False,
    ) -> None:
        """Print the commands that pretrain and evaluate a grid of recipes, or run them one after another.

        Commands whose output exists are skipped, so that a sweep can be continued. Options after -- change the recipes.

        Args:
            name: Name of a grid or of a recipe.
            data: Dataset to pretrain and evaluate on.
            out: Folder for models, results.csv and a table.
            seeds: Number of pretraining seeds, from 0.
            protocols: Protocols, each with its options in quotes; those of the grid by default.
            splits: Splits to pretrain and evaluate on; those of the grid by default.
            execute: Run the commands instead of printing them, and write a table.
        """
        check_range("seeds", seeds, 1, 1000)
        grid = GRIDS[name] if name in GRIDS else Grid(title=name, rows=(GridRow(name=name, recipe=name),))
        for output, words in commands(
            grid, data, out, seeds=seeds, protocols=protocols, splits=splits, overrides=overrides
        ):  # fmt: skip
            print(shlex.join(words) if not output.exists() else f"# done: {shlex.join(words)}", flush=True)
            if execute and not output.exists():
                unfinished = output.with_name(output.name + ".unfinished").exists()
                done = subprocess.run([sys.executable, "-m", *words, *(["--resume"] if unfinished else [])])
                if done.returncode:
                    sys.exit(done.returncode)
        if execute:
            print(_write_table(grid, out))

    return sweep


def _write_table(grid: Grid, out: Path) -> Path:
    """Write the table of a grid, made from its results.csv."""
    from ulna.evaluation.table import cell, markdown, read_rows

    rows = read_rows(out / RESULTS)
    columns = list(dict.fromkeys((row.protocol, row.options) for row in rows if row.kind == "trained"))
    lines = []
    for line in grid.rows:
        for kind in ("trained", "random_init"):
            own = [row for row in rows if (row.recipe, row.kind) == (line.recipe, kind)]
            cells = [cell([row for row in own if (row.protocol, row.options) == column]) for column in columns]
            if any(cells):
                lines.append([line.name if kind == "trained" else f"{line.name}, random init", *cells])
    path = out / "table.md"
    text = markdown(["", *(" ".join(filter(None, column)) for column in columns)], lines)
    note = "Accuracy in percent after the last epoch, ± one standard deviation over models."
    write_text(path, f"## {grid.title}\n\n{text}\n\n{note}\n")
    return path


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    arguments = list(arguments)
    border = arguments.index("--") if "--" in arguments else len(arguments)
    listed = "\n".join(f"  {name:34} {grid.title}" for name, grid in GRIDS.items())
    choose(arguments, "grid or recipe", [*GRIDS, *RECIPES], USAGE.format(listed))
    run(command(arguments[border + 1 :]), arguments[:border], prog="sweep")
