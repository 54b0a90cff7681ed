"""Streams: classify movement while it happens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from ulna.core import FARTHEST, Clip, Config, Count, InputError, Seconds, Share, Skeleton, shown
from ulna.models.classifier import DEFAULT_DURATIONS, Classifier
from ulna.models.embedding import Embedder

MOST_PERSONS = 100
MOST_FRAMES = 100_000  # of a window
MOST_LATE = 1.0  # seconds of late frames after which the clock starts anew
LONGEST_GAP = 86_400  # seconds
EXAMPLE = '{"time": 0, "persons": {"a": [[x, y, z], ...]}}'


class StreamOptions(Config):
    """What a stream looks at, and when it answers."""

    window: Annotated[float, Field(gt=0, le=600)] | None = None
    """Seconds that an answer is based on; by default the median duration of the clips that the classifier was trained
    on."""
    every: Count = 20
    """Number of frames from one answer to the next."""
    min_visible: Share = 0.5
    """Minimum share of the window's frames in which a person is visible; there is no answer about others."""
    forget: Seconds = 2.0
    """Seconds after which a person who is not seen any more is forgotten."""
    unknown: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Label movement "unknown" that is unlike all training clips, at about this share of false alarms."""


@dataclass(frozen=True)
class StreamAnswer:
    """What a person is doing.

    Args:
        time: Time of the last frame in seconds.
        person: Name of the person.
        label: Most probable class, or "unknown".
        confidence: Its probability, 0 to 1.
        novelty: Share of held-out training clips that are more like the others than this movement; None if the
            classifier does not measure it.
        probabilities: (L,) probability of every class.
    """

    time: float
    person: str
    label: str
    confidence: float
    novelty: float | None
    probabilities: np.ndarray = field(repr=False)


@dataclass
class StreamCounts:
    """What happened to the frames of a stream.

    Args:
        frames: Frames that were used.
        late: Frames that came after a later one, and were left out.
        missing: Frames that did not come.
        bad: Frames that could not be read, and were left out.
        answers: Answers that were given.
    """

    frames: int = 0
    late: int = 0
    missing: int = 0
    bad: int = 0
    answers: int = 0


@dataclass
class _Track:
    """The last frames of a person, as a ring.

    Args:
        position: (W, K, 3).
        visible: (W, K).
        seen: Number of the last frame in which the person was visible.
    """

    position: np.ndarray
    visible: np.ndarray
    seen: int


class Stream:
    """Classifies the movement of each person while frames arrive, with a bounded memory.

    Args:
        embedder: The model's encoder with its preprocessor.
        classifier: The classifier.
        skeleton: Skeleton of the frames.
        fps: Frames per second of the stream.
        options: What to look at, and when to answer.
        dimensions: 3, or 2 for positions in an image.
        units: Unit of the positions.

    Raises:
        InputError: If the encoder needs several persons at once, or the classifier cannot call movement unknown.
    """

    def __init__(
        self,
        embedder: Embedder,
        classifier: Classifier,
        skeleton: Skeleton,
        *,
        fps: float,
        options: StreamOptions,
        dimensions: int = 3,
        units: str = "metres",
    ) -> None:
        if embedder.encoder.spec.num_persons > 1:
            raise InputError(
                "stream: expected an encoder of one person, found one that encodes persons together. Use a recipe with "
                "a body, or data of one person."
            )
        if not (math.isfinite(fps) and fps > 0):
            raise InputError(f"fps: expected frames per second above 0, found {fps}")
        if options.unknown is not None:
            classifier.check_unknown(options.unknown)
        seconds = options.window or (classifier.config.durations or DEFAULT_DURATIONS)[1]
        self.embedder, self.classifier, self.options = embedder, classifier, options
        self.skeleton, self.fps, self.dimensions, self.units = skeleton, fps, dimensions, units
        self.length = max(2, round(seconds * fps))
        if self.length > MOST_FRAMES:
            found = f"{self.length:,} ({seconds:g} seconds at {fps:g} frames per second)"
            raise InputError(f"window: expected at most {MOST_FRAMES:,} frames, found {found}")
        self.counts = StreamCounts()
        self._tracks: dict[str, _Track] = {}
        self._frame = -1  # number of the last frame on the stream's clock
        self._start: float | None = None
        self._late = 0  # frames one after another that came late, or far too early

    @property
    def persons(self) -> tuple[str, ...]:
        """Names of the persons who have been seen lately."""
        return tuple(self._tracks)

    def push(
        self,
        persons: np.ndarray | Mapping[str, np.ndarray],
        *,
        time: float | None = None,
    ) -> list[StreamAnswer]:
        """Take the next frame, and return an answer per person if one is due.

        Args:
            persons: Positions (K, 3), or (K, 2) for two dimensions, of one person, or of each person by name; NaN where
                a joint is missing. No persons if nobody is visible.
            time: Time of the frame in seconds; by default one frame after the last. Frames that were skipped count as
                missing; a frame that is not later than the last one is left out.

        Raises:
            InputError: If positions have another shape, or there are too many persons. The stream goes on after it.
        """
        frame = self._number(time)
        try:
            given = persons if isinstance(persons, Mapping) else {"0": persons}
            frames = {str(name): self._checked(str(name), position) for name, position in given.items()}
            if len(frames) > MOST_PERSONS:
                raise InputError(f"expected at most {MOST_PERSONS} persons in a frame, found {len(frames)}")
        except InputError:
            self.counts.bad += 1
            raise
        if frame <= self._frame:
            self.counts.late += 1
            self._late += 1
            if self._late <= self.fps * MOST_LATE:
                return []
            self._restart(time)  # the clock was set back
            frame = 0
        self._late = 0
        answers_before = (self._frame + 1) // self.options.every
        self._advance(frame)
        self.counts.frames += 1
        for name, (position, visible) in frames.items():
            self._store(name, position, visible)
        if (self._frame + 1) // self.options.every == answers_before or not self._tracks:
            return []
        return self._answers()

    def _restart(self, time: float | None) -> None:
        """Forget everybody, and start the clock anew."""
        self._tracks, self._frame, self._start, self._late = {}, -1, time, 0

    def skip(self) -> None:
        """Count a frame that could not be read; the stream goes on."""
        self.counts.bad += 1

    def _number(self, time: float | None) -> int:
        """Return the number of a frame on the stream's clock."""
        if time is None:
            return self._frame + 1
        if not math.isfinite(time):
            self.counts.bad += 1
            raise InputError(f"time: expected seconds, found {shown(time)}")
        if self._start is None:
            self._start = time - (self._frame + 1) / self.fps
        if time - self._start - self._frame / self.fps > LONGEST_GAP:
            self._late += 1
            if self._late > self.fps * MOST_LATE:
                self._restart(time)  # the clock was set forward
                return 0
            self.counts.bad += 1
            raise InputError(f"time: expected at most {LONGEST_GAP} seconds after the last frame, found {time:g}")
        return round(max(-1e9, time - self._start) * self.fps)

    def _checked(self, name: str, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (K, 3) and visibility (K) of a person."""
        try:
            found = np.asarray(position, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"person {shown(name)}: expected an array of numbers, found other values") from None
        width = 2 if self.dimensions == 2 else 3
        if found.shape != (self.skeleton.num_joints, width):
            raise InputError(
                f"person {shown(name)}: expected positions ({self.skeleton.num_joints}, {width}) of "
                f"{self.skeleton.name}, found {found.shape}"
            )
        visible: np.ndarray = np.all(np.abs(found) <= FARTHEST, axis=1)  # false for nan
        found = np.where(visible[:, None], found, 0)
        return (np.pad(found, ((0, 0), (0, 1))) if width == 2 else found), visible

    def _advance(self, frame: int) -> None:
        """Move the clock, and empty the frames in between."""
        skipped = frame - self._frame - 1
        self.counts.missing += skipped
        for step in range(max(self._frame + 1, frame - self.length + 1), frame + 1):
            for track in self._tracks.values():
                track.visible[step % self.length] = False
        self._frame = frame
        oldest = frame - max(1, round(self.options.forget * self.fps) - 1)
        self._tracks = {name: track for name, track in self._tracks.items() if track.seen >= oldest}

    def _store(self, name: str, position: np.ndarray, visible: np.ndarray) -> None:
        if not visible.any():
            return
        if name not in self._tracks:
            if len(self._tracks) >= MOST_PERSONS:  # names that change with every frame must not fill the memory
                del self._tracks[min(self._tracks, key=lambda own: self._tracks[own].seen)]
            shape = (self.length, self.skeleton.num_joints)
            self._tracks[name] = _Track(np.zeros((*shape, 3), np.float32), np.zeros(shape, bool), self._frame)
        track = self._tracks[name]
        place = self._frame % self.length
        track.position[place], track.visible[place], track.seen = position, visible, self._frame

    def _answers(self) -> list[StreamAnswer]:
        """Return an answer about each person who is visible in enough frames."""
        filled = min(self.length, self._frame + 1)
        order = np.arange(self._frame - filled + 1, self._frame + 1) % self.length
        clips, names = [], []
        for name, track in self._tracks.items():
            visible = track.visible[order]
            shown_frames = visible.any(axis=1)
            if filled == self.length and shown_frames.mean() >= max(self.options.min_visible, 1 / filled):
                clips.append(self._clip(name, track.position[order], visible))
                names.append(name)
        if not clips:
            return []
        vectors = self.embedder.embed_clips(clips)
        now = self._frame / self.fps + (self._start or 0.0)
        self.counts.answers += len(clips)
        return [
            StreamAnswer(now, name, answer.label, answer.confidence, answer.novelty, answer.probabilities)
            for name, answer in zip(names, self.classifier.answers(vectors, unknown=self.options.unknown), strict=True)
        ]

    def _clip(self, name: str, position: Float[np.ndarray, "W K 3"], visible: np.ndarray) -> Clip:
        return Clip(
            id=name or "person",
            position=position[:, None],
            visible=visible[:, None],
            skeleton=self.skeleton,
            fps=self.fps,
            dimensions=self.dimensions,
            units=self.units,  # type: ignore[arg-type]
        )


def read_frame(line: str) -> tuple[Mapping[str, np.ndarray], float | None]:
    """Return the persons and the time of a frame as a line of JSON.

    {"time": 1.5, "persons": {"anna": [[x, y, z], ...]}}, {"persons": [[[x, y, z], ...], ...]} or
    {"position": [[x, y, z], ...]}; null instead of a joint that is missing. The time may be left out.

    Raises:
        InputError: If it is none of these.
    """
    import json

    problem = f"expected a frame such as {EXAMPLE}, found {shown(line[:60])}"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(problem) from None
    if not isinstance(content, dict) or not {"persons", "position"} & set(content):
        raise InputError(problem)
    persons = content["persons"] if "persons" in content else [content["position"]]
    if isinstance(persons, list):
        persons = {str(number): person for number, person in enumerate(persons)}
    time = content.get("time")
    if not isinstance(persons, dict) or not (time is None or type(time) in (int, float)):
        raise InputError(problem)
    try:
        return {name: _array(joints) for name, joints in persons.items()}, None if time is None else float(time)
    except (TypeError, ValueError, OverflowError):
        raise InputError(problem) from None


def _array(joints: Any) -> np.ndarray:
    """Return joints as an array, NaN where they are null; raises TypeError or ValueError if they are no numbers."""
    for joint in joints:
        if not (joint is None or (isinstance(joint, list) and {*map(type, joint)} <= {int, float, type(None)})):
            raise TypeError
    width = next((len(joint) for joint in joints if joint is not None), 3)
    rows = [[math.nan] * width if joint is None else joint for joint in joints]
    return np.array([[math.nan if value is None else value for value in row] for row in rows], dtype=np.float32)
