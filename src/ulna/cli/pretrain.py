"""ulna pretrain RECIPE --data STORE --out RUN"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ulna.cli.arguments import leading, parse
from ulna.recipes import RECIPES


def main(arguments: Sequence[str]) -> None:
    name, rest = leading(arguments, "a recipe", list(RECIPES))
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
            ("data", Annotated[Path, tyro.conf.arg(help="Store to learn from.")]),
            ("out", Annotated[Path, tyro.conf.arg(help="Run to write; must not exist.")]),
            ("resume", Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help="Go on where an unfinished run stopped.")], False),
            ("accelerator", Annotated[str, tyro.conf.arg(help="auto, cpu, gpu, ...")], "auto"),
            ("devices", Annotated[str, tyro.conf.arg(help="How many devices, or auto.")], "auto"),
            ("strategy", Annotated[str, tyro.conf.arg(help="Lightning's strategy: auto, ddp, ...")], "auto"),
            ("recipe", Annotated[type(recipe), tyro.conf.arg(name="")], recipe),
        ],
        rest,
    )  # fmt: skip
    from ulna.data import Store
    from ulna.train import pretrain
    from ulna.train.module import NonFiniteLoss

    devices = int(wanted.devices) if wanted.devices.isdigit() else wanted.devices
    try:
        run = pretrain(
            wanted.recipe, Store(wanted.data), wanted.out, resume=wanted.resume,
            accelerator=wanted.accelerator, devices=devices, strategy=wanted.strategy,
        )  # fmt: skip
    except NonFiniteLoss as error:
        raise ValueError(str(error)) from None
    print(f"{run.path}: {run.facts['training_seconds'] / 60:.1f} minutes; next: ulna evaluate {run.path} --data {wanted.data}")
