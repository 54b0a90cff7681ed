"""Windows, annotations, default splits and overlapping copies."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

import ulna
from conftest import make_clip
from ulna.audit import ClipSet, audit
from ulna.core import InputError, MissingError, UlnaWarning
from ulna.dataset import Windows, exact_copies, overlapping, prepare
from ulna.dataset.windows import Cutter
from ulna.formats.annotations import read_annotations
from ulna.formats.base import BadFileError
from write_pose_files import write_openpose

OPENPOSE = "{}_000000000000_keypoints.json"


def cut(source, out, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UlnaWarning)
        return prepare("openpose", source, out, windows=Windows(**options), progress=False)


@pytest.fixture
def recordings(tmp_path):
    """Two recordings of 3 and 2 seconds, the first with two people."""
    write_openpose(tmp_path / "files" / OPENPOSE.format("a"), 90, people=2)
    write_openpose(tmp_path / "files" / OPENPOSE.format("b"), 60)
    return tmp_path / "files"


def test_windows_point_into_the_same_frames(tmp_path, recordings):
    dataset = cut(recordings, tmp_path / "d", window=1.0, stride=0.5)
    assert dataset.num_frames == 150
    assert dataset.lengths.tolist() == [30] * 8
    assert dataset.starts.tolist() == [0, 15, 30, 45, 60, 90, 105, 120]
    assert dataset.ids[1] == "a@15-45"
    assert dataset.recordings == ["a"] * 5 + ["b"] * 3
    whole = cut(recordings, tmp_path / "whole")
    np.testing.assert_array_equal(dataset.clip(1).position, whole.clip(0).position[15:45])
    dataset.verify()


def test_windows_of_each_person(tmp_path, recordings):
    dataset = cut(recordings, tmp_path / "d", window=1.0, persons="separate")
    assert (dataset.num_persons, dataset.num_clips, dataset.num_frames) == (1, 8, 240)
    assert dataset.ids[3] == "a/person 1@0-30"
    whole = cut(recordings, tmp_path / "whole").clip(0)
    np.testing.assert_array_equal(dataset.clip(3).position[:, 0], whole.position[:30, 1])


def test_windows_without_people_are_left_out(tmp_path):
    write_openpose(tmp_path / "files" / OPENPOSE.format("a"), 60, people=2)
    for frame in range(20, 60):
        path = tmp_path / "files" / f"a_{frame:012d}_keypoints.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"people": content["people"][:1]}))
    options = Windows(window=1.0, persons="separate")
    with pytest.warns(UlnaWarning, match=r"1 windows left out, .* \(--min-visible 0.5\)"):
        dataset = prepare("openpose", tmp_path / "files", tmp_path / "d", windows=options, progress=False)
    assert dataset.ids == ["a/person 0@0-30", "a/person 0@30-60", "a/person 1@0-30"]
    assert cut(tmp_path / "files", tmp_path / "e", window=1.0, persons="separate", min_visible=0.0).num_clips == 3


def test_datasets_can_be_cut(tmp_path, recordings):
    whole = cut(recordings, tmp_path / "whole")
    again = prepare(None, tmp_path / "whole", tmp_path / "again", windows=Windows(window=1.0), progress=False)
    direct = cut(recordings, tmp_path / "direct", window=1.0)
    assert again.ids == direct.ids
    assert again.fingerprint == direct.fingerprint
    assert whole.num_clips == 2


def test_short_recordings_are_one_window(tmp_path, recordings):
    dataset = cut(recordings, tmp_path / "d", window=2.5)
    assert dataset.lengths.tolist() == [75, 60]
    with pytest.raises(InputError, match="stride: expected --window as well"):
        cut(recordings, tmp_path / "e", stride=1.0)


def write_csv(path, rows, header="start,end,label"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_annotations_cut_recordings(tmp_path, recordings):
    table = write_csv(tmp_path / "t.csv", ["0.5,1,jump,a", "2,3,run,a", "0,2,run,b.mp4"], "start,end,label,file")
    dataset = cut(recordings, tmp_path / "d", annotations=table)
    labels = [dataset.classes[label] if label >= 0 else None for label in dataset.labels]
    rows = list(zip(dataset.starts.tolist(), dataset.lengths.tolist(), labels, strict=True))
    assert rows == [(0, 15, None), (15, 15, "jump"), (30, 30, None), (60, 30, "run"), (90, 60, "run")]
    assert dataset.splits == ("holdout",)
    train, test = dataset.split("holdout")
    assert {dataset.recordings[clip] for clip in train}.isdisjoint(dataset.recordings[clip] for clip in test)


def test_annotations_label_windows(tmp_path, recordings):
    table = write_csv(tmp_path / "t.csv", ["0.4,1.6,jump,a"], "start,end,label,file")
    dataset = cut(recordings, tmp_path / "d", annotations=table, window=1.0, stride=0.5)
    labels = [dataset.classes[label] if label >= 0 else None for label in dataset.labels]
    assert labels == ["jump", "jump", "jump", None, None, None, None, None]
    dataset = cut(recordings, tmp_path / "e", annotations=table, window=1.0, stride=0.5, min_overlap=0.9)
    assert (dataset.labels >= 0).tolist() == [False, True, False, False, False, False, False, False]


def test_annotations_of_one_person(tmp_path, recordings):
    table = write_csv(tmp_path / "t.csv", ["0,3,jump,1,a"], "start,end,label,person,file")
    dataset = cut(recordings, tmp_path / "d", annotations=table, persons="separate")
    assert {name for name, label in zip(dataset.ids, dataset.labels, strict=True) if label >= 0} == {"a/person 1@0-90"}


def test_annotations_that_do_not_fit_are_counted(tmp_path, recordings):
    rows = ["0,1,jump,a", "0.5,2,run,a", "2.5,9,run,a", "7,8,run,a", "0,1,run,c"]
    table = write_csv(tmp_path / "t.csv", rows, "start,end,label,file")
    with pytest.warns(UlnaWarning) as caught:
        prepare("openpose", recordings, tmp_path / "d", windows=Windows(annotations=table), progress=False)
    text = " | ".join(str(one.message) for one in caught)
    assert "1 annotations overlap one with another label" in text
    assert "1 annotations extend past the end of the recording and were truncated" in text
    assert "1 annotations start after the end of the recording and were skipped" in text
    assert "annotations refer to 1 unknown recordings: c; known recordings: a, b" in text
    table = write_csv(tmp_path / "u.csv", ["0,1,jump,other"], "start,end,label,file")
    with pytest.raises(InputError, match="expected annotations of the recordings a, b, found those of other"):
        prepare("openpose", recordings, tmp_path / "e", windows=Windows(annotations=table), progress=False)
    table = write_csv(tmp_path / "u.csv", ["0,1,jump"])
    with pytest.raises(InputError, match=r"expected a column `file`, because there are several recordings \(a, b\)"):
        prepare("openpose", recordings, tmp_path / "e", windows=Windows(annotations=table), progress=False)
    assert not (tmp_path / "e").exists()


BORIS_EVENTS = """Observation id,Media file name,Subject,Behavior,Behavior type,Time
obs,videos/a.mp4,mouse 1,walk,START,0.5
obs,videos/a.mp4,mouse 1,blink,POINT,0.7
obs,videos/a.mp4,No focal subject,rest,START,1.0
obs,videos/a.mp4,mouse 1,walk,STOP,1.5
obs,videos/a.mp4,No focal subject,rest,STOP,2.0
"""
BORIS_AGGREGATED = """Observation id,Subject,Behavior,Start (s),Stop (s)
a,mouse 1,walk,0.5,1.5
a,mouse 1,blink,0.7,NA
a,No focal subject,rest,1.0,2.0
"""
BORIS_OLD = """Observation id,a
Media file(s),,
Time,Media file path,FPS,Subject,Behavior,Status
0.5,C:\\\\data\\\\a.avi,25,mouse 1,walk,START
1.0,C:\\\\data\\\\a.avi,25,,rest,START
1.5,C:\\\\data\\\\a.avi,25,mouse 1,walk,STOP
2.0,C:\\\\data\\\\a.avi,25,,rest,STOP
"""
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL="file:///data/a.mp4"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="1500"/>
<TIME_SLOT TIME_SLOT_ID="3" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="4" TIME_VALUE="2000"/></TIME_ORDER>
<TIER TIER_ID="t" PARTICIPANT="mouse 1"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="x" TIME_SLOT_REF1="1"
TIME_SLOT_REF2="2"><ANNOTATION_VALUE>walk</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="u"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="y" TIME_SLOT_REF1="3" TIME_SLOT_REF2="4">
<ANNOTATION_VALUE>rest</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""
EXCEL = "Start;End;Label;Person;File\n0.5;1.5;walk;mouse 1;a\n1;2;rest;;a\n"
PLAIN = "start,end,label,person,file\n0:00.5,1.5,walk,mouse 1,a\n1,2,rest,,a\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", BORIS_EVENTS),
        ("a.csv", BORIS_AGGREGATED),
        ("a.csv", BORIS_OLD),
        ("a.eaf", ELAN),
        ("a.csv", PLAIN),
        ("a.csv", EXCEL),
    ],
)
def test_annotations_from_other_programs(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for source in (tmp_path / name, tmp_path):
        found = read_annotations(source)
        assert found.labels == ("rest", "walk")
        rows = [(one.start, one.end, one.label, one.person) for one in found.of("deep/a")]
        assert rows == [(0.5, 1.5, "walk", "mouse 1"), (1.0, 2.0, "rest", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns start, end and label"),
        ("start,end,label\n2,1,x\n", "line 2: expected an end after the start, found 2 to 1 seconds"),
        ("start,end,label\n-1,1,x\n", "a time in seconds of at least 0"),
        ("start,end,label\n0,nan,x\n", "a time in seconds"),
        ("start,end,label\n0,1,\n", "expected a label"),
        ("Time,Behavior,Status\n1,x,START\n", "a stop of 'x', found none"),
        ("Time,Behavior,Status\n1,x,STOP\n", "a start of 'x' first"),
        ("Time,Behavior,Status\n1,x,START\n2,x,START\n", "STOP of 'x' before its next START, found START"),
        ("", "an empty file"),
    ],
)
def test_bad_annotations(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadFileError, match=message):
        read_annotations(tmp_path / "a.csv")
    (tmp_path / "b.eaf").write_text("<a>")
    with pytest.raises(BadFileError, match="no XML"):
        read_annotations(tmp_path / "b.eaf")
    with pytest.raises(MissingError, match="expected annotations, found nothing"):
        read_annotations(tmp_path / "c.eaf")


def test_overlapping_windows_are_copies(tmp_path, recordings):
    dataset = cut(recordings, tmp_path / "d", window=1.0, stride=0.5)
    train, test = np.array([0, 2, 4]), np.array([1, 3, 5])
    owner, shared = overlapping(dataset, train, test)
    assert shared.tolist() == [15, 15, 0]
    assert owner.tolist()[2] == -1
    assert set(owner[:2].tolist()) <= {0, 2, 4}
    assert exact_copies(dataset, train, test).tolist() == [True, True, False]
    found = audit(ClipSet(dataset, test), [ClipSet(dataset, train)], near=False)
    assert [match.test for match in found.matches] == ["a@15-45", "a@45-75"]
    assert found.matches[0].kind == "a window that shares 15 frames"


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_equal_a_slow_search(tmp_path, seed, recordings):
    dataset = cut(recordings, tmp_path / "d", window=0.7, stride=0.1)
    random = np.random.default_rng(seed)
    order = random.permutation(dataset.num_clips)
    train, test = order[:9], order[9:]
    expected = [
        max(
            max(0, min(dataset.starts[a], dataset.starts[b]) + 21 - max(dataset.starts[a], dataset.starts[b]))
            for a in train
        )
        for b in test
    ]
    assert overlapping(dataset, train, test)[1].tolist() == expected


def clip_with(number, **metadata):
    return replace(make_clip(f"clip{number}", 5, seed=number, label="walk"), **({"subject": None} | metadata))


@pytest.mark.parametrize(
    ("values", "by", "held"),
    [
        ({"group": list("aabb"), "subject": [1, 2, 3, 4]}, None, {2, 3}),
        ({"group": list("aabb"), "subject": [1, 2, 1, 2]}, "subject", {1, 3}),
        ({"subject": [7, 7, 9, 9]}, None, {2, 3}),
        ({"recording": list("xyxy")}, None, {1, 3}),
    ],
)
def test_default_splits_keep_together_what_belongs_together(tmp_path, values, by, held):
    from ulna.dataset.writing import write_dataset

    clips = [clip_with(n, **{name: own[n] for name, own in values.items()}) for n in range(4)]
    write_dataset(tmp_path / "d", clips, hold_out=by)
    assert set(ulna.Dataset(tmp_path / "d").split("holdout")[1].tolist()) == held


def test_a_single_recording_is_not_divided(tmp_path):
    from ulna.dataset.writing import write_dataset

    clips = [clip_with(n, recording="x") for n in range(6)]
    write_dataset(tmp_path / "d", clips)
    assert ulna.Dataset(tmp_path / "d").splits == ()
    with pytest.raises(InputError, match="at least two values of recording"):
        write_dataset(tmp_path / "e", clips, hold_out="recording")


def test_cutting_nothing_changes_nothing():
    clip = make_clip("a", 7)
    cutter = Cutter(Windows())
    assert [one.id for one in cutter.clips(clip)] == ["a"]
    assert [(w.start, w.length) for w in cutter(clip)] == [(0, 7)]
