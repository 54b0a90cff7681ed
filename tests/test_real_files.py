"""Real files of every format, read by us and by an independent reader.

Run by hand, with the files in a folder and the readers installed:

    pip install sleap-io pandas tables ezc3d pose-format pygltflib movement
    ULNA_FORMATS=FOLDER python -m pytest -m real tests/test_real_files.py
"""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import ulna
from ulna.core import UlnaWarning
from ulna.formats import FORMATS, BadFileError

FOLDER = Path(os.environ.get("ULNA_FORMATS", "none"))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no real files here (ULNA_FORMATS)"),
    pytest.mark.filterwarnings("ignore"),
]
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
MICE = "deeplabcut_or_sleap"


def read(path, format=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UlnaWarning)
        return ulna.read(FOLDER / path, FORMATS[format](**options) if options else format)


def assert_same_people(clip, people, *, num_joints=None):
    """Compare with the people of each frame, each (K, 3) with confidence, in any order."""
    num_joints = num_joints or clip.skeleton.num_recorded
    first = 0 if clip.frame_numbers is None else int(clip.frame_numbers[0])
    for frame, expected in people.items():
        visible = clip.visible[frame - first].any(axis=1)
        assert visible.sum() == len(expected), frame
        for person in np.flatnonzero(visible):
            own = np.concatenate(
                [clip.position[frame - first, person, :num_joints, :2],
                 clip.confidence[frame - first, person, :num_joints, None]], axis=1
            )  # fmt: skip
            errors = []
            for other in expected:
                kept = np.where((other[:, 2:] > 0) & (other[:, :2] != 0).any(axis=1, keepdims=True), other, 0)
                errors.append(np.abs(np.where(kept[:, 2:] > 0, own - kept, 0)).max())
                errors[-1] += np.abs((own[:, 2] > 0) & ~(kept[:, 2] > 0)).sum()
            assert min(errors) < 1e-3, (frame, person, errors)


def test_openpose():
    (clip,) = read("openpose_body25", "openpose", max_persons=20)
    people = {}
    for path in sorted((FOLDER / "openpose_body25").glob("*.json")):
        content = json.loads(path.read_text())["people"]
        people[int(path.stem[-3:])] = [np.reshape(one["pose_keypoints_2d"], (25, 3)) for one in content]
    assert clip.num_frames == len(people) == 90
    assert_same_people(clip, people)


def test_mmpose():
    for path in ("mmpose_video/walk1.json", "mmpose_image/demo.json"):
        (clip,) = read(path, "mmpose", max_persons=20)
        content = json.loads((FOLDER / path).read_text())
        frames = [frame["instances"] for frame in content] if "video" in path else [content]
        people = {
            t: [
                np.column_stack([one["keypoints"], one["keypoint_scores"]])[: clip.skeleton.num_recorded] for one in own
            ]
            for t, own in enumerate(frames)
        }
        assert_same_people(clip, people)


def test_alphapose():
    (clip,) = read("alphapose/alphapose-results.json", "alphapose", max_persons=100)
    people = {}
    for one in json.loads((FOLDER / "alphapose/alphapose-results.json").read_text()):
        people.setdefault(int(one["image_id"].partition(".")[0]), []).append(np.reshape(one["keypoints"], (17, 3)))
    assert_same_people(clip, people)
    with pytest.raises(BadFileError, match="line 164 column 19: expected JSON"):
        read("alphapose/by-image.json")  # an excerpt with "..." in it


def test_coco():
    clips = read("coco_results", "coco", max_persons=100)
    people = {}
    for one in json.loads((FOLDER / "coco_results/person_keypoints.json").read_text()):
        people.setdefault(one["image_id"], []).append(np.reshape(one["keypoints"], (17, 3)))
    people = {image: seen for image, own in people.items() if (seen := [one for one in own if (one[:, 2] > 0).any()])}
    assert len(clips) == len(people)
    for clip in clips:
        number = int(clip.frame_numbers[0]) if clip.frame_numbers is not None else 0
        assert_same_people(clip, {number: people[number]})


def test_mediapipe_holistic():
    (clip,) = read("mediapipe_holistic_npy")
    rows = np.stack([np.load(FOLDER / f"mediapipe_holistic_npy/hello_0/{t}.npy") for t in range(30)])
    expected = rows[:, :132].reshape(30, 33, 4)
    np.testing.assert_allclose(clip.position[:, 0, :33, :2], expected[..., :2], **TOLERANCE)
    np.testing.assert_allclose(clip.confidence[:, 0, :33], expected[..., 3], **TOLERANCE)


@pytest.mark.parametrize(("name", "component"), [("mediapipe", "POSE_LANDMARKS"), ("openpose", "pose_keypoints_2d")])
def test_pose(name, component):
    from pose_format import Pose

    (clip,) = read(f"pose_format/{name}.pose")
    pose = Pose.read((FOLDER / f"pose_format/{name}.pose").read_bytes()).get_components([component])
    position = np.ma.filled(pose.body.data, 0)[..., :2]
    num = position.shape[2]
    seen = clip.visible[:, :, :num, None]
    np.testing.assert_allclose(np.where(seen, position, 0), clip.position[:, :, :num, :2], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(pose.body.confidence, clip.confidence[:, :, :num], **TOLERANCE)
    assert clip.fps == pose.body.fps
    points = pose.header.components[0].points
    assert len(points) == num == clip.skeleton.num_recorded


def test_sleap():
    import h5py
    import sleap_io

    for path in ("sleap/predictions.slp", "sleap/predictions.analysis.h5"):
        (clip,) = read(path)
        if path.endswith(".slp"):
            labels = sleap_io.load_slp(str(FOLDER / path), open_videos=False)
            expected = labels.numpy(return_confidence=True)  # (T, P, K, 3)
            names = [track.name for track in labels.tracks]
            assert tuple(labels.skeletons[0].node_names) == clip.skeleton.joints
            edges = {frozenset(edge) for edge in labels.skeletons[0].edge_inds}
            assert edges == {frozenset(bone) for bone in clip.skeleton.bones}
        else:
            with h5py.File(FOLDER / path) as file:  # sleap-io needs scores, which this older file does not have
                expected = file["tracks"][:].transpose(3, 0, 2, 1)
                names = [name.decode() for name in file["track_names"][:]]
        order = [names.index(track) for track in clip.tracks]
        expected = expected[:, order]
        seen = np.isfinite(expected[..., 0]) & clip.visible
        np.testing.assert_allclose(clip.position[..., :2][seen], expected[..., :2][seen], **TOLERANCE)
        if expected.shape[-1] == 3:
            np.testing.assert_allclose(clip.confidence[seen], expected[..., 2][seen], rtol=1e-5)
            assert (np.isfinite(expected[..., 0]) & (expected[..., 2] > 0)).sum() == clip.visible.sum()


@pytest.mark.parametrize(
    "path",
    [
        "test_single_topview/testDLC_csv_table.csv",
        "test_single_topview/testDLC_h5_table.h5",
        "test_multi_topview/testDLC_csv_table_multi.csv",
        "test_multi_topview/testDLC_h5_table_multi.h5",
        "test_madlc_topview/testDLC_csv_table_madlc.csv",
        "test_madlc_topview/testDLC_h5_table_madlc.h5",
        "test_square_arena_topview/testDLC_square_arena.h5",
    ],
)
def test_deeplabcut(path):
    import pandas as pd

    (clip,) = read(f"{MICE}/{path}", "deeplabcut")
    file = FOLDER / MICE / path
    levels = 4 if "madlc" in path else 3
    table = pd.read_hdf(file) if path.endswith("h5") else pd.read_csv(file, header=list(range(levels)), index_col=0)
    people = list(dict.fromkeys(table.columns.get_level_values("individuals"))) if levels == 4 else [None]
    joints = list(dict.fromkeys(table.columns.get_level_values("bodyparts")))
    assert tuple(joints) == clip.skeleton.joints
    own = [people.index(track) for track in clip.tracks] if levels == 4 else [0]
    for place, person in enumerate(own):
        part = table if levels == 3 else table.xs(people[person], axis=1, level="individuals")
        rows = part.to_numpy(dtype=float).reshape(len(table), len(joints), 3)
        seen = clip.visible[:, place]
        np.testing.assert_allclose(clip.position[:, place, :, :2][seen], rows[..., :2][seen], **TOLERANCE)
        np.testing.assert_allclose(clip.confidence[:, place], np.nan_to_num(rows[..., 2]), **TOLERANCE)
        assert (seen == (np.isfinite(rows).all(axis=-1) & (rows[..., 2] > 0) & (rows[..., :2] != 0).any(axis=-1))).all()


@pytest.mark.parametrize("name", ["BTS", "FP_Type1", "Qualisys"])
def test_c3d(name):
    import ezc3d

    (clip,) = read(f"c3d/{name}.c3d", "c3d", up="y")
    content = ezc3d.c3d(str(FOLDER / f"c3d/{name}.c3d"))
    scale = {"mm": 0.001, "m": 1.0}[content["parameters"]["POINT"]["UNITS"]["value"][0]]
    points = content["data"]["points"][:3].transpose(2, 1, 0) * scale
    seen = np.isfinite(points).all(axis=-1)
    assert (clip.visible[:, 0] == seen).all()
    np.testing.assert_allclose(clip.position[:, 0][seen], points[seen], **TOLERANCE)
    assert list(clip.skeleton.joints) == content["parameters"]["POINT"]["LABELS"]["value"][: points.shape[1]]
    assert clip.fps == content["parameters"]["POINT"]["RATE"]["value"][0]


def test_c3d_without_points():
    with pytest.raises(BadFileError, match="at least one marker"):
        read("c3d/C3DRotationExample.c3d")


def test_trc():
    import pandas as pd

    (clip,) = read("trc")
    path = next((FOLDER / "trc").glob("*.trc"))
    table = pd.read_csv(path, sep="\t", skiprows=5, header=None).dropna(axis=1, how="all")
    rows = table.to_numpy(dtype=float)[:, 2:].reshape(len(table), -1, 3) / 1000
    np.testing.assert_allclose(clip.position[:, 0], rows, **TOLERANCE)
    assert (clip.num_frames, clip.fps, clip.skeleton.num_joints) == (151, 60, 41)


def test_glb():
    """Joints by hand: accessors with pygltflib, rotations with scipy's Slerp."""
    from pygltflib import GLTF2
    from scipy.spatial.transform import Rotation, Slerp

    (clip,) = read("glb")
    path = next((FOLDER / "glb").glob("*.glb"))
    file = GLTF2().load(str(path))
    blob = file.binary_blob()

    def values(number):
        accessor = file.accessors[number]
        view = file.bufferViews[accessor.bufferView]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        return np.frombuffer(blob, "<f4", accessor.count * width, start).reshape(-1, width).astype(float)

    animation = file.animations[0]
    times = np.arange(clip.num_frames) / clip.fps + min(values(s.input)[0, 0] for s in animation.samplers)
    parents = {child: n for n, node in enumerate(file.nodes) for child in node.children or []}

    def local(node, frame):
        matrix = np.eye(4)
        own = file.nodes[node]
        parts = {"translation": own.translation or [0, 0, 0], "rotation": own.rotation or [0, 0, 0, 1],
                 "scale": own.scale or [1, 1, 1]}  # fmt: skip
        for channel in animation.channels:
            if channel.target.node == node:
                sampler = animation.samplers[channel.sampler]
                keys, outputs = values(sampler.input)[:, 0], values(sampler.output)
                time = np.clip(times[frame], keys[0], keys[-1])
                if channel.target.path == "rotation":
                    parts["rotation"] = Slerp(keys, Rotation.from_quat(outputs))([time]).as_quat()[0]
                else:
                    parts[channel.target.path] = [np.interp(time, keys, column) for column in outputs.T]
        if own.matrix:
            return np.reshape(own.matrix, (4, 4)).T
        matrix[:3, :3] = Rotation.from_quat(parts["rotation"]).as_matrix() * np.array(parts["scale"])
        matrix[:3, 3] = parts["translation"]
        return matrix

    for frame in (0, 17, clip.num_frames - 1):
        for k, joint in enumerate(file.skins[0].joints):
            whole, node = np.eye(4), joint
            while node is not None:
                whole = local(node, frame) @ whole
                node = parents.get(node)
            np.testing.assert_allclose(clip.position[frame, 0, k], whole[:3, 3], rtol=1e-5, atol=1e-5)


def test_movement(tmp_path):
    """A file that the movement library itself writes from a DeepLabCut table."""
    from movement.io import load_poses

    dataset = load_poses.from_dlc_file(FOLDER / MICE / "test_square_arena_topview/testDLC_square_arena.h5", fps=50)
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (clip,) = ulna.read(tmp_path)
    position = dataset.position.transpose("time", "individuals", "keypoints", "space").to_numpy()
    np.testing.assert_allclose(clip.position[..., :2], position, **TOLERANCE)
    confidence = dataset.confidence.transpose("time", "individuals", "keypoints").to_numpy()
    np.testing.assert_allclose(clip.confidence, confidence, **TOLERANCE)
    assert clip.fps == 50
    assert list(clip.skeleton.joints) == list(dataset.coords["keypoints"].values)
