"""ulna predict RUN FILE..."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ulna.cli.arguments import option, parse, pos_embed
from ulna.core import Clip, new_file, refuse_existing
from ulna.formats import FORMATS, BadFileError, Format


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "predict",
        "Label new clips with the classifier that `ulna evaluate` saved.",
        [
            ("run", pos_embed(Path, "Run that was evaluated.")),
            ("files", pos_embed(tuple[Path, ...], "Files or folders to label.", metavar="FILE")),
            ("protocol", option(str, "One of RUN/classifiers: linear, finetune, few-labels-5pct, ..."), "linear"),
            ("reader", option(str | None, "Format of the files; by default the one of the run's data."), None),
            ("out", option(Path | None, "Write a CSV file instead of printing."), None),
        ],
        arguments,
    )  # fmt: skip
    from ulna.evaluation.classifier import Classifier
    from ulna.evaluation.prediction import predict
    from ulna.training import load

    if wanted.out:
        refuse_existing(wanted.out)
    run = load(wanted.run)
    Classifier.open(run.path, wanted.protocol)  # before reading files in vain
    clips = _read(_reader(wanted.reader, run.metadata["data"]["source"]), wanted.files)
    labelled = predict(run, clips, protocol=wanted.protocol)
    rows = [
        (clip.id, label, f"{confidence:.3f}") for clip, (label, confidence) in zip(clips, labelled, strict=True)
    ]  # fmt: skip
    if wanted.out:
        with new_file(wanted.out) as partial, partial.open("w", newline="") as file:
            csv.writer(file).writerows([("clip", "label", "confidence"), *rows])
        print(f"{wanted.out}: {len(rows)} clips")
        return
    for clip, label, confidence in rows:
        print(f"{clip:32} {label:32} {confidence}")


def _reader(name: str | None, source: Mapping[str, Any]) -> Format:
    """The reader asked for; with the options that the run's data was read with, if it is the same."""
    known = str(source.get("reader"))
    chosen = name or (known if known in FORMATS else "npz")
    reader: Format = FORMATS[chosen](**(source.get("options", {}) if chosen == known else {}))
    return reader


def _read(reader: Format, paths: Sequence[Path]) -> list[Clip]:
    if not paths:
        raise ValueError("expected at least one file to label")
    clips: list[Clip] = []
    for path in paths:
        source = reader.open(path)
        for file in source.files:
            try:
                clips += reader.read(file, source)
            except BadFileError as error:
                if len(source.files) == 1:
                    raise
                print(f"left out: {error}", file=sys.stderr)
    if not clips:
        raise ValueError("expected at least one file that can be read, got only bad ones")
    return clips
