"""Streams: the ring of frames, late and missing frames, people who come and go, and bad input."""

import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.core import Clip, InputError, MissingError
from ulna.models.stream import MOST_PERSONS, StreamOptions, read_frame


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    model = model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("stream") / "model")
    model.fit(dataset, split="half")
    return model.save(tmp_path_factory.mktemp("stream") / "fitted")


def body(num=60, label=CLASSES[0], seed=0):
    return make_clip("c", num, label=label, speed=0.1, seed=seed).position[:, 0]


def started(model, **options):
    return model.stream(fps=30.0, options=StreamOptions(**({"window": 0.5, "every": 5} | options)))


def test_answers_are_those_of_the_last_window(model):
    stream, frames = started(model), body()
    answers = [answer for frame in frames for answer in stream.push(frame)]
    assert len(answers) == stream.counts.answers == 10, "every 5 frames, once 15 are there"
    for answer in answers:
        end = round(answer.time * 30) + 1
        clip = Clip(id="w", position=frames[end - 15 : end, None], skeleton=model.config.skeleton)
        (expected,) = model.predict([clip])
        assert answer.label == expected.label
        np.testing.assert_allclose(answer.probabilities, expected.probabilities, atol=1e-5)
        assert answer.novelty == pytest.approx(expected.novelty, abs=1e-6)


def test_the_window_is_as_long_as_the_training_clips(model):
    middle = model.classifier(None).config.durations[1]
    assert model.stream(fps=60.0).length == round(60 * middle)
    assert started(model, window=2.0).length == 60


def test_late_and_missing_frames_are_counted(model):
    stream, frames = started(model), body()
    for number in (0, 1, 2, 5, 4, 6, 6):
        stream.push(frames[number], time=10 + number / 30)
    assert (stream.counts.frames, stream.counts.late, stream.counts.missing) == (5, 2, 2)
    track = stream._tracks["0"]
    assert track.visible.any(axis=1).tolist() == [True, True, True, False, False, True, True] + [False] * 8
    for number in range(7, 20):
        answers = stream.push(frames[number], time=10 + number / 30)
        assert all(answer.time == pytest.approx(10 + number / 30) for answer in answers)
    stream.push(frames[0], time=10_000.0)
    assert not stream.persons or stream.persons == ("0",)
    assert stream._tracks["0"].visible.any(axis=1).sum() == 1, "hours later, only the new frame is left"


def test_people_come_and_go(model):
    stream, one, two = started(model), body(120), body(120, CLASSES[1], seed=1)
    heard = []
    for number in range(120):
        persons = {"anna": one[number]} if number < 60 else {}
        if number >= 30:
            persons["ben"] = two[number]
        heard += [(answer.person, number) for answer in stream.push(persons)]
    anna = [number for person, number in heard if person == "anna"]
    ben = [number for person, number in heard if person == "ben"]
    assert (min(anna), max(anna)) == (14, 64), "until half of the window has passed without her"
    assert min(ben) == 39, "once half of the window shows him"
    assert stream.persons == ("ben",), "anna is forgotten after two seconds"


def test_joints_that_are_missing(model):
    stream, frames = started(model), body()
    frames[:, 3] = np.nan
    answers = [answer for frame in frames for answer in stream.push(frame)]
    assert all(np.isfinite(answer.probabilities).all() for answer in answers)
    assert not stream._tracks["0"].visible[:, 3].any()
    hidden = started(model)
    assert [hidden.push(np.full_like(frames[0], np.nan)) for _ in range(40)] == [[]] * 40


def test_a_bad_frame_does_not_end_the_stream(model):
    stream, frames = started(model), body()
    for bad in (np.zeros((3, 3)), np.zeros((20, 2)), {str(i): frames[0] for i in range(MOST_PERSONS + 1)}):
        with pytest.raises(InputError, match="expected"):
            stream.push(bad)
    with pytest.raises(InputError, match="time: expected seconds, found nan"):
        stream.push(frames[0], time=float("nan"))
    assert stream.counts.bad == 4
    assert [answer for frame in frames for answer in stream.push(frame)]


def test_memory_stays_bounded_when_names_change(model):
    stream, frame = started(model, forget=1e6), body(1)[0]
    for number in range(3 * MOST_PERSONS):
        stream.push({f"person {number}": frame})
    assert len(stream.persons) == MOST_PERSONS
    assert f"person {3 * MOST_PERSONS - 1}" in stream.persons


def test_what_cannot_be_streamed(model, dataset, tmp_path):
    with pytest.raises(InputError, match="fps: expected frames per second above 0, found 0"):
        model.stream(fps=0.0)
    with pytest.raises(MissingError, match="classifier 'other'"):
        model.stream(fps=30.0, classifier="other")
    with pytest.raises(InputError, match="expected at least 1000 training clips"):
        started(model, unknown=0.001)
    assert started(model, unknown=0.2).push(body(1)[0]) == []


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
@settings(max_examples=30)
def test_any_order_of_times_is_survived(times):
    stream = started(MODEL[0])
    frame = body(1)[0]
    for time, is_visible in times:
        answers = stream.push({"a": frame} if is_visible else {}, time=time)
        assert all(answer.person == "a" for answer in answers)
    counts = stream.counts
    assert counts.frames + counts.late == len(times)


MODEL = []


@pytest.fixture(autouse=True)
def _remember(model):
    MODEL[:] = [model]


@pytest.mark.parametrize(
    ("line", "names", "time"),
    [
        ('{"position": [[1, 2, 3], null]}', ["0"], None),
        ('{"time": 2, "persons": {"a": [[1, 2, 3], [4, null, 6]]}}', ["a"], 2.0),
        ('{"persons": [[[1, 2]], [[3, 4]]], "time": 0.5}', ["0", "1"], 0.5),
        ('{"persons": {}}', [], None),
    ],
)
def test_frames_as_json(line, names, time):
    persons, found = read_frame(line)
    assert list(persons) == names
    assert found == time
    assert all(position.ndim == 2 for position in persons.values())


@given(
    st.text(max_size=50)
    | st.recursive(
        st.none() | st.floats() | st.text(max_size=3),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["time", "persons", "position"]), s),
        max_leaves=8,
    ).map(json.dumps)
)
def test_any_line_is_a_frame_or_an_error(line):
    try:
        persons, _ = read_frame(line)
    except InputError as error:
        assert "expected a frame such as" in str(error)
    else:
        assert all(isinstance(position, np.ndarray) for position in persons.values())


def test_the_command_answers_and_counts(model, monkeypatch, command):
    lines = [json.dumps({"time": k / 30, "persons": {"anna": frame.tolist()}}) for k, frame in enumerate(body())]
    lines[20:20] = ["garbage", "{}", '{"position": [[1, 2, 3]]}', "[", "nothing"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    code, out, err = command("stream", model.path, "--fps", "30", "--window", "0.5", "--every", "5", "--unknown", "0.1")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 10
    assert {row["person"] for row in rows} == {"anna"}
    assert {row["label"] for row in rows} <= {*CLASSES, "unknown"}
    assert "line 21 was left out: expected a frame such as" in err
    assert err.count("was left out") == 3
    assert "Further ones are only counted." in err
    assert "frames 60  late 0  missing 0  bad 5  answers 10" in err


def test_strange_times_do_not_stop_the_stream(model):
    stream, frames = started(model), body()
    for number in range(20):
        stream.push(frames[number], time=number / 30)
    for time in (1e308, 1e19, 1e9):
        with pytest.raises(InputError, match="time: expected at most 86400 seconds after the last frame"):
            stream.push(frames[0], time=time)
    assert stream.push(frames[20], time=-1e300) == []
    answers = [answer for number in range(60) for answer in stream.push(frames[number], time=-100 + number / 30)]
    assert answers, "the clock was set back, and started anew after a second"
    assert answers[-1].time == pytest.approx(-100 + 59 / 30, abs=0.2)


def test_the_median_is_kept_where_quartiles_are_equal(model):
    config = model.classifier(None).config
    assert len(config.durations) == 3
    assert started(model, forget=0.01).push(body(1)[0]) == []


def test_a_clock_that_is_set_far_forward_starts_anew(model):
    stream, frames = started(model), body()
    stream.push(frames[0], time=0.0)
    refused, answers = 0, []
    for number in range(90):
        try:
            answers += stream.push(frames[number % 60], time=1.7e9 + number / 30)
        except InputError:
            refused += 1
    assert refused == 30, "a second"
    assert answers
    assert answers[-1].time == pytest.approx(1.7e9 + 89 / 30, abs=0.6)


@pytest.mark.parametrize(
    "joint", ['"123"', '{"1": 0, "2": 0, "3": 0}', "[true, false, true]", '["0.1", "1.5", "2"]', "1"]
)
def test_joints_that_are_no_numbers(joint):
    with pytest.raises(InputError, match="expected a frame such as"):
        read_frame(f'{{"position": [[0, 1, 2], {joint}]}}')


def test_joints_that_are_far_away_are_missing(model):
    stream, frames = started(model), body()
    with pytest.raises(InputError, match="person 'a': expected an array of numbers"):
        stream.push({"a": np.array([["x"] * 3] * 20)})
    assert stream.counts.bad == 1
    for number, frame in enumerate(frames):
        frame = frame.copy()
        frame[3] = 1e30
        for answer in stream.push(frame, time=number / 30):
            assert np.isfinite(answer.confidence)
    assert not stream._tracks["0"].visible[:, 3].any()
    with pytest.raises(InputError, match="window: expected at most 100,000 frames"):
        model.stream(fps=1e12)


def test_a_long_line_is_one_bad_frame(model, monkeypatch, command):
    lines = [json.dumps({"position": frame.tolist()}) for frame in body()]
    text = "\n".join(["x" * 2_500_000, *lines[:3], json.dumps({"persons": {"\ud800é": body()[3].tolist()}}), "garbage"])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, out, err = command("stream", model.path, "--fps", "30", "--window", "0.1", "--every", "1")
    assert code == 0
    assert [json.loads(line)["person"] for line in out.splitlines()][-1] == "0"
    assert "line 6 was left out" in err
    assert "bad 2" in err
    monkeypatch.setattr("sys.stdin", None)
    assert "expected frames on standard input, found it closed" in command("stream", model.path, "--fps", "30")[2]
