"""ulna timeline MODEL RECORDING..."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Files, Flag, Positional, run
from ulna.core import Clip, InputError, UlnaWarning, readable, refuse_existing
from ulna.formats.annotations import Annotations
from ulna.models.decoding import Smoothing
from ulna.models.timeline import Scan, Timeline

SHOWN = Scan()
SMOOTH = Smoothing()


def timeline(
    model: Positional[Path],
    files: Files,
    /,
    *,
    classifier: str | None = None,
    format: str | None = None,
    match_joints: Flag = False,
    scan: Annotated[Scan, INLINE] = SHOWN,
    smoothing: Annotated[Smoothing, INLINE] = SMOOTH,
    annotations: Path | None = None,
    out: Path | None = None,
    page: Path | None = None,
    device: str = "auto",
) -> None:
    """Find when something happens in long recordings: events with start, end, label and confidence, per person.

    The recording is cut into overlapping windows, each is classified, and the probabilities of all windows that contain
    a frame are averaged. Train a classifier first, with `ulna fit` or `ulna evaluate`.

    Args:
        model: Model folder, or hf://OWNER/NAME@COMMIT.
        files: Files or folders with recordings.
        classifier: Name of the classifier; may be left out if the model has only one.
        format: Format of the files; by default that of the model's data if it fits, else detected.
        match_joints: Accept recordings of another skeleton and match joints by name.
        scan: How recordings are cut into windows.
        smoothing: How probabilities become events.
        annotations: Annotations to measure the events against: a CSV table with columns start, end, label (and person,
            file), an export of BORIS, an ELAN file, or a folder of these.
        out: File to write instead of printing: .csv, .json, .tsv (as BORIS exports aggregated events) or .eaf (ELAN,
            one recording); must not exist.
        page: HTML page to write, with the recordings as moving skeletons above their timelines; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.analysis.viewer import show_timelines
    from ulna.cli.loading import load_models
    from ulna.cli.predict import read_like
    from ulna.formats.annotations import read_annotations
    from ulna.formats.writing_annotations import check_writable, write_annotations

    if out:
        check_writable(out)
    for path in filter(None, (out, page)):
        refuse_existing(path)
    if not files:
        raise InputError("expected at least one file with recordings, found none")
    truth = None if annotations is None else read_annotations(annotations)
    (loaded,) = load_models([model], device)
    loaded.classifier(classifier)
    recordings = read_like(files, format, loaded.config.data.source)
    if out:
        check_writable(out, len(recordings))
    recordings = _checked(recordings)
    found = [
        loaded.timeline(one, classifier=classifier, windows=scan, smoothing=smoothing, match_joints=match_joints)
        for one in recordings
    ]
    events = {
        one.id: sorted((event for own in timelines for event in own.events), key=lambda event: event.start)
        for one, timelines in zip(recordings, found, strict=True)
    }
    if out:
        write_annotations(events, out)
        print(f"{out}: {sum(map(len, events.values()))} events of {len(recordings)} recordings")
    if page:
        print(show_timelines(list(zip(recordings, found, strict=True)), page, title=loaded.name))
    if truth is not None:
        scores = _scores([one.id for one in recordings], found, truth)
        print("  ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items()))
    if not out and not page and truth is None:
        for name, some in events.items():
            print(readable(name, 200))
            for event in some:
                who = f"{readable(event.person, 40)}: " if event.person else ""
                sure = f"{event.confidence:.2f}" if event.confidence is not None else ""
                print(f"  {event.start:8.2f} - {event.end:8.2f} s  {who}{readable(event.label, 60)}  {sure}")


def _checked(recordings: list[Clip]) -> list[Clip]:
    """Return the recordings that show somebody; raises InputError if two have the same name."""
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


def _scores(names: Sequence[str], found: Sequence[Sequence[Timeline]], truth: Annotations) -> dict[str, float]:
    """Return the measures over the recordings that have annotations; warns about annotations that do not fit."""
    from ulna.evaluation.segmentation import score_timelines
    from ulna.formats.annotations import unmatched

    if None in truth.by_recording and len(names) > 1:
        raise InputError("annotations: expected a column `file`, because there are several recordings, found none")
    if missing := unmatched(truth, names):
        message = (
            f"annotations of {len(missing)} other recordings were skipped: {', '.join(map(readable, missing[:5]))}"
        )
        warnings.warn(message, UlnaWarning, stacklevel=2)
    pairs = [(own, truth.of(name)) for name, some in zip(names, found, strict=True) for own in some if truth.of(name)]
    if not pairs:
        raise InputError(f"annotations: expected some of {', '.join(map(readable, names[:5]))}, found none")
    unknown = {one.label for _, entries in pairs for one in entries} - set(pairs[0][0].classes)
    if unknown:
        message = (
            f"classes that the classifier does not know count as wrong: {', '.join(map(readable, sorted(unknown)[:5]))}"
        )
        warnings.warn(message, UlnaWarning, stacklevel=2)
    return score_timelines([own for own, _ in pairs], [entries for _, entries in pairs])


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(timeline, arguments, prog="timeline")
