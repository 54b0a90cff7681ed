"""Windows: parts of a long recording, each a row of the index that points into its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ulna.core import Clip, Config, InputError, Seconds
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

    window: Seconds | None = None
    """Length of each clip in seconds; a recording that is shorter is one clip. If omitted, recordings are cut only at
    annotations."""
    stride: Seconds | None = None
    """Seconds from the start of one window to that of the next; the window's length by default."""
    persons: Literal["together", "separate"] = "together"
    """Keep the persons of a recording together, or write one clip per person."""
    annotations: Path | None = None
    """File or folder of annotations: CSV with columns start, end, label (and person, file), BORIS exports, or ELAN
    .eaf. With windows, each window gets the label that covers most of it. Without windows, each annotated interval and
    each gap between intervals becomes a clip. Gaps have no label. Annotations without a person hold for all persons."""
    min_overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Minimum share of a window covered by its label."""
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Minimum share of a window's frames in which anybody is visible; windows with less are left out."""

    @property
    def is_active(self) -> bool:
        """Whether anything is cut."""
        return self.window is not None or self.annotations is not None or self.persons == "separate"


class Cutter:
    """Cuts recordings, and counts annotations that do not fit the recordings.

    Args:
        options: How to cut.

    Raises:
        InputError: If `stride` is given without `window`, or annotations cannot be read.
    """

    def __init__(self, options: Windows) -> None:
        if options.stride is not None and options.window is None:
            raise InputError("stride: expected --window as well, found none. Add --window SECONDS.")
        self.options = options
        self.problems: Counter[str] = Counter()
        self.seen: list[str] = []
        self.num_left_out = 0
        self.used: set[Annotation] = set()

    @cached_property
    def annotations(self) -> Annotations:
        """The annotations of all recordings."""
        return Annotations({}) if self.options.annotations is None else read_annotations(self.options.annotations)

    def with_labels(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return classes with the labels of the annotations, in alphabetical order; unchanged if there are none."""
        labels = self.annotations.labels
        return tuple(sorted({*classes, *labels})) if labels else classes

    def clips(self, clip: Clip) -> Iterator[Clip]:
        """Yield a recording, or one for each person who is ever visible."""
        self.seen.append(clip.id)
        self._refuse_shared_annotations()
        if self.options.persons == "together" or clip.num_persons == 1:
            yield clip
            return
        for person in np.flatnonzero(clip.visible.any(axis=(0, 2))).tolist():
            name = clip.tracks[person] if clip.tracks else str(person)
            yield replace(
                clip.of_person(person),
                id=f"{clip.id}/person {name}",
                tracks=(name,),
                recording=clip.recording or clip.id,
            )

    def __call__(self, clip: Clip) -> list[Window]:
        """Return the windows in which enough frames show a person."""
        annotations = self._of(clip)
        if self.options.window is not None:
            windows = self._regular(clip, annotations)
        elif self.options.annotations is not None:
            windows = self._annotated(clip, annotations)
        else:
            windows = [Window(clip.id, 0, clip.num_frames, clip.label)]
        seen: np.ndarray = np.any(clip.visible, axis=(1, 2))
        kept = []
        for one in windows:
            share = float(seen[one.start : one.start + one.length].mean())
            if share > 0 and share >= self.options.min_visible:
                kept.append(one)
        self.num_left_out += len(windows) - len(kept)
        return kept

    def _of(self, clip: Clip) -> list[Annotation]:
        """Return the annotations of a clip within its duration; counts what lies outside or overlaps."""
        recording = clip.recording or clip.id
        duration = clip.num_frames / clip.fps
        # Times count from the start of the recording, which may come before the first frame that shows anybody.
        skipped = 0.0 if clip.frame_numbers is None else float(clip.frame_numbers[0]) / clip.fps
        kept: list[Annotation] = []
        for whole in self.annotations.of(recording):
            if whole.person is not None and self.options.persons == "separate" and clip.tracks != (whole.person,):
                continue
            self.used.add(whole)
            one = replace(whole, start=max(0.0, whole.start - skipped), end=whole.end - skipped)
            if one.end <= 0:
                self.problems["annotations end before the first frame that shows anybody and were skipped"] += 1
                continue
            if one.start >= duration:
                self.problems["annotations start after the end of the recording and were skipped"] += 1
                continue
            if one.end > duration + 1 / clip.fps:
                self.problems["annotations extend past the end of the recording and were truncated"] += 1
            if kept and kept[-1].end > one.start and kept[-1].label != one.label:
                self.problems["annotations overlap one with another label; both are used"] += 1
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
        covered: dict[str, float] = {}
        reached: dict[str, float] = {}  # end of what is counted already, since annotations of one label may overlap
        for one in annotations:
            low, high = max(begin, one.start, reached.get(one.label, begin)), min(end, one.end)
            covered[one.label] = covered.get(one.label, 0.0) + max(0.0, high - low)
            reached[one.label] = max(reached.get(one.label, begin), high)
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

    def _refuse_shared_annotations(self) -> None:
        """Raise InputError if annotations do not name their recording, and there are several."""
        if None in self.annotations.by_recording and len(self.seen) > 1:
            raise InputError(
                f"{self.options.annotations}: expected a column `file`, because there are several recordings "
                f"({self.seen[0]}, {self.seen[1]}), found none"
            )

    def notes(self) -> dict[str, Any]:
        """Return what was counted, as JSON values, for `add`."""
        return {
            "problems": dict(self.problems),
            "seen": self.seen,
            "num_left_out": self.num_left_out,
            "used": [asdict(one) for one in self.used],
        }

    def add(self, notes: Mapping[str, Any]) -> None:
        """Add what another cutter with the same options counted in other recordings."""
        self.problems.update(notes["problems"])
        self.seen += notes["seen"]
        self.num_left_out += notes["num_left_out"]
        self.used |= {Annotation(**one) for one in notes["used"]}
        self._refuse_shared_annotations()

    def check(self) -> None:
        """Raise InputError if there are annotations, and none of them belongs to a recording that was read."""
        if self.annotations.by_recording and not any(self.annotations.of(name) for name in self.seen):
            raise InputError(
                f"{self.options.annotations}: expected annotations of the recordings {', '.join(self.seen[:5])}, found "
                f"those of {', '.join(map(str, list(self.annotations.by_recording)[:5]))}"
            )

    def warnings(self) -> list[str]:
        """Return what was found in the annotations that did not fit."""
        messages = [f"{count} {text}" for text, count in self.problems.items()]
        if missing := unmatched(self.annotations, self.seen):
            messages.append(
                f"annotations refer to {len(missing)} unknown recordings: {', '.join(missing[:5])}; known recordings: "
                f"{', '.join(self.seen[:5])}{', ...' if len(self.seen) > 5 else ''}"
            )
        others = {
            one.person
            for some in self.annotations.by_recording.values()
            for one in some
            if one.person is not None and one not in self.used
        }
        if others and self.options.persons == "separate":
            messages.append(
                f"annotations of persons that no track is named after were skipped: {', '.join(sorted(others)[:5])}"
            )
        if self.num_left_out:
            messages.append(
                f"{self.num_left_out} windows left out, in which nobody is visible in enough frames (--min-visible "
                f"{self.options.min_visible:g})"
            )
        return messages
