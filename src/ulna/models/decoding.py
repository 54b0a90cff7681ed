"""Decoding: from the class probabilities of each frame to labelled segments."""

from __future__ import annotations

import heapq
import itertools
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import model_validator

from ulna.core import Config, NonNegativeSeconds, Share

NOTHING = -1
"""Label of frames without one."""
MERGED = -2


class Smoothing(Config):
    """How the probabilities of frames become segments."""

    method: Literal["viterbi", "hysteresis", "none"] = "viterbi"
    """"viterbi" finds the most probable sequence of labels in which every change has a cost; "hysteresis" starts a
    segment where a class reaches `start_probability` and ends it where the class falls below `end_probability`; "none"
    takes the most probable class of every frame."""
    cost: NonNegativeSeconds = 0.25
    """Cost of a change of label with "viterbi", in seconds during which another label is e times as probable."""
    start_probability: Share = 0.5
    """Probability at which a segment starts with "hysteresis"."""
    end_probability: Share = 0.4
    """Probability below which a segment ends with "hysteresis"."""
    min_duration: NonNegativeSeconds = 0.3
    """Minimum duration of a segment in seconds; a shorter one is joined to the longer of its neighbours."""
    min_confidence: Share = 0.0
    """Minimum mean probability of a segment; frames of others have no label."""

    @model_validator(mode="after")
    def _fits(self) -> Smoothing:
        if self.end_probability > self.start_probability:
            raise ValueError(
                f"end_probability: expected at most start_probability ({self.start_probability:g}), found "
                f"{self.end_probability:g}"
            )
        return self

    def __call__(self, probabilities: Float[np.ndarray, "T L"], fps: float) -> Int[np.ndarray, " T"]:
        """Return the label of each frame, -1 where there is none.

        Args:
            probabilities: Class probabilities of each frame; frames with NaN get no label.
            fps: Frames per second.
        """
        known = ~np.isnan(probabilities).any(axis=1)
        labels = np.full(len(probabilities), NOTHING)
        for start, end in runs(known):
            if known[start]:
                labels[start:end] = self._decode(probabilities[start:end], fps)
        labels = join_short(labels, round(self.min_duration * fps))
        for start, end in runs(labels):
            label = labels[start]
            if label != NOTHING and np.nanmean(probabilities[start:end, label]) < self.min_confidence:
                labels[start:end] = NOTHING
        return labels

    def _decode(self, probabilities: Float[np.ndarray, "T L"], fps: float) -> Int[np.ndarray, " T"]:
        if self.method == "viterbi":
            return viterbi(probabilities, self.cost * fps)
        if self.method == "hysteresis":
            return hysteresis(probabilities, self.start_probability, self.end_probability)
        return probabilities.argmax(axis=1)


def viterbi(probabilities: Float[np.ndarray, "T L"], cost: float) -> Int[np.ndarray, " T"]:
    """Return the sequence of labels with the largest sum of log-probabilities, less a cost for every change.

    Args:
        probabilities: Class probabilities of each frame.
        cost: Cost of a change of label, in units of log-probability.
    """
    scores = np.log(np.maximum(probabilities, 1e-6))
    num_frames, num_classes = scores.shape
    came_from = np.empty((num_frames, num_classes), dtype=np.int64)
    total = scores[0].copy()
    for t in range(1, num_frames):
        best = int(total.argmax())
        changes = total[best] - cost > total
        came_from[t] = np.where(changes, best, np.arange(num_classes))
        total = np.where(changes, total[best] - cost, total) + scores[t]
    labels = np.empty(num_frames, dtype=np.int64)
    labels[-1] = total.argmax()
    for t in range(num_frames - 1, 0, -1):
        labels[t - 1] = came_from[t, labels[t]]
    return labels


def hysteresis(probabilities: Float[np.ndarray, "T L"], start: float, end: float) -> Int[np.ndarray, " T"]:
    """Return labels that start where a class reaches one probability and last until it falls below a lower one.

    Args:
        probabilities: Class probabilities of each frame.
        start: Probability at which a label starts, or takes over from a label that is less probable.
        end: Probability below which a label ends.
    """
    labels = np.full(len(probabilities), NOTHING)
    current = NOTHING
    for t, row in enumerate(probabilities):
        best = int(row.argmax())
        if current != NOTHING and row[current] < end:
            current = NOTHING
        if row[best] >= start and (current == NOTHING or row[best] > row[current]):
            current = best
        labels[t] = current
    return labels


def runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Return first index and end of every run of equal values."""
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return list(itertools.pairwise(bounds)) if len(values) else []


def join_short(labels: Int[np.ndarray, " T"], min_frames: int) -> Int[np.ndarray, " T"]:
    """Join segments that are too short to the longer of their neighbours, the shortest first.

    Args:
        labels: Label of each frame, -1 for none. Parts without a label are not joined to others, and a short segment
            with no neighbour but them loses its label.
        min_frames: Minimum number of frames of a segment.
    """
    found = [[start, end, int(labels[start])] for start, end in runs(labels)]
    before = list(range(-1, len(found) - 1))  # index of the run before and after each, as runs are merged
    after = [*range(1, len(found)), -1]
    waiting = [(end - start, i) for i, (start, end, label) in enumerate(found) if label != NOTHING]
    heapq.heapify(waiting)
    joined = labels.copy()
    while waiting and waiting[0][0] < min_frames:
        length, i = heapq.heappop(waiting)
        start, end, label = found[i]
        if label < 0 or end - start != length:  # was merged meanwhile
            continue
        near = [k for k in (before[i], after[i]) if k >= 0 and found[k][2] != NOTHING]
        longest = max(near, key=lambda k: found[k][1] - found[k][0], default=None)
        joined[start:end] = found[i][2] = NOTHING if longest is None else found[longest][2]
        for k in (before[i], after[i]):  # merge with neighbours of the same label
            if k < 0 or found[i][2] < 0 or found[k][2] != found[i][2]:
                continue
            found[i][:2] = min(found[i][0], found[k][0]), max(found[i][1], found[k][1])
            found[k][2] = MERGED
            if k == before[i]:
                before[i] = before[k]
                if before[k] >= 0:
                    after[before[k]] = i
            else:
                after[i] = after[k]
                if after[k] >= 0:
                    before[after[k]] = i
        if found[i][2] != NOTHING:
            heapq.heappush(waiting, (found[i][1] - found[i][0], i))
    return joined
