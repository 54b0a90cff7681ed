"""Windows: parts of a long recording, each a row of the index that points into its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ulna.core import Clip, Config, InputError, Positive
from ulna.formats.annotations import Annotation, Annotations, read_annotations, unmatched

MOST_WINDOWS = 10_000_000


@dataclass(frozen=True)
class Window:
    """A part of a clip.

    Args:
        id: Id of the window.
        start: Its first frame in the clip.
        length: Number of frames.
        label: Name of its class, None if unknown.
    """

    id: str
    start: int
    length: int
    label: str | None


class Windows(Config):
    """How recordings are cut into clips. Frames are stored once, however much the clips overlap."""

    window: Positive | None = None
    """Length of each clip in seconds; a recording that is shorter is one clip. None cuts at the annotations only."""
    stride: Positive | None = None
    """Seconds from the start of one window to that of the next; the window's length by default."""
    persons: Literal["together", "separate"] = "together"
    """Keep the persons of a recording together, or make clips of each person alone."""
    annotations: Path | None = None
    """File or folder of annotations: CSV with columns start, end, label (and person, file), BORIS exports, or ELAN
    .eaf. With windows, a window has the label that covers most of it; without, each annotated part and each part
    between them is a clip. Parts without annotation have no label."""
    min_overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Smallest share of a window that a label must cover."""

    @property
    def is_active(self) -> bool:
        """Whether anything is cut."""
        return self.window is not None or self.annotations is not None or self.persons == "separate"


class Cutter:
    """Cuts recordings, and counts what the annotations say about parts that do not exist.

    Args:
        options: How to cut.

    Raises:
        InputError: If `stride` is given without `window`, or annotations cannot be read.
    """

    def __init__(self, options: Windows) -> None:
        if options.stride is not None and options.window is None:
            raise InputError("stride: expected a window too, found none")
        self.options = options
        self.problems: Counter[str] = Counter()
        self.seen: list[str] = []

    @cached_property
    def annotations(self) -> Annotations:
        """The annotations of all recordings."""
        return Annotations({}) if self.options.annotations is None else read_annotations(self.options.annotations)

    def clips(self, clip: Clip) -> Iterator[Clip]:
        """Yield a recording, or one for each person who is ever visible."""
        self.seen.append(clip.id)
        if None in self.annotations.by_recording and len(self.seen) == 2:
            raise InputError(
                f"{self.options.annotations}: expected a column file that names the recording, since there are several "
                f"({self.seen[0]}, {self.seen[1]}), found none"
            )
        if self.options.persons == "together" or clip.num_persons == 1:
            yield clip
            return
        for person in np.flatnonzero(clip.visible.any(axis=(0, 2))).tolist():
            name = clip.tracks[person] if clip.tracks else str(person)
            part = slice(person, person + 1)
            yield replace(
                clip,
                id=f"{clip.id}/person {name}",
                position=clip.position[:, part],
                visible=clip.visible[:, part],
                confidence=None if clip.confidence is None else clip.confidence[:, part],
                tracks=(name,),
                recording=clip.recording or clip.id,
            )

    def __call__(self, clip: Clip) -> list[Window]:
        """Return the windows of a clip that show somebody."""
        annotations = self._of(clip)
        if self.options.window is not None:
            windows = self._regular(clip, annotations)
        elif self.options.annotations is not None:
            windows = self._annotated(clip, annotations)
        else:
            windows = [Window(clip.id, 0, clip.num_frames, clip.label)]
        seen: np.ndarray = np.any(clip.visible, axis=(1, 2))
        return [one for one in windows if seen[one.start : one.start + one.length].any()]

    def _of(self, clip: Clip) -> list[Annotation]:
        """Return the annotations of a clip within its duration; counts what lies outside or overlaps."""
        recording = clip.recording or clip.id
        duration = clip.num_frames / clip.fps
        kept: list[Annotation] = []
        for one in self.annotations.of(recording):
            if one.person is not None and self.options.persons == "separate" and clip.tracks != (one.person,):
                continue
            if one.start >= duration:
                self.problems["annotations that start after the end of the recording are left out"] += 1
                continue
            if one.end > duration + 1 / clip.fps:
                self.problems["annotations that end after the recording are cut"] += 1
            if kept and kept[-1].end > one.start and kept[-1].label != one.label:
                self.problems["annotations overlap another label; each is used"] += 1
            kept.append(replace(one, end=min(one.end, duration)))
        return kept

    def _regular(self, clip: Clip, annotations: list[Annotation]) -> list[Window]:
        """Return windows of one length."""
        assert self.options.window is not None
        length = max(1, round(self.options.window * clip.fps))
        stride = max(1, round((self.options.stride or self.options.window) * clip.fps))
        starts = range(0, max(1, clip.num_frames - length + 1), stride)
        if len(starts) > MOST_WINDOWS:
            raise InputError(f"stride: expected at most {MOST_WINDOWS:,} windows, found {len(starts):,}")
        windows = []
        for start in starts:
            num = min(length, clip.num_frames - start)
            label = self._label(clip, annotations, start, num)
            windows.append(Window(f"{clip.id}@{start}-{start + num}", start, num, label))
        return windows

    def _label(self, clip: Clip, annotations: list[Annotation], start: int, num: int) -> str | None:
        """Return the label that covers most of a window, None if none covers enough of it."""
        if self.options.annotations is None:
            return clip.label
        begin, end = start / clip.fps, (start + num) / clip.fps
        covered: Counter[str] = Counter()
        for one in annotations:
            covered[one.label] += max(0.0, min(end, one.end) - max(begin, one.start))  # type: ignore[assignment]
        label, most = max(covered.items(), key=lambda item: item[1], default=("", 0.0))
        return label if most >= self.options.min_overlap * (end - begin) and most > 0 else None

    @staticmethod
    def _annotated(clip: Clip, annotations: list[Annotation]) -> list[Window]:
        """Return the annotated parts and the parts between them."""
        windows: list[Window] = []
        names: Counter[str] = Counter()

        def add(start: int, end: int, label: str | None) -> None:
            if end > start:
                name = f"{clip.id}@{start}-{end}"
                names[name] += 1
                windows.append(Window(name if names[name] == 1 else f"{name}+{names[name]}", start, end - start, label))

        done = 0
        for one in annotations:
            start = round(one.start * clip.fps)
            end = min(max(start + 1, round(one.end * clip.fps)), clip.num_frames)
            add(done, start, None)
            add(start, end, one.label)
            done = max(done, end)
        add(done, clip.num_frames, None)
        return windows

    def warnings(self) -> list[str]:
        """Return what was found in the annotations that did not fit."""
        messages = [f"{count} {text}" for text, count in self.problems.items()]
        if missing := unmatched(self.annotations, self.seen):
            messages.append(f"annotations of {len(missing)} recordings that were not found: {', '.join(missing[:5])}")
        return messages
