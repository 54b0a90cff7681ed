"""Measures of temporal segmentation, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.core import InputError
from ulna.evaluation.segmentation import (
    Segment,
    edit_score,
    f1_score,
    frame_accuracy,
    intersection_over_union,
    matches,
    mean_average_precision,
    score_timelines,
    segments_of,
)
from ulna.formats.annotations import Annotation
from ulna.models import Timeline

LABELS = st.lists(st.integers(-1, 3), min_size=1, max_size=40).map(np.array)


def test_segments_and_their_scores():
    labels = np.array([0, 0, -1, 1, 1, 1, 0])
    assert segments_of(labels) == [Segment(0, 2, 0), Segment(3, 6, 1), Segment(6, 7, 0)]
    scores = np.arange(14.0).reshape(7, 2) / 14
    assert [one.score for one in segments_of(labels, scores)] == pytest.approx([1 / 14, 9 / 14, 12 / 14])
    scores[4] = np.nan
    assert segments_of(labels, scores)[1].score == pytest.approx(9 / 14), "of the frames that are known"


def test_frame_accuracy_counts_labelled_frames_of_all_recordings():
    truth, predicted = np.array([0, 0, -1, 1]), np.array([0, 1, 1, -1])
    assert frame_accuracy([(truth, predicted)]) == pytest.approx(1 / 3)
    assert frame_accuracy([(truth, predicted), (np.array([2]), np.array([2]))]) == pytest.approx(2 / 4)
    assert np.isnan(frame_accuracy([(np.array([-1]), np.array([0]))]))


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [("abc", "abc", 1), ("abc", "ac", 2 / 3), ("abc", "abxc", 3 / 4), ("abc", "", 0), ("", "", 1), ("ab", "ba", 0)],
)
def test_edit_score(truth, predicted, expected):
    """Insertions, deletions and substitutions of segments, by the longer of both sequences."""
    one, two = ([Segment(i, i + 1, ord(c)) for i, c in enumerate(text)] for text in (truth, predicted))
    assert edit_score(one, two) == pytest.approx(expected)


def test_overlap():
    assert intersection_over_union(Segment(0, 10, 0), Segment(5, 15, 0)) == pytest.approx(5 / 15)
    assert intersection_over_union(Segment(0, 10, 0), Segment(10, 15, 0)) == 0


def test_f1_at_overlaps():
    """Three true segments; one is found exactly, one in two halves, and one with the wrong class."""
    truth = [Segment(0, 10, 0), Segment(10, 20, 1), Segment(20, 30, 2)]
    predicted = [Segment(0, 10, 0), Segment(10, 15, 1), Segment(16, 20, 1), Segment(20, 30, 0)]
    assert matches(truth, predicted, 0.5) == [True, True, False, False], "the second half comes too late"
    assert f1_score([(truth, predicted)], 0.5) == pytest.approx(2 * 2 / 7)
    assert f1_score([(truth, predicted)], 0.51) == pytest.approx(2 * 1 / 7)
    assert f1_score([(truth, predicted), (truth, truth)], 0.5) == pytest.approx(2 * 5 / 13)
    assert np.isnan(f1_score([([], [])], 0.5))


def test_mean_average_precision():
    """Two classes. Of class 0, right, wrong, right by score: precision 1 for the first half of recall, 2/3 after it."""
    truth = [Segment(0, 10, 0), Segment(20, 30, 0), Segment(40, 50, 1)]
    predicted = [
        Segment(0, 10, 0, 0.9),
        Segment(12, 18, 0, 0.8),
        Segment(21, 30, 0, 0.7),
        Segment(40, 44, 1, 0.6),
    ]
    first = (1 + 2 / 3) / 2
    assert mean_average_precision([(truth, predicted)], 0.5) == pytest.approx((first + 0) / 2)
    assert mean_average_precision([(truth, predicted)], 0.4) == pytest.approx((first + 1) / 2)
    recordings = [(truth[:1], predicted[:2]), (truth[1:], predicted[2:])]
    assert mean_average_precision(recordings, 0.5) == pytest.approx(first / 2), "ranked over all recordings"


@given(LABELS)
def test_the_truth_scores_one(labels):
    segments = segments_of(labels)
    if segments:
        assert frame_accuracy([(labels, labels)]) == edit_score(segments, segments) == 1
        assert f1_score([(segments, segments)], 1.0) == 1
        assert mean_average_precision([(segments, segments)], 1.0) == pytest.approx(1)


@given(LABELS, st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_scores_stay_between_zero_and_one(labels, seed, overlap):
    other = np.random.default_rng(seed).permutation(labels)
    one, two = segments_of(labels), segments_of(other)
    assert 0 <= edit_score(one, two) <= 1
    if one:
        assert 0 <= f1_score([(one, two)], overlap) <= 1
        assert 0 <= mean_average_precision([(one, two)], overlap) <= 1
        assert f1_score([(one, two)], overlap) <= f1_score([(one, two)], overlap / 2) + 1e-9


def test_scores_of_timelines_by_hand():
    """One of two events of anna is found; ben's annotation does not count."""
    events = (Annotation(1.0, 2.0, "a", "anna", 0.9), Annotation(2.0, 3.0, "a", "anna", 0.8))
    timeline = Timeline("r", "anna", 10.0, ("a", "b"), np.full((20, 2), 0.5), 1.0, events)
    truth = [
        Annotation(1.0, 2.0, "a"),
        Annotation(2.0, 3.0, "b", "anna"),
        Annotation(1.0, 3.0, "b", "ben"),
    ]
    found = score_timelines([timeline], [truth])
    assert found["frame_accuracy"] == pytest.approx(0.5)
    assert found["edit"] == pytest.approx(0.5)
    assert found["f1_10"] == found["f1_25"] == found["f1_50"] == pytest.approx(2 / 3), "both events are one segment"
    assert found["mAP_50"] == pytest.approx(0.5)
    assert score_timelines([timeline], [[*truth[:3], Annotation(2.5, 3.0, "c")]])["frame_accuracy"] == pytest.approx(
        0.5
    )
    assert score_timelines([timeline], [[Annotation(1.0, 3.0, "c")]])["frame_accuracy"] == 0, (
        "unknown to the classifier"
    )
    unnamed = Timeline("r", None, 10.0, ("a", "b"), timeline.probabilities, 1.0, events)
    assert score_timelines([unnamed], [truth[1:2]])["frame_accuracy"] == 0, "annotations of anyone count"
    with pytest.raises(
        InputError, match="expected annotations of the persons of the timelines, within their recordings, found none"
    ):
        score_timelines([timeline], [truth[2:3]])
