"""Writes tiny files in the formats of pose estimators, trackers and motion capture systems."""

import base64
import csv
import gzip
import json
import struct

import h5py
import numpy as np
import scipy.io
from numpy.lib import format as npy


def person(num_joints, frame, *, x=100.0, seed=0):
    """Return keypoints (K, 3) of a person who walks to the right: x, y in pixels and a confidence."""
    random = np.random.default_rng(seed)
    joints = np.stack([random.uniform(0, 40, num_joints) + x + 2 * frame, random.uniform(0, 120, num_joints) + 50], 1)
    return np.concatenate([joints.round(3), random.uniform(0.5, 1, (num_joints, 1)).round(3)], axis=1)


def _text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_openpose(path, num_frames=4, *, num_joints=25, key="pose_keypoints_2d", people=1, start=0):
    """Write one file per frame; `path` is the first one, such as VIDEO_000000000000_keypoints.json."""
    for frame in range(num_frames):
        some = [person(num_joints, frame, x=100 + 300 * p, seed=p) for p in range(people)]
        content = {"version": 1.3, "people": [{"person_id": [-1], key: one.ravel().tolist()} for one in some]}
        _text(path.with_name(path.name.replace("000000000000", f"{start + frame:012d}")), content)


def write_mmpose(path, num_frames=4, *, num_joints=17, people=1):
    frames = []
    for frame in range(num_frames):
        some = [person(num_joints, frame, x=100 + 300 * p, seed=p) for p in range(people)]
        instances = [{"keypoints": one[:, :2].tolist(), "keypoint_scores": one[:, 2].tolist()} for one in some]
        frames.append({"frame_id": frame, "instances": instances})
    _text(path, frames)


def write_alphapose(path, num_frames=4, *, num_joints=17):
    _text(
        path,
        [
            {
                "image_id": f"{t}.jpg",
                "category_id": 1,
                "keypoints": person(num_joints, t).ravel().tolist(),
                "score": 2.5,
            }
            for t in range(num_frames)
        ],
    )


def write_coco(path, num_frames=4, *, num_joints=17):
    _text(
        path,
        [
            {"image_id": t, "category_id": 1, "keypoints": person(num_joints, t).ravel().tolist(), "score": 0.9}
            for t in range(num_frames)
        ],
    )


def landmarks(num_frames=4, *, world=False):
    """Return MediaPipe landmarks (T, 33, 4)."""
    random = np.random.default_rng(0)
    rows = random.uniform(0.2, 0.8, (num_frames, 33, 4)).round(5)
    if world:
        rows[..., :3] -= rows[:, [23, 24], :3].mean(axis=1, keepdims=True)
    return rows


def write_mediapipe(path, num_frames=4, *, world=False):
    rows = landmarks(num_frames, world=world)
    key = "pose_world_landmarks" if world else "pose_landmarks"
    names = ("x", "y", "z", "visibility")
    _text(path, [{key: [dict(zip(names, point.tolist(), strict=True)) for point in frame]} for frame in rows])


def write_pose(path, num_frames=4, *, num_joints=5):
    """Write version 0.1: one component of a chain of points, in an image of 640 by 480."""

    def text(value):
        return struct.pack("<H", len(value)) + value.encode()

    header = struct.pack("<fHHHH", 0.1, 640, 480, 0, 1) + text("POSE_LANDMARKS") + text("XYC")
    header += struct.pack("<HHH", num_joints, num_joints - 1, 1)
    header += b"".join(text(f"point{k}") for k in range(num_joints))
    header += b"".join(struct.pack("<HH", k, k + 1) for k in range(num_joints - 1)) + struct.pack("<HHH", 1, 2, 3)
    rows = np.stack([person(num_joints, t) for t in range(num_frames)]).astype("<f4")
    body = struct.pack("<HHH", 25, num_frames, 1) + rows[..., :2].tobytes() + rows[..., 2].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + body)


NODES = ["thorax", "head", "wingL", "wingR"]


def write_sleap(path, num_frames=4):
    """Write predictions of two animals with tracks, in the layout of SLEAP 1.3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    edge = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
    links = [{"source": 0, "target": k, "type": edge if k == 1 else {"py/id": 1}} for k in (1, 2, 3)]
    skeleton = {"nodes": [{"id": k} for k in range(4)], "links": links}
    metadata = {"nodes": [{"name": name} for name in NODES], "skeletons": [skeleton]}
    frames = np.array(
        [(t, 0, t, 2 * t, 2 * t + 2) for t in range(num_frames)],
        [(name, "<i8") for name in ("frame_id", "video", "frame_idx", "instance_id_start", "instance_id_end")],
    )
    kinds = [
        ("instance_id", "<i8"),
        ("instance_type", "u1"),
        ("frame_id", "<i8"),
        ("skeleton", "<u4"),
        ("track", "<i4"),
    ]
    kinds += [("from_predicted", "<i8"), ("score", "<f4"), ("point_id_start", "<i8"), ("point_id_end", "<i8")]
    instances = np.array([(i, 1, i // 2, 0, i % 2, -1, 0.9, 4 * i, 4 * i + 4) for i in range(2 * num_frames)], kinds)
    points = [(x, y, True, False, s) for i in range(2 * num_frames) for x, y, s in person(4, i // 2, seed=i % 2)]
    form = [("x", "<f8"), ("y", "<f8"), ("visible", "?"), ("complete", "?")]
    with h5py.File(path, "w") as file:
        file.create_group("metadata").attrs["json"] = np.bytes_(json.dumps(metadata))
        file["frames"], file["instances"] = frames, instances
        file["points"] = np.array([], form)
        file["pred_points"] = np.array(points, [*form, ("score", "<f8")])
        file["tracks_json"] = np.array([b'[0, "a"]', b'[0, "b"]'])


def write_analysis(path, num_frames=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.stack([[person(4, t, seed=p)[:, :2] for t in range(num_frames)] for p in range(2)])  # (P, T, K, 2)
    with h5py.File(path, "w") as file:
        file["tracks"] = rows.transpose(0, 3, 2, 1)
        file["node_names"] = np.array([name.encode() for name in NODES])
        file["track_names"] = np.array([b"a", b"b"])


def write_deeplabcut(path, num_frames=4, *, individuals=("",), dimensions=2):
    joints, axes = ["nose", "left_ear", "tail"], ["x", "y", "z"][:dimensions] + ["likelihood"] * (dimensions == 2)
    columns = [(one, joint, axis) for one in individuals for joint in joints for axis in axes]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["scorer", *["DLC"] * len(columns)])
        if individuals != ("",):
            rows.writerow(["individuals", *[column[0] for column in columns]])
        rows.writerow(["bodyparts", *[column[1] for column in columns]])
        rows.writerow(["coords", *[column[2] for column in columns]])
        for t in range(num_frames):
            some = [person(3, t, seed=p)[:, : len(axes)].ravel().tolist() for p in range(len(individuals))]
            rows.writerow([t, *[value for one in some for value in one]])


def write_deeplabcut_h5(path, num_frames=4):
    """Write a table in the fixed format of pandas, as DeepLabCut does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    joints, axes = [b"nose", b"left_ear", b"tail"], [b"x", b"y", b"likelihood"]
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        levels = [("scorer", [b"DLC"]), ("bodyparts", joints), ("coords", axes)]
        codes = [[0] * 9, np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)]
        for number, ((name, values), own) in enumerate(zip(levels, codes, strict=True)):
            group[f"block0_items_level{number}"] = np.array(values)
            group[f"block0_items_level{number}"].attrs["name"] = np.bytes_(name)
            group[f"block0_items_label{number}"] = np.array(own, np.int8)
        group["block0_values"] = np.stack([person(3, t).ravel() for t in range(num_frames)])
        group["axis1"] = np.arange(num_frames)


def write_movement(path, num_frames=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.stack([[person(3, t, seed=p) for p in range(2)] for t in range(num_frames)])  # (T, P, K, 3)
    with h5py.File(path, "w") as file:
        file.attrs["fps"] = np.array([40.0])  # as netCDF stores numbers
        names = {"space": ["x", "y"], "keypoints": ["nose", "body", "tail"], "individuals": ["a", "b"]}
        file["time"] = np.arange(num_frames) / 40
        file["time"].make_scale("time")
        for name, values in names.items():
            file.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
            file[name].make_scale(name)
        file["position"] = rows[..., :2].transpose(0, 3, 2, 1)
        file["confidence"] = rows[..., 2].transpose(0, 2, 1)
        for variable, dimensions in (("position", ("time", "space", "keypoints", "individuals")),
                                     ("confidence", ("time", "keypoints", "individuals"))):  # fmt: skip
            for axis, name in enumerate(dimensions):
                file[variable].dims[axis].attach_scale(file[name])


MARKERS = ["head", "left_foot", "right_foot"]


def write_trc(path, num_frames=4, *, separator="\t"):
    rows = np.random.default_rng(0).uniform(0, 1700, (num_frames, 9)).round(3)
    lines = [
        separator.join(["PathFileType", "4", "(X/Y/Z)", path.name]),
        separator.join(["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]),
        separator.join(["60.00", "60.00", str(num_frames), "3", "mm"]),
        separator.join(["Frame#", "Time", *(cell for name in MARKERS for cell in (name, "", ""))]),
        separator.join(["", "", *(f"{axis}{k}" for k in (1, 2, 3) for axis in "XYZ")]),
        "",
    ]
    lines += [separator.join([str(t + 1), f"{t / 60:.3f}", *map(str, row)]) for t, row in enumerate(rows.tolist())]
    _text(path, "\n".join(lines) + "\n")
    return rows.reshape(num_frames, 3, 3)


def write_c3d(path, num_frames=4, *, angles=()):
    import ezc3d

    rows = np.random.default_rng(0).uniform(0, 1.7, (num_frames, 3, 3))
    content = ezc3d.c3d()
    content["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    content["parameters"]["POINT"]["LABELS"]["value"] = MARKERS
    content["parameters"]["POINT"]["UNITS"]["value"] = ["m"]
    if angles:
        content.add_parameter("POINT", "ANGLES", list(angles))
    content["data"]["points"] = np.concatenate([rows.transpose(2, 1, 0), np.ones((1, 3, num_frames))])
    path.parent.mkdir(parents=True, exist_ok=True)
    content.write(str(path))
    return rows


def write_gltf(path, num_frames=4):
    """Write two joints; the first turns by 90 degrees about z in one second, the second is 1 m beside it."""
    times = np.linspace(0, 1, num_frames, dtype="<f4")
    angles = np.linspace(0, np.pi / 2, num_frames)
    turns = np.stack([0 * angles, 0 * angles, np.sin(angles / 2), np.cos(angles / 2)], axis=1).astype("<f4")
    data = times.tobytes() + turns.tobytes()
    content = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 4 * num_frames},
            {"buffer": 0, "byteOffset": 4 * num_frames, "byteLength": 16 * num_frames},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": num_frames, "type": "SCALAR"},
            {"bufferView": 1, "componentType": 5126, "count": num_frames, "type": "VEC4"},
        ],
        "nodes": [
            {"name": "hips", "children": [1], "translation": [0, 1, 0]},
            {"name": "hand", "translation": [1, 0, 0]},
        ],
        "skins": [{"joints": [0, 1]}],
        "animations": [
            {
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
                "samplers": [{"input": 0, "output": 1}],
            }
        ],
    }
    _text(path, content)


def write_penn(path, num_frames=4, *, train=1):
    joints = np.stack([person(13, t) for t in range(num_frames)])
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = np.ones((num_frames, 13), np.uint8)
    flags[1, 4] = 0
    content = {"action": "squat", "train": train, "x": joints[..., 0], "y": joints[..., 1], "visibility": flags}
    scipy.io.savemat(path, content | {"dimensions": np.array([480, 640, num_frames], np.uint16)})
    return joints


def write_msr(path, num_frames=4):
    rows = np.random.default_rng(0).normal(0, 0.5, (num_frames, 20, 4)).round(6)
    rows[..., 3] = np.abs(rows[..., 3]).clip(max=1)
    _text(path, "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows.reshape(-1, 4)) + "\n")
    return rows


def write_ui_prmd(path, num_frames=4, *, angles=None):
    """Write compressed positions and, in the folder Angles beside, angles; all offsets are 10 cm along x."""
    offsets = np.tile([10.0, 0, 0], (num_frames, 22, 1))
    angles = np.zeros((num_frames, 22, 3)) if angles is None else angles
    other = path.parent.parent / "Angles" / path.name.replace("_positions", "_angles")
    for file, values in ((path, offsets), (other, angles)):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(",".join(f"{value:.4f}" for value in row.ravel()) for row in values) + "\n"
        file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())


def write_holistic(folder, num_frames=4, *, width=1662):
    """Write one holistic vector per frame."""
    rows = landmarks(num_frames)
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(rows):
        vector = np.zeros(width)
        vector[: 4 * 33] = frame.ravel()
        with (folder / f"{t}.npy").open("wb") as file:
            npy.write_array(file, vector)
    return rows


POSE_WRITERS = {
    "alphapose": ("results.json", write_alphapose),
    "c3d": ("a.c3d", write_c3d),
    "coco": ("results.json", write_coco),
    "deeplabcut": ("aDLC.csv", write_deeplabcut),
    "gltf": ("a.gltf", write_gltf),
    "mediapipe": ("a.json", write_mediapipe),
    "mmpose": ("a.json", write_mmpose),
    "movement": ("a.nc", write_movement),
    "msr_action3d": ("a01_s01_e01_skeleton3D.txt", write_msr),
    "openpose": ("video_000000000000_keypoints.json", write_openpose),
    "penn_action": ("labels/0001.mat", write_penn),
    "pose": ("a.pose", write_pose),
    "sleap": ("a.slp", write_sleap),
    "trc": ("a.trc", write_trc),
    "ui_prmd": ("Positions/m01_s01_e01_positions.txt.gz", write_ui_prmd),
}
