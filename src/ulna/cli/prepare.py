"""ulna prepare FORMAT SOURCE DATASET"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ulna.cli.clips import split_format
from ulna.cli.options import DATASET, INLINE, LOCAL, SOURCE, Flag, choose, run
from ulna.core import Config, UlnaWarning, Workers
from ulna.dataset.windows import Windows
from ulna.formats import FORMATS, Format
from ulna.formats.detections import PoseFormat

if TYPE_CHECKING:
    from ulna.dataset import Dataset

WHOLE = Windows()

USAGE = """usage: ulna prepare [FORMAT] SOURCE DATASET [options]

Read a folder of files and write them as a dataset. The format is detected if it is not given.

  ulna prepare recordings dataset --fps 25
  ulna prepare openpose recordings dataset --window 2 --stride 0.5 --persons separate
  ulna prepare recordings dataset --annotations events.csv

formats:
{}

ulna prepare FORMAT --help lists the options of a format."""


def command(default: Config) -> Callable[..., None]:
    """Return the command with the options of a format."""

    def prepare(
        source: Annotated[Path, SOURCE],
        dataset: Annotated[Path, DATASET],
        /,
        *,
        skip_bad: Flag = False,
        hold_out: Literal["group", "subject", "recording", "clip"] | None = None,
        windows: Annotated[Windows, INLINE] = WHOLE,
        workers: Annotated[Workers, INLINE] = LOCAL,
        options: Annotated[Config, INLINE] = default,
    ) -> None:
        """Read files and write them as a dataset.

        Args:
            source: Folder with the files, one file, or a dataset to cut anew.
            dataset: Folder to write; must not exist.
            skip_bad: Leave bad files out and list them in rejected.csv, instead of stopping.
            hold_out: Unit of the default split. By default the first of group, subject and recording known for all
                labelled clips, otherwise the clip.
            windows: How long recordings are cut into clips.
            workers: Where files are read.
            options: Options of the format.
        """
        from ulna.dataset import prepare as run_prepare

        format = options if isinstance(options, Format) else None
        made = run_prepare(
            format, source, dataset, windows=windows, hold_out=hold_out, skip_bad=skip_bad, workers=workers
        )
        _describe(made, windows)
        if isinstance(format, PoseFormat) and made.fps.size and (made.fps == format.fps).all():
            print(f"  frame rate {format.fps:g}: state --fps if the recordings have another")

    prepare.__doc__ = f"{inspect.getdoc(type(default))}\n\n{inspect.cleandoc(prepare.__doc__ or '')}"
    return prepare


def _describe(made: Dataset, windows: Windows) -> None:
    """Print what was written, and warn about what may spoil a result."""
    from ulna.dataset import overlapping
    from ulna.dataset.description import REJECTED
    from ulna.dataset.holdout import NAME as HOLDOUT

    print(f"{made.path}: {made.num_clips:,} clips, {made.num_frames:,} frames, fingerprint {made.fingerprint}")
    labelled = int((made.labels >= 0).sum())
    if windows.is_active:
        print(
            f"  {len(set(made.recordings)):,} recordings; {labelled:,} clips have a label ({len(made.classes)} "
            f"classes), {made.num_clips - labelled:,} have none"
        )
    for split in made.splits:
        train, test = made.split(split)
        print(f"  split {split:12} {len(train):,} train, {len(test):,} test")
        shared = int((overlapping(made, train, test)[1] > 0).sum()) if windows.is_active else 0
        if shared:
            message = f"split {split}: {shared:,} test clips share frames with training clips"
            warnings.warn(message, UlnaWarning, stacklevel=3)
    if made.splits == (HOLDOUT,):
        print(
            "  no split was given: every fifth group, subject or recording is held out, or every fifth clip of "
            "each class if these are not known"
        )
    if not made.splits and labelled:
        print("  no split: too few clips, or all from one recording; prepare more, or choose with --hold-out")
    rejected = made.path / REJECTED
    if rejected.is_file():
        num = len(rejected.read_text(encoding="utf-8").splitlines()) - 1
        warnings.warn(f"{num} unreadable files skipped, listed in {rejected}", UlnaWarning, stacklevel=3)
    short = int((made.lengths == 1).sum())
    if short:
        warnings.warn(f"{short} clips have one frame only; they are kept", UlnaWarning, stacklevel=3)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    words = list(arguments)
    formats = "\n".join(f"  {name:13} {format.title}" for name, format in FORMATS.items())
    if not words or words[0] in ("-h", "--help") or not (words[0] in FORMATS or Path(words[0]).exists()):
        choose(words, "format", FORMATS, USAGE.format(formats))
    reading, rest = split_format(words)
    if isinstance(reading, Format) and words[0] not in FORMATS:
        print(f"format: {FORMATS.name_of_config(type(reading))}")
    name = FORMATS.name_of_config(type(reading)) if isinstance(reading, Format) else "[FORMAT]"
    run(command(reading), rest, prog=f"prepare {name}")
