"""ulna prepare FORMAT SOURCE DATASET"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from ulna.cli.options import INLINE, Flag, Positional, choose, run
from ulna.core import UlnaWarning
from ulna.dataset.windows import Windows
from ulna.formats import FORMATS, Format, detect_format

WHOLE = Windows()

USAGE = """usage: ulna prepare [FORMAT] SOURCE DATASET [options]

Read a folder of files and write them as a dataset. The format is detected if it is not given.

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
        hold_out: Literal["group", "subject", "recording", "clip"] | None = None,
        windows: Annotated[Windows, INLINE] = WHOLE,
        options: Annotated[Format, INLINE] = default,
    ) -> None:
        """Read a folder of files and write them as a dataset.

        Args:
            source: Folder with the files.
            dataset: Folder to write; must not exist.
            skip_bad: Leave bad files out and list them in rejected.csv, instead of stopping.
            workers: Number of processes; all cores by default.
            hold_out: What the default split keeps together; by default the first of group, subject and recording that
                all labelled clips state, else single clips.
            windows: How long recordings are cut into clips.
            options: Options of the format.
        """
        from ulna.dataset import prepare as run_prepare
        from ulna.dataset.description import REJECTED
        from ulna.dataset.holdout import NAME as HOLDOUT

        made = run_prepare(
            options, source, dataset, windows=windows, hold_out=hold_out, skip_bad=skip_bad, workers=workers
        )
        print(f"{made.path}: {made.num_clips:,} clips, {made.num_frames:,} frames, fingerprint {made.fingerprint}")
        for split in made.splits:
            train, test = made.split(split)
            print(f"  split {split:12} {len(train):,} train, {len(test):,} test")
        if made.splits == (HOLDOUT,):
            print(
                "  no split was given: every fifth group, subject or recording is held out, or every fifth clip of "
                "each class if these are not known"
            )
        if not made.splits and (made.labels >= 0).any():
            print("  no split: all clips come from one recording; prepare several, or choose with --hold-out")
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
    words = list(arguments)
    if words and words[0] not in FORMATS and not words[0].startswith("-") and Path(words[0]).exists():
        words.insert(0, detect_format(Path(words[0])))
        print(f"format: {words[0]}")
    name, rest = choose(words, "format", FORMATS, USAGE.format(formats))
    run(command(FORMATS[name]()), rest, prog=f"prepare {name}")
