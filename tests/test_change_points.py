"""Change points: where movement changes, without labels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CLASSES, make_clip
from ulna.core import Clip, InputError, get_skeleton
from ulna.dataset.assembling import assemble
from ulna.formats.annotations import read_annotations
from ulna.formats.writing import write_clips
from ulna.models.change_points import Changes, change_points
from ulna.models.timeline import Timeline


def recording(speeds, seconds=3.0, fps=30.0, num_persons=1):
    """A body whose first joint has a constant speed in each part."""
    steps = np.repeat(np.array(speeds) / fps, round(seconds * fps))
    position = np.zeros((len(steps), num_persons, 20, 3), np.float32)
    position[..., 0, 0] = steps.cumsum()[:, None]
    return Clip("r", position, get_skeleton("kinect_v1"), fps=fps)


def speed(clips):
    """The mean speed of each clip, and what is the same in all."""
    rows = [[np.diff(clip.position[:, 0, 0, 0]).mean() * clip.fps, 1.0] for clip in clips]
    return np.array(rows, np.float32)


def test_changes_are_found_where_the_speed_changes():
    found = change_points(recording([0.0, 1.0, 0.5]), speed, person="anna")
    assert [event.label for event in found.events] == ["part 1", "part 2", "part 3"]
    assert [event.person for event in found.events] == ["anna"] * 3
    np.testing.assert_allclose([event.start for event in found.events], [0, 3, 6], atol=0.25)
    assert found.events[-1].end == pytest.approx(9)
    assert found.classes == ("part 1", "part 2", "part 3")
    assert (found.probabilities.sum(axis=1) == 1).all()


def test_a_larger_penalty_finds_fewer_parts():
    clip = recording(np.random.default_rng(0).random(8), seconds=1.5)
    counts = [len(change_points(clip, speed, options=Changes(penalty=cost)).events) for cost in (0.01, 1.0, 1000.0)]
    assert counts[0] > counts[1] > counts[2] == 1


def test_parts_end_where_the_person_is_out_of_sight():
    clip = recording([1.0, 1.0])
    clip.visible[80:140] = False
    found = change_points(clip, speed)
    assert len(found.events) == 2
    assert np.isnan(found.probabilities[100:120]).all()


def test_short_recordings_are_one_part():
    clip = recording([1.0], seconds=0.1)
    (event,) = change_points(clip, speed).events
    assert (event.start, event.end) == (0, pytest.approx(0.1))
    clip.visible[:] = False
    assert change_points(clip, speed).events == ()


@settings(max_examples=40)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.floats(0.1, 2.0), st.floats(0.05, 1.0), st.integers(0, 9))
def test_parts_follow_one_another(speeds, window, stride, hidden):
    clip = recording(speeds, seconds=1.0)
    clip.visible[:hidden] = False
    events = change_points(clip, speed, options=Changes(window=window, stride=stride)).events
    assert all(one.end == two.start for one, two in itertools.pairwise(events))
    assert all(0 <= one.start < one.end <= clip.num_frames / clip.fps for one in events)


def test_model_and_command(model, dataset, tmp_path, command):
    ((clip, _),) = assemble(dataset, np.arange(8))
    (found,) = model.change_points(clip)
    assert isinstance(found, Timeline)
    assert found.events
    write_clips([clip], tmp_path / "one.npz")
    code, out, _ = command(
        "segment", model.path, tmp_path / "one.npz", "--out", tmp_path / "e.csv", "--page", tmp_path / "p.html"
    )
    assert code == 0
    assert f"{len(found.events)} events of 1 recordings" in out
    assert len(read_annotations(tmp_path / "e.csv").of("one")) == len(found.events)
    assert "part 1" in (tmp_path / "p.html").read_text()
    code, out, _ = command("segment", model.path, tmp_path / "one.npz", "--penalty", "1000")
    assert code == 0
    assert out.count("part") == 1
    code, _, error = command("segment", model.path, tmp_path / "one.npz", "--penalty", "0")
    assert code == 2
    assert "penalty" in error


def test_nobody_visible(model):
    clip = make_clip("a", 9, label=CLASSES[0])
    clip.visible[:] = False
    with pytest.raises(InputError, match="expected a visible person, found none"):
        model.change_points(clip)
