"""ulna show FILE|DATASET"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run
from ulna.core import InputError, unknown_name


def show(
    source: Positional[Path],
    /,
    *,
    format: str | None = None,
    clip: str | None = None,
    out: Path | None = None,
    skip_bad: Flag = False,
) -> None:
    """Show clips as moving skeletons in a web page, with confidences as opacity and labels on a timeline.

    Args:
        source: A file, a folder of files, or a dataset.
        format: Name of the format; detected by default.
        clip: Id of one clip to show; the first ones by default.
        out: HTML file to write. By default a temporary file is opened in the browser.
        skip_bad: Leave bad files out, with a warning.
    """
    from ulna.analysis.viewer import Shown, recordings_of, show_clips
    from ulna.cli.clips import is_dataset
    from ulna.dataset import Dataset
    from ulna.formats import read

    if is_dataset(source):
        dataset = Dataset(source)
        if clip is not None:
            if clip not in dataset.ids:
                raise InputError(unknown_name(f"clip of {source}", clip, dataset.ids))
            shown, more = [Shown(dataset.clip(dataset.ids.index(clip)))], 0
        else:
            shown, more = recordings_of(dataset)
    else:
        clips = read(source, format, skip_bad=skip_bad)
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


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(show, arguments, prog="show")
