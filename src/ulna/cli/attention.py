"""ulna attention RUN... --data STORE"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse, pos_embed


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "attention",
        "Show what encoders attend to: figures in RUN/figures, and a page on which one picks block and head and sees "
        "the attention on a moving skeleton. Of several runs the attended distances stand beside one another.",
        [
            ("runs", pos_embed(tuple[Path, ...], "Runs to look into.", metavar="RUN")),
            ("data", option(Path, "Dataset with the clips.")),
            ("split", option(str | None, "Split whose test part is shown; the recipe's by default."), None),
            ("num_clips", option(int, "Most clips to average over."), 300),
        ],
        arguments,
    )
    if not wanted.runs:
        raise ValueError("expected at least one run to look into")
    from ulna.analysis import write_attention
    from ulna.data import Dataset
    from ulna.training import load

    runs, dataset = [load(path) for path in wanted.runs], Dataset(wanted.data)
    split = wanted.split or (runs[0].recipe.split if runs[0].recipe.split in dataset.splits else None)
    for path in write_attention(runs, dataset, split=split, num_clips=wanted.num_clips):
        print(path)
