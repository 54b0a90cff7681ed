"""ulna sample NAME DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import DATASET, Positional, run


def sample(name: Positional[str], out: Annotated[Positional[Path], DATASET], /) -> None:
    """Write a sample from inside the package as a dataset.

    Args:
        name: "ui_prmd" (rehabilitation movements by ten people) or "cmu" (motion capture).
        out: Dataset to write; must not exist.
    """
    from ulna.dataset.sample import SAMPLES, write_sample_dataset

    dataset = write_sample_dataset(out, name)
    print(f"{out}: {dataset.num_clips} clips, {dataset.num_frames:,} frames. {SAMPLES[name].caveat}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(sample, arguments, prog="sample")
