"""Formats of pose estimators, trackers and motion capture systems, on tiny files."""

import json
import warnings

import numpy as np
import pytest

import ulna
from ulna.core import UlnaWarning, get_skeleton
from ulna.formats import FORMATS, BadFileError, detect_format
from ulna.formats.linking import link
from ulna.formats.mat5 import read_mat
from write_pose_files import (
    MARKERS,
    POSE_WRITERS,
    landmarks,
    person,
    write_alphapose,
    write_analysis,
    write_c3d,
    write_coco,
    write_deeplabcut,
    write_deeplabcut_h5,
    write_gltf,
    write_holistic,
    write_mediapipe,
    write_mmpose,
    write_movement,
    write_msr,
    write_openpose,
    write_penn,
    write_pose,
    write_sleap,
    write_trc,
    write_ui_prmd,
)

OPENPOSE = "video_000000000000_keypoints.json"


def quietly(source, format=None, **options):
    """Read files without showing warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UlnaWarning)
        return ulna.read(source, FORMATS[format](**options) if options else format)


@pytest.mark.parametrize("name", POSE_WRITERS)
def test_formats_are_detected_and_read(tmp_path, name):
    path, write = POSE_WRITERS[name]
    write(tmp_path / "files" / path)
    assert detect_format(tmp_path / "files") == name
    clips = quietly(tmp_path / "files")
    assert len(clips) == 1
    assert clips[0].num_frames == (31 if name == "gltf" else 4)
    assert clips[0].visible.any()
    assert not clips[0].position[~clips[0].visible].any()


@pytest.mark.parametrize("name", POSE_WRITERS)
def test_everything_reaches_the_dataset(tmp_path, name):
    path, write = POSE_WRITERS[name]
    write(tmp_path / "files" / path)
    (clip,) = quietly(tmp_path / "files", name)
    stored = ulna.Dataset.write(tmp_path / "dataset", [clip]).clip(0)
    for field in ("id", "label", "subject", "units", "dimensions", "image_size", "tracks", "recording", "group"):
        assert getattr(stored, field) == getattr(clip, field), field
    assert stored.fps == pytest.approx(clip.fps)
    for field in ("position", "visible", "confidence", "frame_numbers"):
        np.testing.assert_array_equal(getattr(stored, field), getattr(clip, field), err_msg=field)


@pytest.mark.parametrize(("num_joints", "key"), [(25, "pose_keypoints_2d"), (18, "pose_keypoints")])
def test_openpose(tmp_path, num_joints, key):
    write_openpose(tmp_path / OPENPOSE, num_joints=num_joints, key=key, start=7)
    write_openpose(tmp_path / "other_000000000000_keypoints.json", 2, num_joints=num_joints, key=key)
    other, clip = ulna.read(tmp_path)
    assert (other.id, clip.id, other.num_frames) == ("other", "video", 2)
    expected = np.stack([person(num_joints, t) for t in range(4)])
    np.testing.assert_allclose(clip.position[:, 0, :num_joints, :2], expected[..., :2], rtol=1e-6)
    np.testing.assert_allclose(clip.confidence[:, 0, :num_joints], expected[..., 2], rtol=1e-6)
    assert clip.skeleton == get_skeleton(f"openpose{num_joints}")
    assert clip.frame_numbers.tolist() == [7, 8, 9, 10]
    assert (clip.dimensions, clip.units) == (2, "pixels")


def test_openpose_frames_may_be_missing_and_people_may_vanish(tmp_path):
    write_openpose(tmp_path / OPENPOSE, 5, people=2)
    (tmp_path / "video_000000000002_keypoints.json").unlink()
    path = tmp_path / "video_000000000003_keypoints.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"people": content["people"][1:]}))
    (clip,) = ulna.read(tmp_path)
    assert clip.visible.any(axis=2).sum(axis=0).tolist() == [4, 3]
    assert not clip.visible[2].any()
    assert clip.position[:, 0, 0, 0].max() > 350, "the person who is visible longer comes first"
    with pytest.warns(UlnaWarning, match=r"video: kept 1 of 2 persons \(--max-persons\), dropped 3 detections"):
        (clip,) = ulna.read(tmp_path, FORMATS["openpose"](max_persons=1))
    assert clip.num_persons == 1


def test_crossing_people_keep_their_names():
    """Two people walk through one another: positions are nearest to where they were the frame before."""
    times = np.arange(40)
    body = np.random.default_rng(0).uniform(0, 1, (5, 2)) * [20, 100]
    frames = []
    for t in times.tolist():
        right, left = body + np.array([10 * t, 0]), body[::-1] + np.array([390 - 10 * t, 3])
        frames.append([right, left] if t % 2 else [left, right])
    names = link(frames, max_jump=0.5, max_gap=5)
    assert {names[t][0] if t % 2 else names[t][1] for t in times.tolist()} == {names[0][1]}
    assert len({name for own in names for name in own}) == 2


def test_people_who_return_late_are_others():
    body = np.random.default_rng(0).uniform(0, 100, (5, 2))
    frames = [[body], [body], *([[]] * 6), [body]]
    assert link(frames, max_jump=0.5, max_gap=5)[8] == ["1"]
    assert link(frames, max_jump=0.5, max_gap=10)[8] == ["0"]
    assert link([[body], [body + 1000]], max_jump=0.5, max_gap=5) == [["0"], ["1"]], "too far"


def test_track_ids_of_the_file(tmp_path):
    write_mmpose(tmp_path / "a.json", people=2)
    content = json.loads((tmp_path / "a.json").read_text())
    for frame in content:
        for number, one in enumerate(frame["instances"]):
            one["track_id"] = 5 + number
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert ulna.read(tmp_path)[0].tracks == ("5", "6")
    assert ulna.read(tmp_path, FORMATS["mmpose"](tracks="link"))[0].tracks == ("0", "1")
    content[1]["instances"][1]["track_id"] = 5
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.warns(UlnaWarning, match="1 frames contain a duplicate track id"):
        assert ulna.read(tmp_path)[0].tracks == ("0", "1")
    with pytest.raises(BadFileError, match="1 frames with one id twice"):
        ulna.read(tmp_path, FORMATS["mmpose"](tracks="file"))


def test_mmpose_videos_images_and_wholebody(tmp_path):
    write_mmpose(tmp_path / "v" / "a.json", num_joints=133)
    (clip,) = ulna.read(tmp_path / "v")
    np.testing.assert_allclose(clip.position[2, 0, :23, :2], person(133, 2)[:23, :2], rtol=1e-6)
    assert clip.skeleton.name == "coco_wholebody"
    for frame in range(3):
        content = [{"keypoints": person(17, frame)[:, :2].tolist(), "keypoint_scores": [1.7] * 17}]
        (tmp_path / "i").mkdir(exist_ok=True)
        (tmp_path / "i" / f"walk_{frame:03d}.json").write_text(json.dumps(content))
    (clip,) = ulna.read(tmp_path / "i")
    assert (clip.id, clip.num_frames) == ("walk", 3)
    assert clip.confidence.max() == pytest.approx(1.7), "scores above 1 are kept"
    content = {"instance_info": json.loads((tmp_path / "v" / "a.json").read_text())}
    (tmp_path / "v" / "a.json").write_text(json.dumps(content))
    assert ulna.read(tmp_path / "v")[0].num_frames == 4


def test_alphapose_lists_and_images(tmp_path):
    write_alphapose(tmp_path / "a.json", num_joints=136)
    (clip,) = ulna.read(tmp_path)
    assert clip.skeleton.name == "halpe26"
    by_image = {f"walk/{t:04d}.png": [{"keypoints": person(17, t).ravel().tolist()}] for t in range(3)}
    (tmp_path / "a.json").write_text(json.dumps(by_image))
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[:, 0, 5, 0], [person(17, t)[5, 0] for t in range(3)], rtol=1e-6)


def test_coco_images_that_are_no_video_are_clips_of_one_frame(tmp_path):
    write_coco(tmp_path / "a.json")
    assert ulna.read(tmp_path)[0].num_frames == 4
    content = json.loads((tmp_path / "a.json").read_text())
    for number, entry in enumerate(content):
        entry["image_id"] = 1000 * number
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.warns(UlnaWarning, match="each of 4 images is a clip"):
        clips = ulna.read(tmp_path)
    assert [clip.id for clip in clips] == ["a_0", "a_1000", "a_2000", "a_3000"]


def test_coco_annotations_define_joints(tmp_path):
    names = ["nose", "left_ear", "right_ear", "tail"]
    content = {
        "images": [{"id": t, "width": 640, "height": 480, "file_name": f"{t}.jpg"} for t in range(3)],
        "categories": [{"name": "mouse", "keypoints": names, "skeleton": [[1, 2], [1, 3], [1, 4]]}],
        "annotations": [{"image_id": t, "keypoints": [1 + t, 2, 2, 3, 4, 1, 5, 6, 2, 0, 0, 0]} for t in range(3)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (clip,) = ulna.read(tmp_path)
    assert clip.skeleton.joints == tuple(names)
    assert clip.skeleton.parents == (-1, 0, 0, 0)
    assert clip.image_size == (640, 480)
    assert clip.visible[:, 0].tolist() == [[True, True, True, False]] * 3
    assert clip.confidence[0, 0].tolist() == [2, 1, 2, 0]


def test_mediapipe_world_landmarks_are_upright_metres(tmp_path):
    write_mediapipe(tmp_path / "a.json", world=True)
    (clip,) = ulna.read(tmp_path)
    expected = landmarks(world=True)
    np.testing.assert_allclose(clip.position[:, 0, :33], expected[..., :3] * [1, -1, -1], atol=1e-6)
    assert (clip.dimensions, clip.units) == (3, "metres")
    np.testing.assert_allclose(clip.confidence[:, 0, :33], expected[..., 3], rtol=1e-6)


def test_mediapipe_image_landmarks(tmp_path):
    write_mediapipe(tmp_path / "a.json")
    with pytest.warns(UlnaWarning, match="unknown image size"):
        (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[:, 0, :33, :2], landmarks()[..., :2], rtol=1e-6)
    assert (clip.dimensions, clip.units) == (2, "relative")
    (clip,) = ulna.read(tmp_path, FORMATS["mediapipe"](width=640, height=480))
    np.testing.assert_allclose(clip.position[:, 0, :33, :2], landmarks()[..., :2] * [640, 480], rtol=1e-6)
    assert (clip.units, clip.image_size) == ("pixels", (640, 480))


def _csv(rows, header):
    return "\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)])


def test_mediapipe_as_people_save_it(tmp_path):
    """Every form gives the same positions: arrays, tables with a row per frame or per landmark, other JSON."""
    rows = landmarks()
    flat = rows.reshape(4, -1)
    names = get_skeleton("mediapipe33").joints[:33]
    forms = {
        "a.npy": rows,
        "b.npy": flat,
        "c.npy": rows[:, None],
        "d.csv": _csv(flat, [f"{axis}{k}" for k in range(33) for axis in "xyzv"]),
        "e.csv": _csv(
            [[t, *row] for t, row in enumerate(flat)],
            ["frame", *(f"{name}_{a}" for name in names for a in ("x", "y", "z", "visibility"))],
        ),
        "f.csv": _csv(
            [[t, name.upper(), *rows[t, k]] for t in range(4) for k, name in enumerate(names)],
            ["frame", "landmark", "x", "y", "z", "visibility"],
        ),
        "g.json": rows.tolist(),
        "h.json": {"frames": [{"landmarks": frame.tolist()} for frame in rows]},
        "i.json": [{"pose_landmarks": [frame.tolist()]} for frame in rows],
    }
    for name, content in forms.items():
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        if isinstance(content, np.ndarray):
            np.save(folder / name, content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        (clip,) = quietly(folder, "mediapipe")
        np.testing.assert_allclose(clip.position[:, 0, :33, :2], rows[..., :2], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("width", [1662, 258])
def test_mediapipe_holistic_vectors(tmp_path, width):
    rows = write_holistic(tmp_path / "hello" / "0", num_frames=11, width=width)
    (clip,) = quietly(tmp_path)
    assert clip.num_frames == 11
    np.testing.assert_allclose(clip.position[:, 0, :33, :2], rows[..., :2], rtol=1e-6)


def test_pose(tmp_path):
    write_pose(tmp_path / "a.pose")
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[3, 0, :, :2], person(5, 3)[:, :2], rtol=1e-6)
    assert (clip.fps, clip.image_size) == (25, (640, 480))
    assert sum(parent < 0 for parent in clip.skeleton.parents) == 1
    assert len(clip.skeleton.bones) == 4


def test_sleap(tmp_path):
    write_sleap(tmp_path / "a.slp")
    (clip,) = ulna.read(tmp_path)
    assert (clip.tracks, clip.skeleton.joints) == (("a", "b"), ("thorax", "head", "wingL", "wingR"))
    for one in range(2):
        np.testing.assert_allclose(clip.position[1, one, :, :2], person(4, 1, seed=one)[:, :2], rtol=1e-6)
        np.testing.assert_allclose(clip.confidence[1, one], person(4, 1, seed=one)[:, 2], rtol=1e-6)
    assert clip.skeleton.parents == (-1, 0, 0, 0)
    assert clip.skeleton.mirror == (0, 1, 3, 2)
    write_analysis(tmp_path / "h" / "a.analysis.h5")
    (other,) = ulna.read(tmp_path / "h")
    np.testing.assert_array_equal(other.position, clip.position)


def test_deeplabcut(tmp_path):
    write_deeplabcut(tmp_path / "one" / "aDLC.csv")
    write_deeplabcut_h5(tmp_path / "h5" / "aDLC.h5")
    (clip,), (other,) = ulna.read(tmp_path / "one"), ulna.read(tmp_path / "h5")
    np.testing.assert_allclose(clip.position[3, 0, :, :2], person(3, 3)[:, :2], rtol=1e-6)
    np.testing.assert_array_equal(clip.position, other.position)
    np.testing.assert_array_equal(clip.confidence, other.confidence)
    write_deeplabcut(tmp_path / "many" / "aDLC.csv", individuals=("black", "white"))
    (clip,) = ulna.read(tmp_path / "many", FORMATS["deeplabcut"](bones="nose-left_ear,nose-tail"))
    assert (set(clip.tracks), len(clip.skeleton.bones)) == ({"black", "white"}, 2)
    write_deeplabcut(tmp_path / "3d" / "aDLC_3D.csv", dimensions=3)
    (clip,) = ulna.read(tmp_path / "3d")
    assert (clip.dimensions, clip.units) == (3, "relative")
    with pytest.raises(ulna.UlnaError, match="expected pairs of nose, left_ear, tail"):
        ulna.read(tmp_path / "one", FORMATS["deeplabcut"](bones="nose-knee"))


def test_movement(tmp_path):
    write_movement(tmp_path / "a.nc")
    (clip,) = ulna.read(tmp_path)
    assert (clip.fps, clip.tracks, clip.skeleton.joints) == (40, ("a", "b"), ("nose", "body", "tail"))
    np.testing.assert_allclose(clip.position[2, 1, :, :2], person(3, 2, seed=1)[:, :2], rtol=1e-6)


@pytest.mark.parametrize("separator", ["\t", ","])
def test_trc(tmp_path, separator):
    rows = write_trc(tmp_path / "a.trc", separator=separator)
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[:, 0], rows / 1000, rtol=1e-5)
    assert (clip.fps, clip.skeleton.joints, clip.frame_numbers.tolist()) == (60, tuple(MARKERS), [1, 2, 3, 4])
    lines = (tmp_path / "a.trc").read_text().splitlines()
    cells = lines[7].split(separator)
    cells[2:5] = ["", "", ""]
    (tmp_path / "a.trc").write_text("\n".join([*lines[:7], separator.join(cells), lines[9]]))
    (clip,) = ulna.read(tmp_path)
    assert clip.visible[:, 0, 0].tolist() == [True, False, False, True]
    assert clip.visible[:, 0, 1].tolist() == [True, True, False, True], "frame 3 is left out in the file"


def test_c3d_is_turned_upright(tmp_path):
    rows = write_c3d(tmp_path / "a.c3d")
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(
        clip.position[:, 0], np.stack([rows[..., 0], rows[..., 2], -rows[..., 1]], -1), rtol=1e-5
    )
    assert clip.fps == 100
    (clip,) = ulna.read(tmp_path, FORMATS["c3d"](up="y"))
    np.testing.assert_allclose(clip.position[:, 0], rows, rtol=1e-5)


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_turning_upright_is_a_rotation(up):
    from ulna.formats.markers import upright

    matrix = upright(np.eye(3), up).T
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1.0 if up[0] == "-" else 1.0
    np.testing.assert_allclose(upright(axis, up), [0, 1, 0], atol=1e-12)


def test_gltf_turns_a_quarter(tmp_path):
    write_gltf(tmp_path / "a.gltf")
    (clip,) = ulna.read(tmp_path, FORMATS["gltf"](fps=10.0))
    angle = np.linspace(0, np.pi / 2, 11)
    np.testing.assert_allclose(clip.position[:, 0, 0], np.tile([0, 1, 0], (11, 1)), atol=1e-6)
    expected = np.stack([np.cos(angle), 1 + np.sin(angle), 0 * angle], axis=1)
    np.testing.assert_allclose(clip.position[:, 0, 1], expected, atol=1e-5)


def test_penn_action(tmp_path):
    joints = write_penn(tmp_path / "labels" / "0007.mat")
    (clip,) = ulna.read(tmp_path)
    np.testing.assert_allclose(clip.position[0, 0, :13, :2], joints[0, :, :2], rtol=1e-6)
    assert (clip.label, clip.image_size, clip.splits["official"]) == ("squat", (640, 480), "train")
    assert clip.visible[:, 0, :13].all()
    assert np.argwhere(clip.confidence[:, 0, :13] == 0).tolist() == [[1, 4]]
    strict = ulna.read(tmp_path, FORMATS["penn_action"](only_visible=True))[0]
    assert np.argwhere(~strict.visible[:, 0, :13]).tolist() == [[1, 4]]


def test_msr_action3d_is_reordered(tmp_path):
    rows = write_msr(tmp_path / "a14_s02_e03_skeleton3D.txt")
    (clip,) = ulna.read(tmp_path)
    kinect = get_skeleton("kinect_v1")
    for joint, row in (("head", 19), ("hip_centre", 6), ("left_shoulder", 0), ("right_foot", 18)):
        np.testing.assert_allclose(clip.position[:, 0, kinect.index(joint)], rows[:, row, :3], rtol=1e-6)
        np.testing.assert_allclose(clip.confidence[:, 0, kinect.index(joint)], rows[:, row, 3], rtol=1e-6)
    assert (clip.label, clip.subject, clip.splits) == ("forward kick", 2, {"xsub": "test"})


def test_ui_prmd_rotations_accumulate(tmp_path):
    angles = np.zeros((4, 22, 3))
    angles[1, 0, 2] = 90  # the waist about z: everything else turns with it
    angles[2, 1, 2] = 90  # the spine: chest and above
    angles[3, 7, 1] = 90  # the left upper arm about y: forearm and hand
    write_ui_prmd(tmp_path / "Positions" / "m03_s02_e01_positions_inc.txt", angles=angles)
    (clip,) = ulna.read(tmp_path)
    hand, forearm, chest = (clip.skeleton.index(joint) for joint in ("left_hand", "left_forearm", "chest"))
    position = clip.position[:, 0]
    np.testing.assert_allclose(position[0, hand], [0.7, 0, 0], atol=1e-6)
    np.testing.assert_allclose(position[1, hand], [0.1, 0.6, 0], atol=1e-6)
    np.testing.assert_allclose(position[2, chest], [0.2, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(position[3, forearm], [0.5, 0, -0.1], atol=1e-6)
    np.testing.assert_allclose(position[3, hand], [0.5, 0, -0.2], atol=1e-6)
    assert (clip.label, clip.subject, clip.splits) == ("inline lunge", 2, {"xsub": "test"})
    assert ulna.read(tmp_path, FORMATS["ui_prmd"](classes="quality"))[0].label == "incorrect"


def test_matlab_files_agree_with_scipy(tmp_path):
    import scipy.io

    random = np.random.default_rng(0)
    content = {
        "double": random.normal(size=(2, 3, 4)),
        "small": np.array([[1, 2]], np.uint8),
        "signed": np.array([[-3], [4]], np.int16),
        "text": "deep squat",
        "other": {"a": 1},
        "single": np.float32(random.normal(size=(3, 1))),
    }
    names = ["double", "small", "signed", "text", "single"]
    for compress in (False, True):
        scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compress)
        found, expected = read_mat(tmp_path / "a.mat", names), scipy.io.loadmat(tmp_path / "a.mat")
        for name in names:
            np.testing.assert_array_equal(found[name].ravel(), expected[name].ravel(), err_msg=name)
            assert name == "text" or found[name].shape == expected[name].shape


BAD = {
    "openpose": [
        (OPENPOSE, lambda text: text[:40], "expected JSON"),
        (OPENPOSE, lambda text: '{"people": 3}', "key 'people': expected a list of people, found 3"),
        (OPENPOSE, lambda text: '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "a list of x, y, confidence"),
        (OPENPOSE, lambda text: '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', r"25 \(openpose25\) or 18"),
        (OPENPOSE, lambda text: '{"people": [{"pose_keypoints_2d": "abc"}]}', "expected lists of numbers"),
        (OPENPOSE, lambda text: "[" * 100_000, "nested too deeply"),
        (OPENPOSE, lambda text: text.replace("[[-1]", "[", 1).replace("100.", "1e999", 1), "expected finite"),
    ],
    "mmpose": [
        ("a.json", lambda text: text.replace('"frame_id": 2', '"frame_id": 1'), "a number of its own"),
        (
            "a.json",
            lambda text: text.replace('"keypoint_scores": [', '"keypoint_scores": [0.5, '),
            "17 keypoint_scores",
        ),
        ("a.json", lambda text: text.replace('"frame_id": 3', '"frame_id": 900000000'), "consecutive frame numbers"),
        ("a.json", lambda text: '[{"frame_id": 0, "instances": []}]', "zero people"),
    ],
    "alphapose": [("a.json", lambda text: text.replace("2.jpg", "cat.jpg"), "names of images with a number")],
    "coco": [("a.json", lambda text: text.replace('"image_id": 2', '"image_id": "x"'), "expected a whole number")],
    "mediapipe": [
        ("a.json", lambda text: text.replace('}, {"x"', '}, {"x": 1, "y": 1}, {"x"', 1), "33 landmarks, found 34")
    ],
    "deeplabcut": [
        ("aDLC.csv", lambda text: text.replace("nose,nose,nose", "nose,nose"), "a name for each column, found 8"),
        ("aDLC.csv", lambda text: text.replace("likelihood", "x"), "expected unique columns, found a duplicate"),
    ],
    "trc": [
        ("a.trc", lambda text: text.replace("\n2\t", "\n1\t"), "frame numbers that increase, found 1 after 1"),
        ("a.trc", lambda text: text.replace("\tmm", "\tfurlongs"), "units: expected m, cm or mm, found 'furlongs'"),
        ("a.trc", lambda text: text.replace("\t3\t", "\t4\t"), "4 different markers"),
        ("a.trc", lambda text: text.replace("60.00", "0"), "frames per second above 0"),
        ("a.trc", lambda text: text.replace("1082.835", "1e45"), "joint head: expected finite coordinates"),
    ],
    "gltf": [
        ("a.gltf", lambda text: text.replace('"count": 4', '"count": 400'), "an accessor outside its buffer"),
        ("a.gltf", lambda text: text.replace('"children": [1]', '"children": [0]'), "cannot be read"),
        ("a.gltf", lambda text: text.replace("data:;base64,", "../secret/"), "no file '../secret/"),
    ],
    "msr_action3d": [
        ("a01_s01_e01_skeleton3D.txt", lambda text: text + "1 2 3\n", "line 81: expected 4 numbers, found 3"),
        ("a01_s01_e01_skeleton3D.txt", lambda text: text + "1 2 3 4\n", "20 rows per frame, found 81 rows"),
    ],
}
WRITE = {
    "openpose": write_openpose, "mmpose": write_mmpose, "alphapose": write_alphapose, "coco": write_coco,
    "mediapipe": write_mediapipe, "deeplabcut": write_deeplabcut, "trc": write_trc, "gltf": write_gltf,
    "msr_action3d": write_msr,
}  # fmt: skip


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in BAD.items() for case in range(len(cases))])
def test_bad_files_are_named_with_location(tmp_path, name, case):
    path, change, message = BAD[name][case]
    WRITE[name](tmp_path / path)
    text = (tmp_path / path).read_text()
    (tmp_path / path).write_text(change(text))
    assert (tmp_path / path).read_text() != text
    with pytest.raises(BadFileError, match=message) as raised:
        quietly(tmp_path, name)
    assert path in str(raised.value)


def test_confidences_that_are_no_numbers_are_missing_joints(tmp_path):
    write_mmpose(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content[1]["instances"][0]["keypoint_scores"][3] = float("nan")
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.warns(UlnaWarning, match="1 joints have a confidence that is not a number"):
        (clip,) = ulna.read(tmp_path)
    assert np.argwhere(~clip.visible[:, 0, :17]).tolist() == [[1, 3]]


@pytest.mark.parametrize("name", ["sleap", "deeplabcut", "movement", "c3d"])
def test_a_crash_of_a_reader_is_an_error(tmp_path, monkeypatch, name):
    """The libraries of binary files run in a process of their own; its death names the file."""
    from ulna.formats import reader_process

    ending = {"sleap": "a.slp", "deeplabcut": "a.h5", "movement": "a.nc", "c3d": "a.c3d"}[name]
    path = tmp_path / ending
    path.write_bytes(b"\x89HDF damaged")
    with pytest.raises(BadFileError, match="cannot be read"):
        reader_process.load_safely(name, path)
    reader_process._process().popen.kill()
    with pytest.raises(BadFileError, match=r"a file that crashes its reader|cannot be read"):
        reader_process.load_safely(name, path)
    with pytest.raises(BadFileError, match="cannot be read"):
        reader_process.load_safely(name, path)
