"""ulna predict MODEL FILE..."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ulna.cli.options import Files, Flag, Positional, run
from ulna.core import Clip, InputError, UlnaWarning, new_file, readable, refuse_existing
from ulna.formats import FORMATS, BadFileError, Format, detect_format


def predict(
    model: Positional[Path],
    files: Files,
    /,
    *,
    classifier: str | None = None,
    format: str | None = None,
    unknown: float | None = None,
    match_joints: Flag = False,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Classify new clips with a classifier that `ulna evaluate` or `ulna fit` saved.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        files: Files or folders with clips.
        classifier: Name of the classifier; may be left out if the model has only one.
        format: Format of the files; by default that of the model's data if it fits, else detected.
        unknown: Label clips "unknown" that are unlike all training clips, at about this share of false alarms, such as
            0.05; for classifiers of `ulna fit`.
        match_joints: Accept clips of another skeleton and match joints by name.
        out: Write a CSV file instead of printing; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.loading import load_models

    if out:
        refuse_existing(out)
    if not files:
        raise InputError("expected at least one file with clips, found none")
    (loaded,) = load_models([model], device)
    loaded.classifier(classifier)
    clips = read_like(files, format, loaded.config.data.source)
    predictions = loaded.predict(clips, classifier=classifier, unknown=unknown, match_joints=match_joints)
    rows = [(one.clip, one.label, f"{one.confidence:.3f}") for one in predictions]
    if out:
        with new_file(out) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("clip", "label", "confidence"), *rows])
        print(f"{out}: {len(rows)} clips")
        return
    for clip, label, confidence in rows:
        print(f"{readable(clip, 200):32} {readable(label, 200):32} {confidence}")


def read_like(
    paths: Sequence[Path], name: str | None, source: Mapping[str, Any], *, recordings: bool = False
) -> list[Clip]:
    """Read clips, by default in the format of a model's data.

    Args:
        paths: Files or folders. Bad files are left out with a warning if a folder has others.
        name: Name of the format; by default that of the model's data if it fits, else detected.
        source: Format of the model's data, with its options.
        recordings: Read whole recordings, where the format cuts them into actions.

    Raises:
        InputError: If no file can be read.
    """
    from ulna.formats.base import SKIP_BAD

    clips: list[Clip] = []
    for path in paths:
        format = _format(path, name, source)
        found = format.open(path)
        for file in found.files:
            try:
                clips += format.read_recordings(file, found) if recordings else format.read(file, found)
            except BadFileError as error:
                if len(found.files) == 1:
                    error.advice = error.advice.replace(SKIP_BAD, "Repair the file, or choose others.")
                    raise
                warnings.warn(f"left out {error}", UlnaWarning, stacklevel=2)
    if not clips:
        raise InputError("expected at least one readable file, found only bad ones")
    return clips


def _format(path: Path, name: str | None, source: Mapping[str, Any]) -> Format:
    """Return the format asked for or that of the model's data, with the options its data were read with."""
    own = source.get("format")
    if name is None and own in FORMATS:
        pattern = FORMATS[str(own)].pattern
        fits = path.match(pattern) if path.is_file() else any(p.match(pattern) for p in path.rglob("*"))
        name = str(own) if fits or not path.exists() else None
    chosen = name or detect_format(path)
    options = source.get("options", {}) if chosen == own else {}
    made: Format = FORMATS[chosen].from_json(options)
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(predict, arguments, prog="predict")
