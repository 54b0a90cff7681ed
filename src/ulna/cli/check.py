"""ulna check FILE|DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Flag, Positional, run
from ulna.core import InputError, refuse_existing
from ulna.quality.repair import Repair

DEFAULT = Repair()


def check(
    source: Positional[Path],
    /,
    *,
    format: str | None = None,
    out: Path | None = None,
    repair: Path | None = None,
    skip_bad: Flag = False,
    options: Annotated[Repair, INLINE] = DEFAULT,
) -> None:
    """Report what is missing or implausible in recordings, per joint and per clip, and what to do about it.

    Measures missing joints, confidence, jitter, spread of bone lengths, exchanged sides, implausible speed, repeated
    frames, and guesses units and the axis that points up.

    Args:
        source: A file, a folder of files, or a dataset.
        format: Name of the format; detected by default.
        out: HTML file to write, with the measures and the worst clips as moving skeletons.
        repair: Dataset to write with repaired clips; must not exist.
        skip_bad: Leave bad files out, with a warning.
        options: What is repaired.
    """
    from ulna.analysis.viewer import show_quality
    from ulna.cli.clips import is_dataset, read_clips
    from ulna.dataset import Dataset
    from ulna.quality import summarise
    from ulna.quality.repair import Changes
    from ulna.quality.repair import repair as repair_clip

    if repair is not None:
        refuse_existing(repair)
        if is_dataset(source) and "recording" in Dataset(source).table.column_names:
            raise InputError(f"{source}: expected whole recordings to repair, found windows. Repair before cutting.")
    clips = read_clips(source, format, skip_bad=skip_bad)
    report = summarise(clips)
    print(report.text())
    if out is not None:
        print(show_quality(report, clips, out, title=source.name or str(source)))
    if repair is not None:
        pairs = [repair_clip(clip, options) for clip in clips]
        changes = sum((change for _, change in pairs), Changes())
        classes = Dataset(source).classes if is_dataset(source) else None
        made = Dataset.write(repair, [clip for clip, _ in pairs], classes=classes)
        print(
            f"{made.path}: exchanged sides in {changes.swapped:,} frames, removed {changes.removed:,} outliers, "
            f"interpolated {changes.filled:,} and smoothed {changes.smoothed:,} positions of joints"
        )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(check, arguments, prog="check")
