"""Recordings, and the events that are found in them: read, written and printed alike by several commands."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ulna.core import TEST, Clip, InputError, UlnaWarning, readable, refuse_existing

if TYPE_CHECKING:
    from ulna.models import Model
    from ulna.models.timeline import Timeline


def check_outputs(out: Path | None, page: Path | None) -> None:
    """Raise an error before any work if results cannot be written."""
    from ulna.formats.writing_annotations import check_writable

    if out:
        check_writable(out)
    check_new_files(out, page)


def check_new_files(one: Path | None, two: Path | None) -> None:
    """Raise an error if two files that are to be written are the same, or exist."""
    if one and two and one.absolute() == two.absolute():
        raise InputError(f"{one}: expected two files to write, found the same path twice")
    for path in filter(None, (one, two)):
        refuse_existing(path)


def read_recordings(
    files: Sequence[Path], format: str | None, model: Model, out: Path | None, split: str | None = None
) -> list[Clip]:
    """Return the recordings that show somebody, or those of them that are in the test part of a split.

    Raises:
        InputError: If there are none, two have the same name, or `out` can hold one only.
    """
    from ulna.cli.predict import read_like
    from ulna.formats.writing_annotations import check_writable

    if not files:
        raise InputError("expected at least one file with recordings, found none")
    recordings = read_like(files, format, model.config.data.source, recordings=True)
    if split is not None:
        known = sorted({name for one in recordings for name in one.splits})
        recordings = [one for one in recordings if one.splits.get(split) == TEST]
        if not recordings:
            raise InputError(f"split: expected a split with test recordings, of {known or 'none'}, found {split!r}")
    if out:
        check_writable(out, len(recordings))
    ids = [one.id for one in recordings]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise InputError(f"expected recordings of different names, found {readable(twice)!r} twice. Give their folder.")
    kept = [one for one in recordings if one.visible.any()]
    if not kept:
        raise InputError("expected a recording with a visible person, found none")
    for one in recordings:
        if not one.visible.any():
            warnings.warn(f"recording {readable(one.id)!r} was left out: it shows nobody", UlnaWarning, stacklevel=2)
    return kept


def show_events(
    recordings: Sequence[Clip],
    found: Sequence[Sequence[Timeline]],
    *,
    out: Path | None,
    page: Path | None,
    title: str,
    is_silent: bool = False,
) -> None:
    """Write events to a file or a page; print them if there is neither, unless `is_silent`."""
    from ulna.analysis.viewer import show_timelines
    from ulna.formats.writing_annotations import write_annotations

    events = {
        one.id: sorted((event for own in timelines for event in own.events), key=lambda event: event.start)
        for one, timelines in zip(recordings, found, strict=True)
    }
    if out:
        write_annotations(events, out)
        print(f"{out}: {sum(map(len, events.values()))} events of {len(recordings)} recordings")
    if page:
        print(show_timelines(list(zip(recordings, found, strict=True)), page, title=title))
    if out or page or is_silent:
        return
    for name, some in events.items():
        print(readable(name, 200))
        for event in some:
            who = f"{readable(event.person, 40)}: " if event.person else ""
            sure = f"{event.confidence:.2f}" if event.confidence is not None else ""
            print(f"  {event.start:8.2f} - {event.end:8.2f} s  {who}{readable(event.label, 60)}  {sure}")
