"""ulna prepare FORMAT SOURCE DATASET"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Flag, Positional, choose, run
from ulna.core import UlnaWarning
from ulna.formats import FORMATS, Format

USAGE = """usage: ulna prepare FORMAT SOURCE DATASET [options]

Read a folder of files and write them as a dataset.

formats:
{}

ulna prepare FORMAT --help lists the options of a format."""


def command(default: Format) -> Callable[..., None]:
    """Return the command with the options of a format."""

    def prepare(
        source: Positional[Path],
        dataset: Positional[Path],
        /,
        *,
        skip_bad: Flag = False,
        workers: int | None = None,
        options: Annotated[Format, INLINE] = default,
    ) -> None:
        """Read a folder of files and write them as a dataset.

        Args:
            source: Folder with the files.
            dataset: Folder to write; must not exist.
            skip_bad: Leave bad files out and list them in rejected.csv, instead of stopping.
            workers: Number of processes; all cores by default.
            options: Options of the format.
        """
        from ulna.dataset import prepare as run_prepare
        from ulna.dataset.description import REJECTED
        from ulna.dataset.holdout import NAME as HOLDOUT

        made = run_prepare(options, source, dataset, skip_bad=skip_bad, workers=workers)
        print(f"{made.path}: {made.num_clips:,} clips, {made.num_frames:,} frames, fingerprint {made.fingerprint}")
        for split in made.splits:
            train, test = made.split(split)
            print(f"  split {split:12} {len(train):,} train, {len(test):,} test")
        if made.splits == (HOLDOUT,):
            print(
                "  no split was given: every fifth subject is held out, or every fifth clip of each class if subjects "
                "are not known"
            )
        rejected = made.path / REJECTED
        if rejected.is_file():
            num = len(rejected.read_text(encoding="utf-8").splitlines()) - 1
            warnings.warn(f"{num} bad files left out, listed in {rejected}", UlnaWarning, stacklevel=2)
        short = int((made.lengths == 1).sum())
        if short:
            warnings.warn(f"{short} clips have one frame only; they are kept", UlnaWarning, stacklevel=2)

    prepare.__doc__ = f"{inspect.getdoc(type(default))}\n\n{inspect.cleandoc(prepare.__doc__ or '')}"
    return prepare


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    formats = "\n".join(f"  {name:10} {format.title}" for name, format in FORMATS.items())
    name, rest = choose(arguments, "format", FORMATS, USAGE.format(formats))
    run(command(FORMATS[name]()), rest, prog=f"prepare {name}")
