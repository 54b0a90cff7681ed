"""ulna stream MODEL --fps FPS"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from ulna.cli.options import INLINE, Flag, Positional, run
from ulna.core import InputError, UlnaWarning, Units, get_skeleton
from ulna.models.stream import StreamOptions, read_frame

DEFAULT = StreamOptions()
MOST_CHARACTERS = 1_000_000  # of a line


def stream(
    model: Positional[Path],
    /,
    *,
    fps: float,
    classifier: str | None = None,
    options: Annotated[StreamOptions, INLINE] = DEFAULT,
    skeleton: str | None = None,
    units: Units = "metres",
    match_joints: Flag = False,
    device: str = "cpu",
) -> None:
    """Classify movement while frames arrive on standard input, one line of JSON per frame; answers are lines of JSON.

    A frame is {"time": 1.5, "persons": {"anna": [[x, y, z], ...]}}, with null instead of a joint that is missing; names
    and time may be left out: {"position": [[x, y, z], ...]}. A line that cannot be read is left out, with a warning,
    and the stream goes on. Counts of frames are printed on standard error at the end.

    Args:
        model: Model folder with a classifier.
        fps: Frames per second of the stream.
        classifier: Name of the classifier; may be left out if the model has only one.
        options: Length of the window, how often to answer, and when to say "unknown".
        skeleton: Name of the skeleton of the frames; the model's by default.
        units: Unit of the positions.
        match_joints: Accept another skeleton and match joints by name.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.loading import load_models

    (loaded,) = load_models([model], device)
    opened = loaded.stream(
        fps=fps, classifier=classifier, options=options,
        skeleton=None if skeleton is None else get_skeleton(skeleton), units=units, match_joints=match_joints,
    )  # fmt: skip
    if sys.stdin is None:
        raise InputError("expected frames on standard input, found it closed")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    number = 0
    while line := sys.stdin.readline(MOST_CHARACTERS):
        number += 1
        rest = line
        while len(rest) == MOST_CHARACTERS and not rest.endswith("\n"):
            rest = sys.stdin.readline(MOST_CHARACTERS)  # of a line that is too long, and will not be read
        try:
            try:
                persons, time = read_frame(line)
            except InputError:
                opened.skip()
                raise
            answers = opened.push(persons, time=time)
        except InputError as error:
            if opened.counts.bad <= 3:
                more = " Further ones are only counted." if opened.counts.bad == 3 else ""
                warnings.warn(f"line {number} was left out: {error}.{more}", UlnaWarning, stacklevel=1)
            continue
        for answer in answers:
            row = {
                "time": round(answer.time, 3),
                "person": answer.person,
                "label": answer.label,
                "confidence": round(answer.confidence, 3),
                "novelty": None if answer.novelty is None else round(answer.novelty, 3),
            }
            print(json.dumps(row, allow_nan=False), flush=True)
    print("  ".join(f"{name} {count:,}" for name, count in asdict(opened.counts).items()), file=sys.stderr)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(stream, arguments, prog="stream")
