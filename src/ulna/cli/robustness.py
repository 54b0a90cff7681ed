"""ulna robustness RUN... --data STORE"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse, pos_embed
from ulna.core import refuse_existing

FORMATS = (".png", ".svg", ".pdf")


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "robustness",
        "Measure how a run's classifier bears joint noise, joints and frames that are not seen, other frame rates and "
        "other viewpoints, and draw a card. Evaluate the run first; several runs of one recipe are taken as its seeds. "
        "With --out also of several recipes, which are drawn beside each other.",
        [
            ("runs", pos_embed(tuple[Path, ...], "Runs that were evaluated.", metavar="RUN")),
            ("data", option(Path, "Dataset with labels.")),
            ("split", option(str | None, "Split whose test part is disturbed; the recipe's by default."), None),
            (
                "protocol",
                option(str, "One of RUN/classifiers: linear, finetune, few-labels-5pct, ..."),
                "linear",
            ),
            ("seeds", option(int, "Draws of what is random."), 3),
            (
                "out",
                option(Path | None, "Figure (.png, .svg, .pdf); the run's figures/robustness.png by default."),
                None,
            ),
        ],
        arguments,
    )
    if not wanted.runs:
        raise ValueError("expected at least one run to measure")
    if wanted.out:
        refuse_existing(wanted.out)
        if wanted.out.suffix not in FORMATS:
            raise ValueError(f"{wanted.out}: expected a figure's name ending in {', '.join(FORMATS)}")
    from ulna.analysis import write_robustness
    from ulna.data import Dataset
    from ulna.training import load

    runs, dataset = [load(path) for path in wanted.runs], Dataset(wanted.data)
    split = wanted.split or runs[0].recipe.split
    if split is None:
        raise ValueError(f"expected --split, since the recipe names none; {dataset.path} has {', '.join(dataset.splits)}")
    print(write_robustness(runs, dataset, split=split, protocol=wanted.protocol, seeds=wanted.seeds, path=wanted.out))
