"""SLEAP: `.slp` labels and predictions, and analysis HDF5 files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import Clip, InputError, Skeleton
from ulna.formats.base import BadFileError, Source, head, list_files, named_skeleton
from ulna.formats.detections import PoseFormat
from ulna.formats.labels import labelled_source
from ulna.formats.reader_process import load_safely

HDF5 = b"\x89HDF"
MOST_NUMBERS = 1 << 31


class SLEAP(PoseFormat):
    """Reads `.slp` files and analysis files (`.analysis.h5`) of SLEAP: animals or people in pixels, with tracks.

    Each video of an `.slp` file is one clip. Joint names and bones come from the file; older
    analysis files contain no bones. Where a frame has user labels and predictions of one instance, the labels
    are read, with a confidence of 1. Instances without a track are linked over time.
    """

    title = "SLEAP predictions and analysis files (2-D, animals)"
    pattern = "*.slp"
    files_wanted = "*.slp or *.analysis.h5"
    where = "SLEAP (sleap-track, sleap-convert --format analysis)"
    cite = "Pereira et al.: SLEAP, Nature Methods 2022"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file is one of SLEAP's."""
        return path.suffix == ".slp" or (path.name.endswith(".analysis.h5") and head(path, 4) == HDF5)

    def open(self, source: Path) -> Source:
        if source.is_file():
            files: tuple[Path, ...] = (source,)
        else:
            found = list_files(source, "*", "SLEAP files")
            files = tuple(path for path in found if path.suffix in (".slp", ".h5"))
            labelled = {path.with_suffix("") for path in files if path.suffix == ".slp"}
            exported = {path for path in files if path.with_name(path.name.partition(".")[0]) in labelled}
            files = tuple(path for path in files if path.suffix == ".slp" or path not in exported)
            if not files:
                raise InputError(f"{source}: expected {self.files_wanted}, found none")

        def skeleton_of(path: Path) -> Skeleton:
            return _skeleton(path, load_safely("sleap", path))

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = load_safely("sleap", path)
        skeleton = _skeleton(path, content)
        if skeleton.joints != source.skeleton.joints:
            expected, found = f"the joints of {source.files[0].name}", f"{skeleton.num_joints} other joints"
            raise BadFileError(path, "skeleton", expected=expected, found=found)
        clips = []
        for number, video in enumerate(content["videos"]):
            name = path if len(content["videos"]) == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
            rows, tracks = content[f"rows{number}"], content[f"tracks{number}"].tolist()
            owners = content.get(f"owners{number}")
            clips.append(self._clip(path, rows, tracks, owners, source, first=int(video["first"]), name=_plain(name)))
        return clips

    def _clip(
        self,
        path: Path,
        rows: np.ndarray,
        tracks: list[str],
        owners: np.ndarray | None,
        source: Source,
        *,
        first: int,
        name: Path,
    ) -> Clip:
        if all(tracks):
            return self.clip_of_rows(
                path, rows, source.skeleton, tracks=tuple(tracks), origin=source.origin, name=name, first_frame=first
            )
        from ulna.formats.detections import Detection

        frames = {
            first + t: [
                Detection(person, None if owners is None or owners[t, p] < 0 else str(owners[t, p]))
                for p, person in enumerate(frame)
                if np.isfinite(person[:, 0]).any()
            ]
            for t, frame in enumerate(rows)
        }
        return self.build_clip(path, frames, source.skeleton, origin=source.origin, name=name)


def _plain(path: Path) -> Path:
    """Return the name without both of its endings: X.analysis.h5 becomes X.h5."""
    return path.with_name(path.name.replace(".analysis.h5", ".h5"))


def _skeleton(path: Path, content: dict[str, Any]) -> Skeleton:
    names = content["joints"].tolist()
    edges = [(a, b) for a, b in content["edges"]]
    return named_skeleton(path, "skeleton", "sleap", names, edges, expected="unique joint names")


def load(path: Path) -> dict[str, Any]:
    """Read a file: joint names, bones, and positions (T, P, K, 3) with confidence for each video."""
    import h5py

    with h5py.File(path, "r") as file:
        return _analysis(file) if "tracks" in file else _slp(path, file)


def _names(values: Any) -> np.ndarray:
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values[:]], dtype=str)


def _analysis(file: Any) -> dict[str, Any]:
    """Read an analysis file, whose arrays are (P, 2, K, T)."""
    positions = np.asarray(file["tracks"], dtype=np.float64)
    joints = _names(file["node_names"])
    tracks = _names(file["track_names"]) if "track_names" in file else np.array([], dtype=str)
    if len(tracks) != len(positions):
        tracks = np.array([str(person) for person in range(len(positions))])
    positions = _canonical(positions, file["tracks"].attrs, len(joints))
    scores = np.ones_like(positions[:, 0])
    if "point_scores" in file and file["point_scores"].shape == scores.shape:
        scores = np.nan_to_num(np.asarray(file["point_scores"], dtype=np.float64))
    rows = np.concatenate([positions, scores[:, None]], axis=1).transpose(3, 0, 2, 1)
    edges = []
    if "edge_inds" in file and file["edge_inds"].ndim == 2 and file["edge_inds"].shape[1] == 2:
        edges = [[int(a), int(b)] for a, b in file["edge_inds"][:]]
    return {"joints": joints, "edges": edges, "videos": [{"first": 0}], "rows0": rows, "tracks0": tracks}


def _canonical(positions: np.ndarray, attributes: Any, num_joints: int) -> np.ndarray:
    """Return positions as (P, 2, K, T), whatever order the file states."""
    found = str(positions.shape)
    if "dims" in attributes and positions.ndim == 4:
        stated = attributes["dims"]
        text = stated.decode() if isinstance(stated, bytes) else str(stated)
        names = [name.strip(" \"'") for name in text.strip("[]()").split(",")]
        kinds = {"track": "track", "tracks": "track", "xy": "xy", "node": "node", "nodes": "node", "frame": "frame",
                 "frames": "frame"}  # fmt: skip
        order = [kinds.get(name, "") for name in names]
        if sorted(order) == ["frame", "node", "track", "xy"]:
            positions = positions.transpose([order.index(name) for name in ("track", "xy", "node", "frame")])
    elif "transpose" in attributes and not attributes["transpose"]:
        positions = positions.transpose()
    if positions.ndim != 4 or positions.shape[1] not in (2, 3) or positions.shape[2] != num_joints:
        raise InputError(f"tracks: expected (P, 2, {num_joints}, T), found {found}")
    return positions


def _slp(path: Path, file: Any) -> dict[str, Any]:
    metadata = json.loads(file["metadata"].attrs["json"])
    nodes = [str(node["name"]) for node in metadata["nodes"]]
    skeleton = metadata["skeletons"][0]
    used = [int(node["id"]["py/id"] if isinstance(node["id"], dict) else node["id"]) for node in skeleton["nodes"]]
    joints = np.array([nodes[node] for node in used], dtype=str)
    edges = [
        [used.index(link["source"]), used.index(link["target"])]
        for link in skeleton["links"]
        if link["source"] in used and link["target"] in used and not _is_symmetry(link)
    ]
    names = [json.loads(text)[1] for text in file["tracks_json"][:]] if "tracks_json" in file else []
    frames, instances = file["frames"][:], file["instances"][:]
    points, predicted = file["points"][:], file["pred_points"][:]
    content: dict[str, Any] = {"joints": joints, "edges": edges, "videos": []}
    for video in np.unique(frames["video"]):
        own = frames[frames["video"] == video]
        first, last = int(own["frame_idx"].min()), int(own["frame_idx"].max())
        people = [_people(instances, frame) for frame in own]
        ids = [[int(one["track"]) for one in some] for some in people]
        with_tracks = all(track >= 0 for own in ids for track in own) and all(len(set(own)) == len(own) for own in ids)
        most = len(names) if with_tracks else max((len(some) for some in people), default=0)
        if (last - first + 1) * max(most, 1) * len(joints) * 3 > MOST_NUMBERS:
            raise BadFileError(path, "frames", expected="fewer frames and tracks", found=f"frames {first} to {last}")
        rows = np.full((last - first + 1, most, len(joints), 3), np.nan)
        owners = np.full((last - first + 1, most), -1)
        for frame, some in zip(own, people, strict=True):
            for place, one in enumerate(some):
                person = int(one["track"]) if with_tracks else place
                rows[int(frame["frame_idx"]) - first, person] = _joints(one, points, predicted)
                owners[int(frame["frame_idx"]) - first, person] = int(one["track"])
        number = len(content["videos"])
        content["videos"].append({"first": first})
        content[f"rows{number}"] = rows
        content[f"tracks{number}"] = np.array(names if with_tracks else [""] * most, dtype=str)
        content[f"owners{number}"] = owners
    if not content["videos"]:
        raise BadFileError(path, "frames", expected="at least one labelled frame", found="none")
    return content


def _is_symmetry(link: Any) -> bool:
    """Return whether a link joins a left and a right joint instead of the ends of a bone (edge type 2)."""
    kind = link.get("type")
    if not isinstance(kind, dict):
        return False
    if "py/reduce" in kind:
        return bool(kind["py/reduce"][1]["py/tuple"] == [2])
    return bool(kind.get("py/id") == 2)


def _people(instances: np.ndarray, frame: Any) -> list[Any]:
    """Return the instances of a frame; predictions that a user has corrected are left out."""
    own = instances[int(frame["instance_id_start"]) : int(frame["instance_id_end"])]
    corrected = {int(one["from_predicted"]) for one in own if one["instance_type"] == 0}
    tracks = {int(one["track"]) for one in own if one["instance_type"] == 0 and one["track"] >= 0}
    return [
        one
        for one in own
        if one["instance_type"] == 0 or (int(one["instance_id"]) not in corrected and int(one["track"]) not in tracks)
    ]


def _joints(one: Any, points: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return positions and confidence (K, 3)."""
    table = predicted if one["instance_type"] == 1 else points
    own = table[int(one["point_id_start"]) : int(one["point_id_end"])]
    score = own["score"] if one["instance_type"] == 1 else np.ones(len(own))
    rows = np.stack([own["x"], own["y"], score], axis=1).astype(np.float64)
    rows[~own["visible"]] = np.nan
    return rows
