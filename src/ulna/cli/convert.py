"""ulna convert SOURCE DEST"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run


def convert(
    source: Positional[Path], dest: Positional[Path], /, *, format: str | None = None, skip_bad: Flag = False
) -> None:
    """Convert recordings to another format: .npz, .csv, .trc (3-D) or .pose (2-D), by the ending of the destination.

    Args:
        source: A file, a folder of files, or a dataset.
        dest: File to write for one clip, such as walk.trc; for several, a folder and an ending, such as out/*.trc.
        format: Name of the format of the source; detected by default.
        skip_bad: Leave bad files out, with a warning.
    """
    from ulna.cli.clips import read_clips
    from ulna.formats.writing import write_clips

    paths = write_clips(read_clips(source, format, skip_bad=skip_bad), dest)
    print(f"{len(paths):,} files, the first is {paths[0]}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(convert, arguments, prog="convert")
