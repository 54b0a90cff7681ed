"""ulna show [FORMAT] FILE|FOLDER|DATASET"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.clips import is_dataset, read_clips, run_with_format
from ulna.cli.options import INLINE, SOURCE, Flag
from ulna.core import Config, InputError, unknown_name


def command(default: Config) -> Callable[..., None]:
    """Return the command with the options of a format."""

    def show(
        source: Annotated[Path, SOURCE],
        /,
        *,
        clip: str | None = None,
        out: Path | None = None,
        skip_bad: Flag = False,
        reading: Annotated[Config, INLINE] = default,
    ) -> None:
        """Show clips as moving skeletons in a web page, with confidences as opacity and labels on a timeline.

        Args:
            source: A file, a folder of files, or a dataset.
            clip: Id of one clip to show; the first 24 clips by default.
            out: HTML file to write. By default a temporary file is opened in the browser.
            skip_bad: Leave bad files out, with a warning.
            reading: Options of the format.
        """
        from ulna.analysis.viewer import Shown, recordings_of, show_clips
        from ulna.dataset import Dataset

        if is_dataset(source):
            dataset = Dataset(source)
            if clip is not None:
                if clip not in dataset.ids:
                    raise InputError(unknown_name(f"clip of {source}", clip, dataset.ids))
                shown, more = [Shown(dataset.clip(dataset.ids.index(clip)))], 0
            else:
                shown, more = recordings_of(dataset)
        else:
            clips = read_clips(source, reading, skip_bad=skip_bad)
            if clip is not None:
                ids = [one.id for one in clips]
                if clip not in ids:
                    raise InputError(unknown_name(f"clip of {source}", clip, ids))
                clips = [clips[ids.index(clip)]]
            shown, more = [Shown(one) for one in clips], 0
        page = out or Path(tempfile.mkdtemp(prefix="ulna-")) / "clips.html"
        print(show_clips(shown, page, title=source.name or str(source), more=more))
        if out is None:
            webbrowser.open(page.resolve().as_uri())

    return show


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run_with_format(command, arguments, prog="show")
