"""ulna convert [FORMAT] SOURCE DEST"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.clips import read_clips, run_with_format
from ulna.cli.options import DEST, INLINE, SOURCE, Flag
from ulna.core import Config


def command(default: Config) -> Callable[..., None]:
    """Return the command with the options of a format."""

    def convert(
        source: Annotated[Path, SOURCE],
        dest: Annotated[Path, DEST],
        /,
        *,
        skip_bad: Flag = False,
        reading: Annotated[Config, INLINE] = default,
    ) -> None:
        """Convert recordings to .npz, .csv, .trc (3-D) or .pose (2-D), chosen by the file extension of DEST.

        Args:
            source: A file, a folder of files, or a dataset.
            dest: File to write for one clip, such as walk.trc; for several, a quoted pattern such as 'out/*.trc'.
            skip_bad: Leave bad files out, with a warning.
            reading: Options of the format.
        """
        from ulna.formats.writing import check_ending, write_clips

        check_ending(dest)
        paths = write_clips(read_clips(source, reading, skip_bad=skip_bad), dest)
        print("\n".join(str(path) for path in paths[:20]) + (f"\n... {len(paths):,} files" if len(paths) > 20 else ""))

    return convert


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run_with_format(command, arguments, prog="convert")
