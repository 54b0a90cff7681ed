"""ulna pretrain RECIPE --data STORE --out RUN"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import flag, inline, reference_person, option, parse
from ulna.recipes import RECIPES


def main(arguments: Sequence[str]) -> None:
    name, rest = reference_person(arguments, "a recipe", list(RECIPES))
    if name is None:
        print("usage: ulna pretrain RECIPE --data STORE --out RUN [options]\n\nrecipes:")
        print("\n".join(f"  {recipe}" for recipe in RECIPES))
        print("\nulna pretrain RECIPE --help lists every field that can be overridden")
        return
    recipe = RECIPES[name]()
    wanted = parse(
        f"pretrain {name}",
        RECIPES[name].__doc__ or "",
        [
            ("data", option(Path, "Dataset to learn from.")),
            ("out", option(Path, "Run to write; must not exist.")),
            ("resume", flag("Go on where an unfinished run stopped."), False),
            ("accelerator", option(str, "cpu, cuda, or auto: a GPU where there is one."), "auto"),
            ("devices", option(str, "How many devices, or auto: all."), "1"),
            ("strategy", option(str, "Lightning's strategy: auto, ddp, ..."), "auto"),
            ("num_nodes", option(int, "How many machines, each with as many devices."), 1),
            ("recipe", inline(type(recipe)), recipe),
        ],
        rest,
    )  # fmt: skip
    from lightning.fabric.utilities import rank_zero_only

    from ulna.data import Dataset
    from ulna.training import pretrain
    from ulna.training.checkpoint import NonFiniteError, TrainingStopped

    devices = int(wanted.devices) if wanted.devices.isdigit() else wanted.devices
    try:
        run = pretrain(
            wanted.recipe, Dataset(wanted.data), wanted.out, resume=wanted.resume,
            accelerator=wanted.accelerator, devices=devices, strategy=wanted.strategy,
            num_nodes=wanted.num_nodes,
        )  # fmt: skip
    except NonFiniteError as error:
        raise ValueError(str(error)) from None
    except TrainingStopped as notice:
        print(f"{name}: {notice}", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return
    minutes = run.metadata["training_seconds"] / 60
    print(f"{run.path}: {minutes:.1f} minutes; next: ulna evaluate {run.path} --data {wanted.data}")
