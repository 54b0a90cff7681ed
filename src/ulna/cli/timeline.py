"""ulna timeline MODEL RECORDING..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Files, Flag, Positional, run
from ulna.core import InputError, readable, refuse_existing
from ulna.models.decoding import Smoothing
from ulna.models.timeline import Scan

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
        annotations: What really happens, to measure the events: a CSV table with columns start, end, label (and person,
            file), an export of BORIS, an ELAN file, or a folder of these.
        out: File to write instead of printing: .csv, .json, .tsv (as BORIS exports aggregated events) or .eaf (ELAN,
            one recording); must not exist.
        page: HTML page to write, with the recordings as moving skeletons above their timelines; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.analysis.viewer import show_timelines
    from ulna.cli.loading import load_models
    from ulna.cli.predict import read_like
    from ulna.evaluation.segmentation import score_timelines
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
        pairs = [(own, truth.of(one.id)) for one, some in zip(recordings, found, strict=True) for own in some]
        scores = score_timelines(*(list(side) for side in zip(*pairs, strict=True)))
        print("  ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items()))
    if not out and not page and truth is None:
        for name, some in events.items():
            print(readable(name, 200))
            for event in some:
                who = f"{readable(event.person, 40)}: " if event.person else ""
                sure = f"{event.confidence:.2f}" if event.confidence is not None else ""
                print(f"  {event.start:8.2f} - {event.end:8.2f} s  {who}{readable(event.label, 60)}  {sure}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(timeline, arguments, prog="timeline")
