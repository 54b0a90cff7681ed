"""Timelines: when something happens in a long recording, per person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from ulna.core import Clip, Config, InputError, Seconds, Share
from ulna.formats.annotations import Annotation
from ulna.models.classifier import DEFAULT_DURATIONS
from ulna.models.decoding import NOTHING, Smoothing, runs

MOST_WINDOWS = 1_000_000
AT_ONCE = 1024  # windows that are classified at once


class Scan(Config):
    """How a recording is cut into windows."""

    windows: Annotated[tuple[Seconds, ...], Field(max_length=8)] = ()
    """Lengths of windows in seconds; by default the quartiles of the durations of the clips that the classifier was
    trained on. Probabilities of all windows that contain a frame are averaged, those near the middle of a window with a
    larger weight."""
    stride: Seconds = 0.25
    """Seconds from the start of one window to that of the next; at most half a window."""
    min_visible: Share = 0.5
    """Minimum share of a window's frames in which the person is visible; other windows are left out."""

    def of(self, clip: Clip) -> list[tuple[int, int]]:
        """Return first frame and end of each window of a recording of one person.

        A recording that is shorter than a window is one window.
        """
        found: set[tuple[int, int]] = set()
        for seconds in sorted(set(self.windows or DEFAULT_DURATIONS)):
            length = min(max(1, round(seconds * clip.fps)), clip.num_frames)
            stride = max(1, round(min(self.stride, seconds / 2) * clip.fps))
            last = clip.num_frames - length
            found |= {(start, start + length) for start in (*range(0, last, stride), last)}
            if len(found) > MOST_WINDOWS:
                raise InputError(f"stride: expected at most {MOST_WINDOWS:,} windows, found more in {clip.id!r}")
        visible: np.ndarray = np.any(clip.visible, axis=(1, 2))
        counts = np.concatenate([[0], visible.cumsum()])
        return [
            (start, end)
            for start, end in sorted(found)
            if counts[end] - counts[start] >= max(1, self.min_visible * (end - start))
        ]


@dataclass(frozen=True)
class Timeline:
    """When something happens in a recording, for one person.

    Args:
        recording: Id of the recording.
        person: Track id of the person, or number in the recording; None if the recording shows one person without a
            name, or the model looks at all persons together.
        fps: Frames per second.
        classes: (L,) names of the classes.
        probabilities: (T, L) class probabilities of each frame; NaN where no window contains the frame that shows the
            person often enough.
        first: Time of the first frame in seconds, from the start of the recording.
        events: What happens, in order: start and end in seconds, label, person, and the mean probability of the label.
    """

    recording: str
    person: str | None
    fps: float
    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "T L"] = field(repr=False)
    first: float = 0.0
    events: tuple[Annotation, ...] = ()

    def decoded(self, smoothing: Smoothing) -> Timeline:
        """Return the timeline with the events that a smoothing finds."""
        labels = smoothing(self.probabilities, self.fps)
        events = tuple(
            Annotation(
                start=self.first + start / self.fps,
                end=self.first + end / self.fps,
                label=self.classes[labels[start]],
                person=self.person,
                confidence=float(np.nanmean(self.probabilities[start:end, labels[start]])),
            )
            for start, end in runs(labels)
            if labels[start] != NOTHING
        )
        return replace(self, events=events)


def scan(
    recording: Clip,
    classify: Callable[[list[Clip]], Float[np.ndarray, "B L"]],
    classes: Sequence[str],
    *,
    options: Scan | None = None,
    smoothing: Smoothing | None = None,
    person: str | None = None,
) -> Timeline:
    """Return the timeline of a recording.

    Args:
        recording: The recording, of one person or of persons that are classified together.
        classify: Returns class probabilities of clips.
        classes: (L,) names of the classes.
        options: How to cut the recording into windows.
        smoothing: How the probabilities of frames become events.
        person: The person's name.
    """
    windows = (options or Scan()).of(recording)
    total = np.zeros((recording.num_frames, len(classes)))
    weight = np.zeros((recording.num_frames, 1))
    if windows:
        parts = [windows[first : first + AT_ONCE] for first in range(0, len(windows), AT_ONCE)]
        answers = np.concatenate([classify([part_of(recording, start, end) for start, end in part]) for part in parts])
        for (start, end), answer in zip(windows, answers, strict=True):
            middle = 1 - np.abs(np.linspace(-1, 1, end - start + 2)[1:-1, None])  # a triangle without its corners
            total[start:end] += middle * answer
            weight[start:end] += middle
    with np.errstate(invalid="ignore"):
        probabilities = total / weight  # NaN where no window contains a frame
    timeline = Timeline(recording.id, person, recording.fps, tuple(classes), probabilities, recording.start_time)
    return timeline.decoded(smoothing or Smoothing())


def part_of(clip: Clip, start: int, end: int) -> Clip:
    """Return the frames of a clip from one frame up to another."""
    part = slice(start, end)
    return replace(
        clip,
        id=f"{clip.id}@{start}-{end}",
        position=clip.position[part],
        visible=clip.visible[part],
        confidence=None if clip.confidence is None else clip.confidence[part],
        frame_numbers=None if clip.frame_numbers is None else clip.frame_numbers[part],
        recording=clip.recording or clip.id,
    )


def persons_of(clip: Clip) -> list[tuple[str | None, Clip]]:
    """Return each person who is ever visible, with their name and a recording of them alone."""
    shown = np.flatnonzero(clip.visible.any(axis=(0, 2))).tolist()
    if clip.num_persons == 1 and clip.tracks is None:
        return [(None, clip)] if shown else []
    return [(clip.tracks[person] if clip.tracks else str(person), clip.of_person(person)) for person in shown]
