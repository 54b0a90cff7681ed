"""Timelines: decoding, windows, events, and the files they are written to."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.core import Clip, ExistsError, InputError, MissingError, get_skeleton
from ulna.dataset.assembling import assemble
from ulna.formats.annotations import Annotation, read_annotations
from ulna.formats.writing import write_clips
from ulna.formats.writing_annotations import write_annotations
from ulna.models.decoding import NOTHING, Smoothing, hysteresis, join_short, runs, viterbi
from ulna.models.timeline import Scan, persons_of, scan

LABELS = st.lists(st.integers(-1, 2), min_size=1, max_size=30).map(np.array)


def one_hot(labels, share=0.9):
    return np.where(np.arange(3) == np.asarray(labels)[:, None], share, (1 - share) / 2)


@given(LABELS)
def test_runs_cover_everything_once(labels):
    found = runs(labels)
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]]
    assert found[0][0] == 0
    assert found[-1][1] == len(labels)
    assert all(len(set(labels[start:end])) == 1 for start, end in found)
    assert all(labels[a] != labels[b] for (a, _), (b, _) in itertools.pairwise(found))


@given(st.integers(1, 6), st.floats(0, 5), st.integers(0, 2**32 - 1))
def test_viterbi_is_the_best_of_all_sequences(num_frames, cost, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), num_frames)
    scores = np.log(np.maximum(probabilities, 1e-6))

    def total(labels):
        return sum(scores[t, label] for t, label in enumerate(labels)) - cost * np.count_nonzero(np.diff(labels))

    everything = np.stack(np.meshgrid(*[range(3)] * num_frames), axis=-1).reshape(-1, num_frames)
    assert total(viterbi(probabilities, cost)) == pytest.approx(max(total(labels) for labels in everything))


def test_viterbi_ignores_what_is_too_short_for_the_cost():
    labels = [0] * 20 + [1] * 2 + [0] * 20 + [2] * 20
    ratio = np.log(0.9 / 0.05)  # evidence of a frame
    assert viterbi(one_hot(labels), 1.5 * ratio).tolist() == [0] * 42 + [2] * 20
    assert viterbi(one_hot(labels), 0.9 * ratio).tolist() == labels


def test_hysteresis_keeps_a_label_until_it_falls_below_the_end():
    rows = [[0.5, 0.5], [0.7, 0.3], [0.45, 0.55], [0.41, 0.59], [0.39, 0.55], [0.3, 0.7], [0.65, 0.35]]
    assert hysteresis(np.array(rows), 0.6, 0.4).tolist() == [NOTHING, 0, 0, 0, NOTHING, 1, 0]


@given(LABELS, st.integers(0, 6))
def test_short_segments_are_joined(labels, least):
    joined = join_short(labels, least)
    assert all(end - start >= least for start, end in runs(joined) if joined[start] != NOTHING)
    assert set(joined) <= set(labels) | {NOTHING}
    assert ((labels == NOTHING) <= (joined == NOTHING)).all(), "parts without a label keep none"


def test_smoothing_leaves_out_what_is_not_known_or_not_certain():
    probabilities = np.concatenate([one_hot([0] * 10), np.full((5, 3), np.nan), one_hot([1] * 10, 0.5)])
    assert Smoothing()(probabilities, 10.0).tolist() == [0] * 10 + [NOTHING] * 5 + [1] * 10
    assert Smoothing(min_confidence=0.6)(probabilities, 10.0).tolist() == [0] * 10 + [NOTHING] * 15
    assert (
        Smoothing(method="hysteresis", start_probability=0.6)(probabilities, 10.0).tolist() == [0] * 10 + [NOTHING] * 15
    )
    assert Smoothing(method="none", min_duration=1.5)(probabilities, 10.0).tolist() == [NOTHING] * 25, (
        "shorter than 1.5 s"
    )


@given(st.integers(1, 200), st.lists(st.floats(0.05, 5), min_size=1, max_size=3), st.floats(0.05, 3))
def test_windows_cover_a_recording(num_frames, windows, stride):
    clip = make_clip("r", num_frames)
    longest = max(windows)
    found = Scan(windows=tuple(windows), stride=min(stride, longest)).of(clip)
    covered = np.zeros(num_frames, dtype=bool)
    for start, end in found:
        assert 0 <= start < end <= num_frames
        covered[start:end] = True
    if round(min(stride, longest) * 30) <= round(longest * 30):
        assert covered.all()
    assert len(set(found)) == len(found)


def test_windows_without_the_person_are_left_out():
    clip = make_clip("r", 90)
    visible = clip.visible.copy()
    visible[30:] = False
    found = Scan(windows=(1.0,), stride=0.5).of(replace(clip, visible=visible))
    assert found == [(0, 30), (15, 45)]


def test_events_of_a_classifier_that_sees_which_way_a_body_goes():
    """A body moves right for 3 s, left for 4 s and right for 3 s; windows are classified by their displacement."""
    step = np.repeat([1.0, -1.0, 1.0], [90, 120, 90])
    position = np.zeros((300, 1, 20, 3), dtype=np.float32)
    position[..., 0] = step.cumsum()[:, None, None]
    clip = Clip(id="walk", position=position, skeleton=get_skeleton("kinect_v1"), frame_numbers=np.arange(60, 360))

    def classify(clips):
        moved = np.array([one.position[-1, 0, 0, 0] - one.position[0, 0, 0, 0] for one in clips])
        return np.stack([moved > 0, moved <= 0], axis=1).astype(float)

    timeline = scan(clip, classify, ("right", "left"), options=Scan(windows=(1.0,), stride=0.1), person="anna")
    assert [event.label for event in timeline.events] == ["right", "left", "right"]
    assert [event.start for event in timeline.events] == pytest.approx([2, 5, 9], abs=0.2), "60 frames come before"
    assert timeline.events[-1].end == pytest.approx(12)
    assert {event.person for event in timeline.events} == {"anna"}
    assert all(0.8 < event.confidence <= 1 for event in timeline.events)
    np.testing.assert_allclose(timeline.probabilities.sum(axis=1), 1)


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    model = model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("timeline") / "model")
    model.fit(dataset, split="half")
    return model.save(tmp_path_factory.mktemp("timeline") / "fitted")


def test_a_model_finds_who_does_what(model):
    one, two = (make_clip("r", 120, num_persons=2, label=label, speed=0.1, seed=4) for label in CLASSES)
    position = np.concatenate([one.position, two.position])
    visible = np.ones(position.shape[:3], dtype=bool)
    visible[60:, 1] = False
    recording = replace(one, position=position, visible=visible, label=None, tracks=("anna", "ben"))
    timelines = model.timeline(recording, windows=Scan(windows=(0.5,), stride=0.2))
    assert [timeline.person for timeline in timelines] == ["anna", "ben"]
    assert timelines[0].probabilities.shape == (240, len(CLASSES))
    assert np.isnan(timelines[1].probabilities[90:]).all()
    assert max(event.end for event in timelines[1].events) < 3
    with pytest.raises(InputError, match="recording 'r': expected a visible person, found none"):
        model.timeline(replace(recording, visible=np.zeros_like(visible)))
    with pytest.raises(MissingError, match="classifier"):
        model.timeline(recording, classifier="other")
    other = make_clip("r", 30, skeleton="kinect_v2")
    with pytest.raises(InputError, match="skeleton"):
        model.timeline(other)


def test_persons_are_named_by_track_or_number():
    clip = make_clip("r", 5, num_persons=3)
    visible = clip.visible.copy()
    visible[:, 1] = False
    assert [name for name, _ in persons_of(replace(clip, visible=visible))] == ["0", "2"]
    assert [name for name, _ in persons_of(make_clip("r", 5))] == [None]


EVENTS = {
    "day 1/room": [
        Annotation(0.5, 2.25, "sit, down", "anna", 0.875),
        Annotation(1.0, 3.0, 'say "<b>&"', "ben", 0.5),
        Annotation(4.0, 4.5, "stand up", None, 1.0),
    ]
}


@pytest.mark.parametrize("ending", ["csv", "tsv", "eaf"])
def test_written_annotations_are_read_again(ending, tmp_path):
    path = tmp_path / f"events.{ending}"
    write_annotations(EVENTS, path)
    found = read_annotations(path).of("day 1/room")
    assert found == tuple(replace(one, confidence=None) for one in EVENTS["day 1/room"])
    with pytest.raises(ExistsError, match="exists already"):
        write_annotations(EVENTS, path)


def test_control_characters_in_names_leave_a_readable_file(tmp_path):
    name = "day\x01/room"
    write_annotations({name: EVENTS["day 1/room"]}, tmp_path / "events.eaf")
    assert read_annotations(tmp_path / "events.eaf").of("day /room")


def test_annotations_as_json(tmp_path):
    write_annotations(EVENTS, tmp_path / "events.json")
    found = json.loads((tmp_path / "events.json").read_text())
    assert found["day 1/room"][0] == {
        "start": 0.5,
        "end": 2.25,
        "label": "sit, down",
        "person": "anna",
        "confidence": 0.875,
    }
    assert "person" not in found["day 1/room"][2]


def test_files_that_annotations_cannot_be_written_to(tmp_path):
    with pytest.raises(InputError, match="ending of a file of annotations"):
        write_annotations(EVENTS, tmp_path / "events.txt")
    with pytest.raises(InputError, match="expected one recording for an ELAN file, found 2"):
        write_annotations(EVENTS | {"other": []}, tmp_path / "events.eaf")
    assert not list(tmp_path.iterdir())


def test_windows_are_as_long_as_the_training_clips(model, dataset):
    clips = dataset.split("half")[0]
    expected = np.quantile(dataset.lengths[clips] / 30, (0.25, 0.5, 0.75))
    np.testing.assert_allclose(model.classifier(None).config.durations, expected, atol=1e-3)
    assert Scan(windows=(1.0, 1.0)).of(make_clip("r", 60)) == Scan(windows=(1.0,)).of(make_clip("r", 60))
    clip = make_clip("r", 90, label=CLASSES[0], speed=0.1)
    (own,) = model.timeline(clip)
    (same,) = model.timeline(clip, windows=Scan(windows=model.classifier(None).config.durations))
    (other,) = model.timeline(clip, windows=Scan(windows=(2.0,)))
    np.testing.assert_array_equal(own.probabilities, same.probabilities)
    assert not np.allclose(own.probabilities, other.probabilities)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two recordings of two persons."""
    folder = tmp_path_factory.mktemp("recordings")
    clips = [
        replace(make_clip(name, 120, num_persons=2, label=CLASSES[0], speed=0.1), label=None, tracks=("<i>a</i>", "b"))
        for name in ("one", "two")
    ]
    write_clips(clips, folder / "*.npz")
    return folder


def test_the_command_prints_and_writes_events(model, recordings, tmp_path, command):
    code, out, _ = command("timeline", model.path, recordings, "--windows", "0.5", "1", "--stride", "0.2")
    assert code == 0
    assert out.count("s  b: ") >= 2
    assert out.startswith("one\n")
    for ending in ("csv", "json", "tsv"):
        path = tmp_path / f"events.{ending}"
        assert command("timeline", model.path, recordings, "--out", path)[0] == 0
        assert "<i>a</i>" in path.read_text()
    persons = {one.person for one in read_annotations(tmp_path / "events.csv").of("one")}
    assert persons == {"<i>a</i>", "b"}
    page = tmp_path / "page.html"
    assert command("timeline", model.path, recordings, "--page", page)[0] == 0
    assert "<i>a" not in page.read_text(), "text from files is escaped"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "events.txt"], "ending of a file of annotations"),
        (["--out", "events.eaf"], "expected one recording for an ELAN file, found 2"),
        (["--classifier", "other"], "classifier 'other'"),
        (["--stride", "0"], "stride"),
        (["--method", "magic"], "method"),
    ],
)
def test_bad_options_of_the_command(options, message, model, recordings, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("timeline", model.path, recordings, *options)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_assembled_recordings_show_every_clip_once(dataset, seed, per_recording):
    clips = dataset.split("half")[1]
    found = assemble(dataset, clips, per_recording=per_recording, seed=seed)
    assert sum(len(annotations) for _, annotations in found) == len(clips)
    remaining = {int(clip): dataset.clip(int(clip)) for clip in clips}
    for recording, annotations in found:
        assert np.isfinite(recording.position).all()
        ends = [0.0]
        for one in annotations:
            start, end = round(one.start * 30), round(one.end * 30)
            assert len(ends) == 1 or 0.45 <= one.start - ends[-1] <= 1.55
            shape = recording.position[start:end] - recording.position[start : start + 1]
            matching = [
                number
                for number, clip in remaining.items()
                if clip.label == one.label
                and clip.num_frames == end - start
                and np.allclose(shape, clip.position - clip.position[:1], atol=1e-5)
            ]
            assert matching
            del remaining[matching[0]]
            ends.append(one.end)
        assert recording.num_frames == round(ends[-1] * 30)
        step = np.abs(np.diff(recording.position, axis=0)).max()
        assert step < 1, "no jumps: the bodies of clips are at most two metres apart, and a transition takes 15 frames"
    assert not remaining


def test_clips_that_cannot_be_assembled(dataset):
    with pytest.raises(InputError, match="expected labelled clips of one frame rate, found 0 clips"):
        assemble(dataset, np.array([], dtype=np.int64))
    with pytest.raises(InputError, match="transition: expected two times in order, found 2 to 1"):
        assemble(dataset, np.arange(4), transition=(2.0, 1.0))


def test_the_command_measures_events_by_annotations(model, recordings, tmp_path, command):
    events = tmp_path / "events.csv"
    assert command("timeline", model.path, recordings, "--out", events)[0] == 0
    code, out, _ = command("timeline", model.path, recordings, "--annotations", events)
    assert code == 0
    assert out == "frame_accuracy 100.0 %  edit 100.0 %  f1_10 100.0 %  f1_25 100.0 %  f1_50 100.0 %  mAP_50 100.0 %\n"


def test_annotations_that_do_not_fit(model, recordings, tmp_path, command):
    table = tmp_path / "truth.csv"
    table.write_text(f"file,start,end,label\none,0,2,{CLASSES[0]}\none,2,4,dance\nthree,0,1,{CLASSES[0]}\n")
    code, out, err = command("timeline", model.path, recordings, "--annotations", table)
    assert code == 0
    assert "annotations of 1 other recordings were skipped: three" in err
    assert "classes that the classifier does not know count as wrong: dance" in err
    assert float(out.split()[1]) <= 50
    table.write_text(f"start,end,label\n0,2,{CLASSES[0]}\n")
    assert command("timeline", model.path, recordings, "--annotations", table)[0] == 2
    code, _, err = command("timeline", model.path, recordings / "one.npz", recordings / "one.npz")
    assert code == 2
    assert "expected recordings of different names, found 'one' twice" in err


def test_many_short_segments_are_joined_quickly():
    labels = np.random.default_rng(0).integers(0, 5, 20_000)
    joined = join_short(labels, 10)
    assert all(end - start >= 10 for start, end in runs(joined))


def test_windows_leave_no_gaps():
    """The stride is at most half a window."""
    clip = make_clip("long", 90)
    for seconds in (0.1, 0.5):
        covered = np.zeros(90, bool)
        for start, end in Scan(windows=(seconds,), stride=10.0).of(clip):
            covered[start:end] = True
        assert covered.all()


def test_annotations_of_one_of_two_persons(model, tmp_path, command):
    """Events of a person who has no annotations do not count."""
    one, two = make_clip("a", 60, label=CLASSES[0]), make_clip("b", 60, label=CLASSES[1], seed=1)
    both = np.concatenate([one.position, two.position + np.float32([1, 0, 0])], axis=1)
    visible = np.ones(both.shape[:3], bool)
    recording = replace(one, position=both, visible=visible, label=None, tracks=("anna", "ben"))
    write_clips([recording], tmp_path / "two.npz")
    table = "start,end,label,person\n0,2,{},anna\n"
    scores = []
    for number, more in enumerate(("", "0,1,dance,zoe\n")):
        (tmp_path / f"{number}.csv").write_text(table.format(CLASSES[0]) + more)
        given = ["--annotations", tmp_path / f"{number}.csv", "--out", tmp_path / f"{number}.json"]
        code, out, err = command("timeline", model.path, tmp_path / "two.npz", *given)
        assert code == 0
        scores.append(out.splitlines()[-1])
        assert ("zoe" in err) == bool(more)
    assert scores[0] == scores[1]
    (tmp_path / "late.csv").write_text("start,end,label\n50,60,x\n")
    given = ["--annotations", tmp_path / "late.csv", "--out", tmp_path / "late.json"]
    code, _, err = command("timeline", model.path, tmp_path / "two.npz", *given)
    assert code == 2
    assert "within their recordings" in err
    assert not (tmp_path / "late.json").exists(), "nothing is written before an error"
