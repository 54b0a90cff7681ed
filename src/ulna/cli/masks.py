"""ulna masks RUN --data STORE"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse, positional


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "masks",
        "Show what a run of cross masking (HA-CM) sees: scores by hierarchy and attention, which tokens they show, the "
        "joints' places in the ball: figures in RUN/figures, and a page with moving skeletons.",
        [
            ("run", positional(Path, "Run to look into.", metavar="RUN")),
            ("data", option(Path, "Store with the clips.")),
            ("split", option(str | None, "Split whose test part is shown; the recipe's by default."), None),
            ("num_clips", option(int, "Most clips to average over."), 100),
        ],
        arguments,
    )
    from ulna.analysis import write_masks
    from ulna.data import Store
    from ulna.train import load

    run, store = load(wanted.run), Store(wanted.data)
    split = wanted.split or (run.recipe.split if run.recipe.split in store.splits else None)
    for path in write_masks(run, store, split=split, num_clips=wanted.num_clips):
        print(path)
