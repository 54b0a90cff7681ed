"""ulna timeline MODEL RECORDING..."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Files, Flag, Positional, run
from ulna.core import InputError, UlnaWarning, readable
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
    split: str | None = None,
    together: Flag = False,
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
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        files: Files or folders with recordings.
        classifier: Name of the classifier; may be left out if the model has only one.
        format: Format of the files; by default that of the model's data if it fits, else detected.
        split: Use the recordings in the test part of a split only, such as "xsub" of PKU-MMD; all by default.
        together: Find one timeline for all persons of a recording, as for actions of two people.
        match_joints: Accept recordings of another skeleton and match joints by name.
        scan: How recordings are cut into windows.
        smoothing: How probabilities become events.
        annotations: Annotations to measure the events against: a CSV table with columns start, end, label (and person,
            file), an export of BORIS, an ELAN file, a label file of PKU-MMD, or a folder of these.
        out: File to write instead of printing: .csv, .json, .tsv (as BORIS exports aggregated events) or .eaf (ELAN,
            one recording); must not exist.
        page: HTML page to write, with the timelines above the moving skeletons; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.events import check_outputs, read_recordings, show_events
    from ulna.cli.loading import load_models
    from ulna.formats.annotations import read_annotations

    check_outputs(out, page)
    truth = None if annotations is None else read_annotations(annotations)
    (loaded,) = load_models([model], device)
    loaded.classifier(classifier)
    recordings = read_recordings(files, format, loaded, out, split)
    found = [
        loaded.timeline(
            one, classifier=classifier, windows=scan, smoothing=smoothing, together=together, match_joints=match_joints
        )
        for one in recordings
    ]
    scores = None
    if truth is not None:
        scores = _scores([one.id for one in recordings], found, truth, has_others=split is not None)
    show_events(recordings, found, out=out, page=page, title=loaded.name, is_silent=scores is not None)
    if scores is not None:
        print("  ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items()))


def _scores(
    names: Sequence[str], found: Sequence[Sequence[Timeline]], truth: Annotations, *, has_others: bool
) -> dict[str, float]:
    """Return the measures over the recordings that have annotations; warns about annotations that do not fit.

    Args:
        names: Names of the recordings.
        found: Timelines of each.
        truth: Annotations.
        has_others: Whether there are annotations of other recordings by intention.
    """
    from ulna.evaluation.segmentation import score_timelines
    from ulna.formats.annotations import unmatched

    if None in truth.by_recording and len(names) > 1:
        raise InputError("annotations: expected a column `file`, because there are several recordings, found none")
    if not has_others and (missing := unmatched(truth, names)):
        message = f"annotations of {len(missing)} other recordings were skipped: {_named(missing)}"
        warnings.warn(message, UlnaWarning, stacklevel=2)
    pairs = []
    for name, some in zip(names, found, strict=True):
        entries = truth.of(name)
        pairs += [(own, entries) for own in some if any(one.holds_for(own.person) for one in entries)]
        absent = {one.person for one in entries if not any(one.holds_for(own.person) for own in some)}
        if absent:
            message = f"annotations of persons who are not in {readable(name)} were skipped: {_named(absent)}"
            warnings.warn(message, UlnaWarning, stacklevel=2)
    if not pairs:
        raise InputError(f"annotations: expected some of {_named(names)} and of its persons, found none")
    unknown = {one.label for own, entries in pairs for one in entries if one.holds_for(own.person)}
    unknown -= set(pairs[0][0].classes)
    if unknown:
        message = f"classes that the classifier does not know count as wrong: {_named(unknown)}"
        warnings.warn(message, UlnaWarning, stacklevel=2)
    return score_timelines([own for own, _ in pairs], [entries for _, entries in pairs])


def _named(names: Iterable[str | None]) -> str:
    """Return up to five names, for a message."""
    return ", ".join(readable(str(name)) for name in sorted(map(str, names))[:5])


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(timeline, arguments, prog="timeline")
