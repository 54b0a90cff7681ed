"""Quality measures, repair, pages and written files."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import ulna
from ulna.core import InputError, get_skeleton
from ulna.formats.writing import write_clips
from ulna.quality import Repair, measure, plausibility, repair, summarise
from write_pose_files import write_openpose

KINECT = get_skeleton("kinect_v1")


def upright(num_frames=60, *, skeleton="kinect_v1", fps=30.0, scale=1.0, **fields):
    """A person who stands and swings, with plausible proportions."""
    from ulna.analysis.skeleton_figure import standing

    known = get_skeleton(skeleton)
    place = standing(known)
    rest = np.stack([place[:, 0], place[:, 1], np.zeros(len(place))], axis=1)
    swing = 0.05 * np.sin(np.arange(num_frames) / 5)[:, None, None] * (rest[:, 1:2] > 1)
    position = (scale * (rest + swing))[:, None].astype(np.float32)
    return ulna.Clip("a", position, known, fps=fps, **fields)


def test_a_good_clip_has_nothing_to_do():
    report = summarise([upright()])
    assert report.advice == []
    found = report.clips[0]
    assert found.up == "y"
    assert found.height == pytest.approx(1.64, abs=0.05)
    assert found.swaps == 0
    assert found.fast.max() == 0
    assert "no problems found" in report.text()


def test_measures_by_hand():
    clip = upright(fps=10.0)
    position, visible = clip.position.copy(), clip.visible.copy()
    hand = KINECT.index("left_hand")
    visible[10:16, 0, hand] = False
    visible[50:] = False
    position[30, 0, hand] += 50  # there and back within two steps of 49
    position[~visible] = 0
    found = measure(replace(clip, position=position, visible=visible, confidence=np.full(visible.shape, 0.5)))
    assert found.empty == pytest.approx(10 / 60)
    assert found.missing[hand] == pytest.approx(6 / 50)
    assert found.missing[0] == 0
    assert found.fast[hand] == pytest.approx(2 / (49 - 7))
    assert found.confidence[hand] == pytest.approx(0.5)
    assert found.farthest > 49


def test_exchanged_sides_are_found_and_exchanged_back():
    clip = upright()
    position = clip.position.copy()
    position[20:25] = position[20:25][:, :, list(KINECT.mirror)]
    swapped = replace(clip, position=position)
    assert measure(swapped).swaps == 5
    repaired, changes = repair(swapped, Repair(outlier=0))
    assert changes.swapped == 5
    np.testing.assert_allclose(repaired.position, clip.position, atol=1e-6)


def test_outliers_and_gaps_are_repaired():
    clip = upright(fps=20.0, confidence=np.full((60, 1, 20), 0.9, np.float32))
    position, visible = clip.position.copy(), clip.visible.copy()
    position[30, 0, 3] += 1.0
    visible[10:13, 0, 5] = False
    visible[40:50, 0, 6] = False
    position[~visible] = 0
    repaired, changes = repair(replace(clip, position=position, visible=visible), Repair(fill_gap=0.25))
    assert (changes.removed, changes.filled) == (1, 4)
    np.testing.assert_allclose(repaired.position[repaired.visible], clip.position[repaired.visible], atol=0.02)
    assert repaired.visible[:, 0, 5].all()
    assert repaired.confidence[11, 0, 5] == repaired.confidence[30, 0, 3] == 0
    assert (~repaired.visible[:, 0, 6]).sum() == 10, "the gap is longer than five frames"


def test_smoothing_keeps_parabolas():
    time = np.arange(30.0)
    path = np.stack([time**2, 3 * time, 0 * time], axis=1)[:, None, None] / 100
    position = np.concatenate([path] * 20, axis=2) + np.linspace(0, 1, 20)[:, None]
    clip = ulna.Clip("a", position, KINECT)
    repaired, changes = repair(clip, Repair(sides=False, outlier=0, smooth=7))
    np.testing.assert_allclose(repaired.position, position, atol=1e-9)
    assert changes.smoothed == 600


def test_implausible_units_and_axes_are_named():
    assert plausibility([upright(scale=1000.0)])[-1].endswith("the unit is probably millimetres")
    assert "the unit is probably centimetres" in plausibility([upright(scale=100.0)])[0]
    assert plausibility([upright(scale=1000.0, units="millimetres")]) == []
    lying = replace(upright(), position=upright().position[..., [0, 2, 1]])
    assert plausibility([lying]) == [
        "the vertical axis appears to be z: expected y. Set it with --up if the format has it."
    ]
    far = replace(upright(), position=upright().position + np.float32(5000))
    assert "coordinates beyond one kilometre" in plausibility([far])[0]
    flat = upright().position * np.array([1, -1, 0]) * 300
    assert plausibility([replace(upright(), position=flat, dimensions=2, units="pixels")]) == []


def test_repeated_frames_are_found():
    clip = upright()
    doubled = replace(clip, position=clip.position.repeat(2, axis=0), visible=clip.visible.repeat(2, axis=0), fps=60.0)
    advice = summarise([doubled]).advice
    assert any("the effective frame rate is about 29.7" in text for text in advice), advice


def test_check_reports_and_repairs(command, tmp_path):
    write_openpose(tmp_path / "files" / "v_000000000000_keypoints.json", 20)
    _, out, _ = command("check", tmp_path / "files", "--out", tmp_path / "page.html", "--repair", tmp_path / "fixed")
    assert "1 clip, 20 frames at 30 per second, 2-D in pixels" in out
    assert "left_wrist" in out
    assert ulna.Dataset(tmp_path / "fixed").num_frames == 20
    text = (tmp_path / "page.html").read_text()
    assert "https://" not in text
    assert '"kind":"check"' in text
    _, out, _ = command("check", tmp_path / "fixed")
    assert "20 frames" in out
    command("prepare", "openpose", tmp_path / "files", tmp_path / "cut", "--window", "0.3")
    code, _, err = command("check", tmp_path / "cut", "--repair", tmp_path / "other")
    assert code == 2
    assert "Repair before cutting" in err


def test_show_marks_windows_on_a_timeline(command, tmp_path):
    write_openpose(tmp_path / "files" / "v_000000000000_keypoints.json", 60)
    (tmp_path / "t.csv").write_text("start,end,label\n0.5,1,<script>alert(1)</script>\n")
    command("prepare", "openpose", tmp_path / "files", tmp_path / "d", "--annotations", tmp_path / "t.csv")
    command("show", tmp_path / "d", "--out", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in text
    content = json.loads(re.search(r"const DATA = (\{.*\});", text)[1])
    (clip,) = content["clips"]
    assert clip["annotations"] == [[15, 30, "<script>alert(1)</script>"]]
    assert len(clip["persons"][0]) == 60
    assert len(clip["opacity"]) == 1
    command("show", tmp_path / "files", "--out", tmp_path / "other.html", "--clip", "v")
    assert "openpose25" in (tmp_path / "other.html").read_text()


def test_written_files_are_read_back(tmp_path):
    clip = replace(
        upright(skeleton="coco17"), confidence=np.full((60, 1, 20), 0.25, np.float32), group="g", tracks=("x",)
    )
    flat = replace(
        clip, position=(clip.position * np.array([100, -100, 0])).astype(np.float32), dimensions=2, units="pixels",
        image_size=(640, 480), frame_numbers=np.arange(5, 65),
    )  # fmt: skip
    for one, endings in ((clip, (".npz", ".trc")), (flat, (".npz", ".pose"))):
        for ending in endings:
            path = tmp_path / f"{one.dimensions}{ending}"
            assert write_clips([one], path) == [path]
            (back,) = ulna.read(path)
            np.testing.assert_allclose(back.position[:, :, :17], one.position[:, :, :17], atol=1e-5)
            assert (back.dimensions, back.units) == (one.dimensions, one.units)
            if ending == ".npz":
                for field in ("fps", "skeleton", "image_size", "tracks", "group"):
                    assert getattr(back, field) == getattr(one, field)
                np.testing.assert_array_equal(back.confidence, one.confidence)
                np.testing.assert_array_equal(back.frame_numbers, one.frame_numbers)
    write_clips([flat], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 * 20
    assert (rows[0]["frame"], rows[0]["joint"], rows[0]["person"]) == ("5", "nose", "x")
    assert float(rows[0]["x"]) == flat.position[0, 0, 0, 0]
    with pytest.raises(InputError, match="expected positions in metres to write as"):
        write_clips([flat], tmp_path / "b.trc")
    with pytest.raises(InputError, match="expected two dimensions"):
        write_clips([clip], tmp_path / "b.pose")
    with pytest.raises(InputError, match="unknown format to write"):
        write_clips([clip], tmp_path / "b.xlsx")
    with pytest.raises(InputError, match="expected a folder for 2 clips"):
        write_clips([clip, replace(clip, id="b")], tmp_path / "b.npz")
    paths = write_clips([clip, replace(clip, id="../../b")], tmp_path / "many" / "*.npz")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["many/a.npz", "many/b.npz"]


def test_convert(command, tmp_path):
    write_openpose(tmp_path / "files" / "v_000000000000_keypoints.json", 5)
    command("convert", tmp_path / "files", tmp_path / "v.pose")
    assert ulna.read(tmp_path / "v.pose")[0].skeleton.name == "openpose25"


def test_skeletons_are_listed_and_drawn(command, tmp_path):
    _, out, _ = command("skeletons", "--out", tmp_path / "all.png")
    assert "coco17          17 joints and 3 computed, centre spine" in out
    assert (tmp_path / "all.png").stat().st_size > 20_000
    _, out, _ = command("skeletons", "--name", "coco17")
    assert "mean of left_hip, right_hip" in out
    _, out, _ = command("skeletons", "--matching")
    assert len(out.splitlines()) == 1 + len(ulna.core.SKELETONS)


class FakeBody:
    """Stands in for a network: two people who walk to the right."""

    def __init__(self, mode, backend, device):
        self.frame = 0

    def __call__(self, image):
        self.frame += 1
        body = np.random.default_rng(0).uniform(0, 50, (17, 2)) + np.array([self.frame, 0])
        people = [body, body + np.array([200, 0])]
        return np.stack(people[:: -1 if self.frame % 2 else 1]), np.full((2, 17), 0.8)


def test_pose_writes_tracks_for_prepare(command, tmp_path, monkeypatch):
    """The path from images to files; the network itself is replaced, since its weights must be downloaded."""
    import sys
    import types

    from ulna.cli import pose

    monkeypatch.setitem(sys.modules, "rtmlib", types.SimpleNamespace(Body=FakeBody))
    monkeypatch.setattr(pose, "_frames", lambda video: (iter([np.zeros((4, 4, 3))] * 6), 24.0, 6))
    (tmp_path / "v.mp4").write_bytes(b"video")
    _, out, _ = command("pose", tmp_path / "v.mp4", "--out", tmp_path / "poses")
    assert "6 frames, 2 people; ulna prepare mmpose" in out
    (clip,) = ulna.read(tmp_path / "poses")
    assert clip.tracks == ("0", "1")
    assert (np.diff(clip.position[:, :, 0, 0], axis=0) > 0).all(), "each person walks to the right"


def test_a_joint_set_without_a_middle_computes_it():
    position = np.random.default_rng(0).normal(size=(3, 1, 17, 2)).astype(np.float32)
    visible = np.ones((3, 1, 17), bool)
    skeleton = get_skeleton("coco17")
    visible[1, 0, skeleton.index("left_hip")] = False
    clip = ulna.Clip("a", position, skeleton, visible=visible, units="pixels")
    assert clip.position.shape == (3, 1, 20, 3)
    hips = [skeleton.index("left_hip"), skeleton.index("right_hip")]
    np.testing.assert_allclose(clip.position[0, 0, 17, :2], position[0, 0, hips].mean(axis=0), rtol=1e-6)
    assert clip.visible[:, 0, 17].tolist() == [True, False, True]
