"""ulna attention MODEL... --data DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Models, run


def attention(models: Models, /, *, data: Path, split: str | None = None, num_clips: int = 300) -> None:
    """Show what encoders attend to: figures, and a page with attention on moving skeletons, in each model's folder.

    Args:
        models: Model folders; their attended distances are drawn beside one another.
        data: Dataset with the clips.
        split: Split whose test part is shown; the recipe's by default.
        num_clips: Largest number of clips to average over.
    """
    from ulna.analysis import write_attention
    from ulna.cli.loading import load_models, shown_split
    from ulna.dataset import Dataset

    loaded, dataset = load_models(models), Dataset(data)
    for path in write_attention(
        loaded, dataset, split=shown_split(loaded[0], dataset, split), num_clips=num_clips
    ):  # fmt: skip
        print(path)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(attention, arguments, prog="attention")
