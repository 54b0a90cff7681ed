"""ulna check [FORMAT] FILE|FOLDER|DATASET"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.clips import is_dataset, read_clips, run_with_format
from ulna.cli.options import INLINE, LOCAL, SOURCE, Flag
from ulna.core import Config, InputError, Workers, refuse_existing
from ulna.formats import Format
from ulna.quality.repair import Repair

DEFAULT = Repair()


def command(default: Config) -> Callable[..., None]:
    """Return the command with the options of a format."""

    def check(
        source: Annotated[Path, SOURCE],
        /,
        *,
        out: Path | None = None,
        table: Path | None = None,
        repair: Path | None = None,
        skip_bad: Flag = False,
        options: Annotated[Repair, INLINE] = DEFAULT,
        workers: Annotated[Workers, INLINE] = LOCAL,
        reading: Annotated[Config, INLINE] = default,
    ) -> None:
        """Report missing and implausible data per joint and per clip, with recommendations.

        Measures missing joints, confidence, jitter, spread of bone lengths, left-right swaps, implausible speed,
        duplicated frames, and estimates the units and the vertical axis.

        Args:
            source: A file, a folder of files, or a dataset.
            out: HTML file to write, with the measures and the worst clips as moving skeletons.
            table: Folder to write with the measures of every clip, as Parquet files; needed with shards.
            repair: Dataset to write with repaired clips; must not exist.
            skip_bad: Leave bad files out, with a warning.
            options: What is repaired.
            workers: Where clips are measured.
            reading: Options of the format.
        """
        from ulna.analysis.viewer import show_quality
        from ulna.dataset import Dataset
        from ulna.quality import summarise
        from ulna.quality.repair import Changes
        from ulna.quality.repair import repair as repair_clip

        if table is None:
            workers.refuse_if_unsharded()
            if workers.is_sharded:
                raise InputError("expected --table FOLDER with shards, found none")
        elif out is not None or repair is not None:
            raise InputError("expected --table without --out and --repair, found both. Run them one after another.")
        else:
            from ulna.dataset.checking import check_in_shards

            format = reading if isinstance(reading, Format) else None
            print(check_in_shards(source, table, workers, format=format, skip_bad=skip_bad).text())
            print(table)
            return
        if repair is not None:
            refuse_existing(repair)
            if is_dataset(source) and "recording" in Dataset(source).table.column_names:
                raise InputError(
                    f"{source}: expected whole recordings to repair, found windows. Repair before cutting."
                )
        clips = read_clips(source, reading, skip_bad=skip_bad)
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
                f"{made.path}: swapped left and right in {changes.swapped:,} frames, removed {changes.removed:,} "
                f"outliers, interpolated {changes.filled:,} and smoothed {changes.smoothed:,} joint positions; "
                f"next: ulna prepare {made.path} DATASET --window SECONDS"
            )

    return check


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run_with_format(command, arguments, prog="check")
