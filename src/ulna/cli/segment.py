"""ulna segment MODEL RECORDING..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Files, Flag, Positional, run
from ulna.models.change_points import Changes

DEFAULT = Changes()


def segment(
    model: Positional[Path],
    files: Files,
    /,
    *,
    format: str | None = None,
    match_joints: Flag = False,
    changes: Annotated[Changes, INLINE] = DEFAULT,
    out: Path | None = None,
    page: Path | None = None,
    device: str = "auto",
) -> None:
    """Cut long recordings where movement changes, without labels.

    Embeddings of overlapping windows are compared by a Gaussian kernel, and the recording is cut such that the windows
    of each part are alike. `ulna timeline` finds labelled events.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        files: Files or folders with recordings.
        format: Format of the files; by default that of the model's data if it fits, else detected.
        match_joints: Accept recordings of another skeleton and match joints by name.
        changes: How change points are found.
        out: File to write instead of printing: .csv, .json, .tsv (as BORIS exports aggregated events) or .eaf (ELAN,
            one recording); must not exist.
        page: HTML page to write, with the parts above the moving skeletons; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.events import check_outputs, read_recordings, show_events
    from ulna.cli.loading import load_models

    check_outputs(out, page)
    (loaded,) = load_models([model], device)
    recordings = read_recordings(files, format, loaded, out)
    found = [loaded.change_points(one, options=changes, match_joints=match_joints) for one in recordings]
    show_events(recordings, found, out=out, page=page, title=loaded.name)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(segment, arguments, prog="segment")
