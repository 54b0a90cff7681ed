"""Variants of pose files that real programs write, each once read wrongly or refused."""

import json
import sys
import types
import warnings

import h5py
import numpy as np
import pytest

import ulna
from ulna.core import UlnaWarning
from ulna.dataset import Windows, prepare
from ulna.formats import FORMATS, BadFileError, detect_format
from ulna.formats.linking import link
from write_pose_files import (
    landmarks,
    person,
    write_alphapose,
    write_c3d,
    write_coco,
    write_deeplabcut,
    write_gltf,
    write_mediapipe,
    write_mmpose,
    write_movement,
    write_openpose,
    write_pose,
    write_sleap,
    write_trc,
)


def quietly(source, format=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UlnaWarning)
        return ulna.read(source, format)


def rewrite(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def test_annotations_count_from_the_start_of_the_recording(tmp_path):
    """Nobody is visible in the first second, so the clip begins at frame 30."""
    write_alphapose(tmp_path / "files" / "rec.json", 60)
    rewrite(
        tmp_path / "files" / "rec.json", lambda rows: [r | {"image_id": f"{30 + t}.jpg"} for t, r in enumerate(rows)]
    )
    (tmp_path / "t.csv").write_text("start,end,label\n1.5,2,wave\n")
    options = Windows(annotations=tmp_path / "t.csv")
    dataset = prepare("alphapose", tmp_path / "files", tmp_path / "d", windows=options, progress=False)
    (clip,) = [dataset.clip(n) for n in range(dataset.num_clips) if dataset.labels[n] >= 0]
    assert (clip.frame_numbers[0], clip.frame_numbers[-1]) == (45, 59)


def test_recordings_of_one_name_in_several_folders(tmp_path):
    for folder in ("a", "b"):
        write_alphapose(tmp_path / "files" / folder / "walk.json", 30)
    (tmp_path / "t.csv").write_text("start,end,label,file\n0,1,good,a/walk.json\n0,1,bad,videos/b/walk.mp4\n")
    options = Windows(annotations=tmp_path / "t.csv")
    dataset = prepare("alphapose", tmp_path / "files", tmp_path / "d", windows=options, progress=False)
    assert [dataset.classes[label] for label in dataset.labels] == ["good", "bad"]


def test_overlapping_annotations_of_one_label_count_once(tmp_path):
    write_openpose(tmp_path / "files" / "a_000000000000_keypoints.json", 30)
    (tmp_path / "t.csv").write_text("start,end,label,person\n0,0.3,x,1\n0,0.3,x,2\n")
    options = Windows(annotations=tmp_path / "t.csv", window=1.0)
    dataset = prepare("openpose", tmp_path / "files", tmp_path / "d", windows=options, progress=False)
    assert dataset.labels.tolist() == [-1]


def test_some_people_without_track_ids(tmp_path):
    write_mmpose(tmp_path / "a.json", people=2)

    def ids(frames):
        for t, frame in enumerate(frames):
            frame["instances"][0]["track_id"] = 7
            frame["instances"][1]["track_id"] = 8 if t < 2 else -1

    rewrite(tmp_path / "a.json", ids)
    (clip,) = ulna.read(tmp_path, FORMATS["mmpose"](max_persons=5))
    assert clip.tracks == ("7", "8", "linked 0")
    assert clip.visible.any(axis=2).sum(axis=0).tolist() == [4, 2, 2]


def test_one_visible_joint_does_not_divide_a_person():
    body = np.random.default_rng(0).uniform(0, 100, (8, 2))
    single = np.full_like(body, np.nan)
    single[3] = body[3]
    frames = [[body], [body + 1], [single + 1], [body + 2], [body + 3]]
    assert {name for own in link(frames, max_jump=0.5, max_gap=5) for name in own} == {"0"}


def test_many_short_tracks_take_little_memory(tmp_path):
    write_mmpose(tmp_path / "a.json", 3000)
    rewrite(
        tmp_path / "a.json", lambda f: [x["instances"][0].update(track_id=t // 2) for t, x in enumerate(f)] and None
    )
    with pytest.warns(UlnaWarning, match="kept 2 of 1500 persons"):
        (clip,) = ulna.read(tmp_path)
    assert clip.num_persons == 2


def test_long_pose_files(tmp_path):
    """The number of frames of version 0.1 holds 16 bits; the size of the file tells it."""
    write_pose(tmp_path / "a.pose", 50)
    content = bytearray((tmp_path / "a.pose").read_bytes())
    at = content.rindex(np.array([25, 50, 1], "<u2").tobytes())
    content[at + 2 : at + 4] = np.array([3], "<u2").tobytes()
    (tmp_path / "a.pose").write_bytes(bytes(content))
    assert ulna.read(tmp_path)[0].num_frames == 50


@pytest.mark.parametrize("order", [("frame", "track", "node", "xy"), ("track", "xy", "node", "frame")])
def test_sleap_analysis_in_the_order_that_it_states(tmp_path, order):
    rows = np.stack([[person(4, t, seed=p)[:, :2] for p in range(2)] for t in range(4)])  # (T, P, K, 2)
    names = ("frame", "track", "node", "xy")
    with h5py.File(tmp_path / "a.analysis.h5", "w") as file:
        file["tracks"] = rows.transpose([names.index(name) for name in order])
        file["tracks"].attrs["dims"] = json.dumps(list(order))
        file["node_names"] = np.array([b"thorax", b"head", b"wingL", b"wingR"])
        file["track_names"] = np.array([b"a", b"b"])
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[..., :2], rows, rtol=1e-6)


def test_sleap_predictions_beside_their_export_are_read_once(tmp_path):
    write_sleap(tmp_path / "a.slp")
    with h5py.File(tmp_path / "a.analysis.h5", "w") as file:
        file["tracks"] = np.zeros((1, 2, 4, 3))
    assert [clip.id for clip in ulna.read(tmp_path, "sleap")] == ["a"]


def test_sleap_instances_without_tracks(tmp_path):
    write_sleap(tmp_path / "a.slp")
    with h5py.File(tmp_path / "a.slp", "r+") as file:
        instances = file["instances"][:]
        instances["track"][5] = -1
        file["instances"][:] = instances
    (clip,) = ulna.read(tmp_path, FORMATS["sleap"](max_persons=5))
    assert clip.tracks == ("0", "1", "linked 0")


@pytest.mark.parametrize("form", ["pandas", "by axis", "without depth", "by frame"])
def test_mediapipe_tables(tmp_path, form):
    rows = landmarks()
    if form == "pandas":
        header, table = ["", *map(str, range(132))], [[t, *row.ravel()] for t, row in enumerate(rows)]
    elif form == "by axis":
        header = [f"{axis}{k}" for axis in "xyzv" for k in range(33)]
        table = rows.transpose(0, 2, 1).reshape(4, -1)
    elif form == "without depth":
        header = [f"{axis}{k}" for k in range(33) for axis in "xyv"]
        table = rows[..., [0, 1, 3]].reshape(4, -1)
    else:
        header = ["frame", "landmark", "x", "y", "z", "visibility"]
        table = [[2 * t, k, *rows[t, k]] for t in range(4) for k in range(33)]
    text = "\n".join(",".join(map(str, row)) for row in [header, *table])
    (tmp_path / "a.csv").write_text(text)
    (clip,) = quietly(tmp_path, "mediapipe")
    step = 2 if form == "by frame" else 1
    np.testing.assert_allclose(clip.position[::step, 0, :33, :2], rows[..., :2], rtol=1e-5)
    np.testing.assert_allclose(clip.confidence[::step, 0, :33], rows[..., 3], rtol=1e-5)
    assert clip.num_frames == (7 if form == "by frame" else 4), "frames left out are empty"


def test_mediapipe_with_world_and_image_landmarks(tmp_path):
    write_mediapipe(tmp_path / "w.json", world=True)
    write_mediapipe(tmp_path / "i.json")
    both = [w | i for w, i in zip(*(json.loads((tmp_path / f"{n}.json").read_text()) for n in "wi"), strict=True)]
    for name in "wi":
        (tmp_path / f"{name}.json").unlink()
    (tmp_path / "a.json").write_text(json.dumps(both))
    assert ulna.read(tmp_path)[0].dimensions == 3
    (clip,) = ulna.read(tmp_path, FORMATS["mediapipe"](landmarks="image", width=100, height=100))
    np.testing.assert_allclose(clip.position[:, 0, :33, :2], 100 * landmarks()[..., :2], rtol=1e-5)


def test_mediapipe_numbered_videos_and_frames(tmp_path):
    for number in range(3):
        write_mediapipe(tmp_path / "videos" / f"walk_{number}.json", 5)
    assert [clip.num_frames for clip in quietly(tmp_path / "videos")] == [5, 5, 5]
    for number, frame in ((0, 0), (1, 1), (5, 2)):
        path = tmp_path / "take.1" / f"{number}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, landmarks()[frame])
    (clip,) = quietly(tmp_path / "take.1")
    assert clip.id == "take.1"
    assert clip.visible.any(axis=(1, 2)).tolist() == [True, True, False, False, False, True]


def test_mediapipe_people_are_linked(tmp_path):
    rows = landmarks(6)
    frames = []
    for t, frame in enumerate(rows):
        other = rows[0] + np.array([5, 0, 0, 0])
        people = [rows[0], other] if t % 2 else [other, rows[0]]
        frames.append({"pose_landmarks": [one.tolist() for one in people]})
        del frame
    (tmp_path / "a.json").write_text(json.dumps(frames))
    (clip,) = quietly(tmp_path)
    assert np.ptp(clip.position[:, :, 0, 0], axis=0).max() < 1e-6


def test_deeplabcut_frames_that_are_left_out_are_empty(tmp_path):
    write_deeplabcut(tmp_path / "aDLC.csv", 4)
    text = (tmp_path / "aDLC.csv").read_text().replace("\n3,", "\n9,")
    (tmp_path / "aDLC.csv").write_text("\ufeff" + text)
    (clip,) = ulna.read(tmp_path)
    assert clip.visible.any(axis=(1, 2)).tolist() == [True] * 3 + [False] * 6 + [True]
    (tmp_path / "aDLC.csv").write_text(text.replace("\n9,", "\nimg007.png,"))
    with pytest.warns(UlnaWarning, match="they are read as consecutive frames"):
        assert ulna.read(tmp_path)[0].num_frames == 4


def test_movement_files_that_are_packed_and_thinned(tmp_path):
    write_movement(tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        file["position"].attrs["scale_factor"] = 0.5
        file["position"].attrs["_FillValue"] = float(file["position"][0, 0, 0, 0])
        file["time"][:] = np.arange(4) / 10
        file.attrs["time_unit"] = "seconds"
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[2, 1, :, :2], 0.5 * person(3, 2, seed=1)[:, :2], rtol=1e-6)
    assert not clip.visible[0, 0, 0]
    assert clip.fps == pytest.approx(10)


def test_c3d_computed_angles_are_no_markers(tmp_path):
    write_c3d(tmp_path / "a.c3d", angles=["left_foot"])
    assert ulna.read(tmp_path)[0].skeleton.joints == ("head", "right_foot")


def test_gltf_joints_of_all_skins_and_morphs(tmp_path):
    write_gltf(tmp_path / "a.gltf")

    def change(content):
        content["skins"] = [{"joints": [1]}, {"joints": [0, 1]}]
        morph = {
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
            "samplers": [{"input": 0, "output": 0}],
        }
        content["animations"].append(morph)

    rewrite(tmp_path / "a.gltf", change)
    (clip,) = ulna.read(tmp_path)
    assert set(clip.skeleton.joints) == {"hips", "hand"}


def test_markers_that_the_first_file_lacks(tmp_path):
    write_trc(tmp_path / "a.trc")
    write_trc(tmp_path / "b.trc")
    (tmp_path / "b.trc").write_text((tmp_path / "b.trc").read_text().replace("left_foot", "left_heel"))
    with pytest.warns(UlnaWarning, match=r"b.trc: markers left out that a.trc does not have: left_heel"):
        clips = ulna.read(tmp_path)
    assert clips[1].visible[:, 0].any(axis=0).tolist() == [True, False, True]
    lines = (tmp_path / "b.trc").read_text().splitlines()
    (tmp_path / "b.trc").write_text("\n".join([*lines[:7], lines[7][1:], *lines[8:]]))
    with pytest.raises(BadFileError, match="line 8: expected a frame number"):
        quietly(tmp_path / "b.trc")


def test_other_json_files_beside_frames(tmp_path):
    write_openpose(tmp_path / "a_000000000000_keypoints.json")
    (tmp_path / "info.json").write_text('{"camera": 1}')
    with pytest.warns(UlnaWarning, match=r"1 .json files are not OpenPose frames and are skipped, such as info.json"):
        assert len(ulna.read(tmp_path, "openpose")) == 1


def test_images_of_different_sizes_are_counted(tmp_path):
    write_coco(tmp_path / "a.json")
    entries = json.loads((tmp_path / "a.json").read_text())
    images = [{"id": t, "width": 64 + t // 2, "height": 48} for t in range(4)]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": entries}))
    with pytest.warns(UlnaWarning, match="images have 2 different sizes"):
        assert ulna.read(tmp_path)[0].image_size == (64, 48)


def test_videos_that_do_not_decode(command, tmp_path, monkeypatch):
    class Capture:
        def __init__(self, path):
            self.is_open = path.endswith("empty.mp4")

        def isOpened(self):
            return self.is_open

        def get(self, _):
            return 25.0

        def read(self):
            return False, None

        def release(self):
            pass

    names = {"CAP_PROP_FPS": 5, "CAP_PROP_FRAME_COUNT": 7, "VideoCapture": Capture}
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(**names))
    monkeypatch.setitem(sys.modules, "rtmlib", types.SimpleNamespace(Body=lambda **_: None))
    for name, message in (
        ("text.mp4", "could not open it"),
        ("empty.mp4", "found none"),
        ("none.mp4", "found nothing"),
    ):
        if name != "none.mp4":
            (tmp_path / name).write_text("no video")
        code, _, err = command("pose", tmp_path / name, "--out", tmp_path / "out")
        assert code == 2
        assert name in err
        assert message in err
        assert not list(tmp_path.glob("out/*"))


def test_what_looks_alike_is_told_apart(tmp_path):
    write_coco(tmp_path / "c" / "a.json")
    entries = json.loads((tmp_path / "c" / "a.json").read_text())
    images = [{"id": t, "file_name": f"{t}.jpg", "width": 64, "height": 48} for t in range(4)]
    coco = {"licenses": [], "info": {}, "categories": [{"name": "person", "keypoints": []}], "images": images}
    nothing = {"image_id": 0, "category_id": 2, "keypoints": []}
    (tmp_path / "c" / "a.json").write_text(json.dumps(coco | {"annotations": [nothing, *entries]}))
    assert detect_format(tmp_path / "c") == "coco"
    assert ulna.read(tmp_path / "c")[0].num_frames == 4
    write_mmpose(tmp_path / "m" / "a.json")
    frames = json.loads((tmp_path / "m" / "a.json").read_text())
    long = {"meta_info": {"keypoint_names": [f"joint {k}" for k in range(2000)]}, "instance_info": frames}
    (tmp_path / "m" / "a.json").write_text(json.dumps(long))
    assert ulna.read(tmp_path / "m")[0].num_frames == 4
    write_deeplabcut(tmp_path / "d" / "aDLC.csv", individuals=tuple(f"mouse {n}" for n in range(12)))
    assert detect_format(tmp_path / "d") == "deeplabcut"
