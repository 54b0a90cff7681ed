"""ulna masks MODEL --data DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Positional, run


def masks(model: Positional[Path], /, *, data: Path, split: str | None = None, num_clips: int = 100) -> None:
    """Show scores and masks of a model pretrained by HA-CM: figures, and a page with moving skeletons.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        data: Dataset with the clips.
        split: Split whose test part is shown; the recipe's by default.
        num_clips: Largest number of clips to average over.
    """
    from ulna.analysis import write_masks
    from ulna.cli.loading import load_models, shown_split
    from ulna.dataset import Dataset

    (loaded,), dataset = load_models([model]), Dataset(data)
    for path in write_masks(loaded, dataset, split=shown_split(loaded, dataset, split), num_clips=num_clips):
        print(path)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(masks, arguments, prog="masks")
