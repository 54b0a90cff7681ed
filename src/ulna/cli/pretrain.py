"""ulna pretrain RECIPE --data DATASET --out MODEL"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.evaluate import Devices
from ulna.cli.memory import keep_freed_memory
from ulna.cli.options import INLINE, Flag, choose, run
from ulna.cli.stopping import exit_when_stopped
from ulna.models import Recipe
from ulna.recipes import RECIPES

USAGE = """usage: ulna pretrain RECIPE --data DATASET --out MODEL [options]

Pretrain on a dataset's clips, without labels.

recipes:
{}

ulna pretrain RECIPE --help describes a recipe and every option that can be changed."""


def command(name: str) -> Callable[..., None]:
    """Return the command with the options of a recipe."""

    def pretrain(
        *,
        data: tuple[Path, ...],
        out: Path,
        weights: tuple[float, ...] = (),
        start: Path | None = None,
        monitor: Path | None = None,
        resume: Flag = False,
        device: str = "auto",
        devices: Devices = 1,
        strategy: str = "auto",
        num_nodes: int = 1,
        recipe: Annotated[Recipe, INLINE] = RECIPES[name](),  # noqa: B008
    ) -> None:
        """Pretrain on a dataset's clips, without labels.

        Args:
            data: Dataset to train on; several for a recipe with a body. DATASET@SPLIT takes a split's training part.
            out: Model folder to write; must not exist.
            weights: Sampling weights of several datasets; every clip once per epoch by default.
            start: Model whose encoder the training starts from, of the same input and sizes; random weights by default.
            monitor: Dataset with labels, as DATASET@SPLIT, for an online k-NN in monitoring.csv.
            resume: Continue an unfinished run from its last checkpoint.
            device: "cpu", "cuda", or "auto": a GPU if there is one.
            devices: Number of devices per machine, or "auto" for all.
            strategy: Lightning's strategy for several devices, for example "ddp".
            num_nodes: Number of machines, each with as many devices.
            recipe: The recipe.
        """
        from lightning.fabric.utilities import rank_zero_only

        from ulna.dataset import Dataset
        from ulna.training import pretrain as run_pretrain

        with exit_when_stopped("Continue with --resume."), keep_freed_memory():
            model = run_pretrain(
                recipe, data, out, weights=weights or None, start=start, monitor=monitor, resume=resume, device=device,
                devices=devices, strategy=strategy, num_nodes=num_nodes,
            )  # fmt: skip
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return
        minutes = (model.config.training_seconds or 0) / 60
        first = str(data[0]) if data[0].exists() else str(data[0]).rpartition("@")[0]
        has_labels = bool((Dataset(first).labels >= 0).any())
        then = "evaluate {} --data {}" if has_labels else "embed {} --data {} --out FILE.parquet --page FILE.html"
        then += " --split SPLIT" if has_labels and model.recipe.split is None else ""
        print(f"{model.path}: {minutes:.1f} minutes; next: ulna {then.format(model.path, first)}")

    pretrain.__doc__ = f"{inspect.getdoc(RECIPES[name])}\n\n{inspect.cleandoc(pretrain.__doc__ or '')}"
    return pretrain


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    listed = "\n".join(f"  {name:46} {(inspect.getdoc(make) or '').splitlines()[0]}" for name, make in RECIPES.items())
    name, rest = choose(arguments, "recipe", RECIPES, USAGE.format(listed))
    run(command(name), rest, prog=f"pretrain {name}")
