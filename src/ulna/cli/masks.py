"""ulna masks RUN --data STORE"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse, pos_embed


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "masks",
        "Show what a run of cross masking (HA-CM) sees: scores by hierarchy and attention, which tokens they show, the "
        "joints' places in the ball: figures in RUN/figures, and a page with moving skeletons.",
        [
            ("run", pos_embed(Path, "Run to look into.", metavar="RUN")),
            ("data", option(Path, "Dataset with the clips.")),
            ("split", option(str | None, "Split whose test part is shown; the recipe's by default."), None),
            ("num_clips", option(int, "Most clips to average over."), 100),
        ],
        arguments,
    )
    from ulna.analysis import write_masks
    from ulna.data import Dataset
    from ulna.training import load

    run, dataset = load(wanted.run), Dataset(wanted.data)
    split = wanted.split or (run.recipe.split if run.recipe.split in dataset.splits else None)
    for path in write_masks(run, dataset, split=split, num_clips=wanted.num_clips):
        print(path)
