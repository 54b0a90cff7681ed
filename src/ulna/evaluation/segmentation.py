"""Measures of temporal segmentation: frame accuracy, edit score, F1 at overlaps, and mean average precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ulna.core import InputError
from ulna.formats.annotations import Annotation
from ulna.models import Timeline
from ulna.models.decoding import NOTHING, runs


@dataclass(frozen=True)
class Segment:
    """A labelled part of a recording.

    Args:
        start: First frame.
        end: Frame after the last.
        label: Number of the class.
        score: Confidence of a prediction.
    """

    start: int
    end: int
    label: int
    score: float = 1.0


def score_timelines(timelines: Sequence[Timeline], annotations: Sequence[Sequence[Annotation]]) -> dict[str, float]:
    """Return how well the events of timelines agree with annotations, as shares from 0 to 1.

    Args:
        timelines: Timelines, all of the same classes.
        annotations: Annotations of each timeline's recording; those of other persons are left out. Classes that the
            timelines do not have count as wrong.

    Returns:
        "frame_accuracy" over annotated frames; "edit", the mean edit score; "f1_10", "f1_25" and "f1_50", the F1 scores
        at overlaps of 10, 25 and 50 percent; "mAP_50", the mean average precision at an overlap of one half.

    Raises:
        InputError: If there are no annotations of the persons.
    """
    known = timelines[0].classes
    others = sorted({one.label for entries in annotations for one in entries} - set(known))
    numbers = {label: number for number, label in enumerate([*known, *others])}
    true_labels, predicted_labels, pairs = [], [], []
    for timeline, entries in zip(timelines, annotations, strict=True):
        own = [one for one in entries if one.holds_for(timeline.person)]
        truth = _labels(timeline, own, numbers)
        predicted = _labels(timeline, timeline.events, numbers)
        true_labels.append(truth)
        predicted_labels.append(predicted)
        pairs.append((segments_of(truth), segments_of(predicted, timeline.probabilities)))
    if not any(truth for truth, _ in pairs):
        raise InputError("expected annotations of the persons of the timelines, within their recordings, found none")
    return {
        "frame_accuracy": frame_accuracy(zip(true_labels, predicted_labels, strict=True)),
        "edit": float(np.mean([edit_score(truth, predicted) for truth, predicted in pairs])),
        **{f"f1_{percent}": f1_score(pairs, percent / 100) for percent in (10, 25, 50)},
        "mAP_50": mean_average_precision(pairs, 0.5),
    }


def _labels(timeline: Timeline, entries: Sequence[Annotation], numbers: dict[str, int]) -> Int[np.ndarray, " T"]:
    """Return the label of each frame of a timeline."""
    labels = np.full(len(timeline.probabilities), NOTHING)
    for one in entries:
        start, end = (max(0, round((time - timeline.first) * timeline.fps)) for time in (one.start, one.end))
        labels[start:end] = numbers[one.label]
    return labels


def segments_of(labels: Int[np.ndarray, " T"], scores: np.ndarray | None = None) -> list[Segment]:
    """Return the segments of a sequence of labels; frames with -1 belong to none.

    Args:
        labels: Label of each frame.
        scores: (T, L) probabilities, whose mean for its label is a segment's score; 1 by default.
    """
    return [
        Segment(
            start,
            end,
            int(labels[start]),
            1.0 if scores is None else float(np.nanmean(scores[start:end, labels[start]])),
        )
        for start, end in runs(labels)
        if labels[start] != NOTHING
    ]


def frame_accuracy(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the share of labelled frames with the right label.

    Args:
        pairs: True and predicted labels (T,) of each recording; frames whose true label is -1 do not count.
    """
    right = total = 0
    for truth, predicted in pairs:
        is_labelled = truth != NOTHING
        right += int((truth == predicted)[is_labelled].sum())
        total += int(is_labelled.sum())
    return right / total if total else float("nan")


def edit_score(truth: Sequence[Segment], predicted: Sequence[Segment]) -> float:
    """Return 1 less the normalised Levenshtein distance of the order of segments, whatever their duration.

    Lea et al., "Segmental spatiotemporal CNNs for fine-grained action segmentation" (2016).
    """
    one, two = ([segment.label for segment in segments] for segments in (truth, predicted))
    if not one and not two:
        return 1.0
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return 1 - row[-1] / max(len(one), len(two))


def matches(truth: Sequence[Segment], predicted: Sequence[Segment], overlap: float) -> list[bool]:
    """Return for each prediction whether it finds a segment of its class that no earlier prediction has found.

    A prediction is compared with the segment of its class that it overlaps most (intersection over union).

    Args:
        truth: True segments of a recording.
        predicted: Predicted segments, in the order in which they may take true segments.
        overlap: Smallest intersection over union.
    """
    taken: set[int] = set()
    found = []
    for one in predicted:
        best = max(
            (i for i, own in enumerate(truth) if own.label == one.label),
            key=lambda i: intersection_over_union(truth[i], one),
            default=None,
        )
        is_match = best is not None and best not in taken and intersection_over_union(truth[best], one) >= overlap
        found.append(is_match)
        if is_match and best is not None:
            taken.add(best)
    return found


def intersection_over_union(one: Segment, two: Segment) -> float:
    """Return the share of the frames of both segments that they have in common."""
    common = max(0, min(one.end, two.end) - max(one.start, two.start))
    return common / (one.end - one.start + two.end - two.start - common)


def f1_score(recordings: Iterable[tuple[Sequence[Segment], Sequence[Segment]]], overlap: float) -> float:
    """Return the F1 score of segments that overlap a true one of their class, over all recordings (Lea et al., 2017).

    Args:
        recordings: True and predicted segments of each recording.
        overlap: Smallest intersection over union.
    """
    right = num_true = num_predicted = 0
    for truth, predicted in recordings:
        right += sum(matches(truth, predicted, overlap))
        num_true += len(truth)
        num_predicted += len(predicted)
    return 2 * right / (num_true + num_predicted) if num_true + num_predicted else float("nan")


def mean_average_precision(recordings: Sequence[tuple[Sequence[Segment], Sequence[Segment]]], overlap: float) -> float:
    """Return the mean over classes of the area under the precision-recall curve, at one overlap, as for PKU-MMD.

    Predictions of all recordings are sorted by score. Precision is interpolated: at each recall, the largest precision
    at this recall or above. Liu et al., "PKU-MMD" (2017), mAP of actions.

    Args:
        recordings: True and predicted segments of each recording.
        overlap: Smallest intersection over union.
    """
    classes = sorted({one.label for truth, _ in recordings for one in truth})
    precisions = []
    for label in classes:
        num_true, found = 0, []
        for truth, predicted in recordings:
            own = [one for one in truth if one.label == label]
            ranked = sorted((one for one in predicted if one.label == label), key=lambda one: -one.score)
            num_true += len(own)
            found += list(zip([one.score for one in ranked], matches(own, ranked, overlap), strict=True))
        found.sort(key=lambda pair: -pair[0])
        right = np.cumsum([is_match for _, is_match in found])
        precision = right / np.arange(1, len(found) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        gained = np.diff(right, prepend=0)
        precisions.append(float((best * gained).sum() / num_true))
    return float(np.mean(precisions)) if precisions else float("nan")
