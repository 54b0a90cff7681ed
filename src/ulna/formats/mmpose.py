"""MMPose and RTMPose: JSON predictions of a video or of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import Clip, InputError, Skeleton, Units
from ulna.formats.base import BadFileError, Source, head, list_files, read_json
from ulna.formats.detections import (
    NUMBERED,
    Detection,
    PoseFormat,
    as_numbers,
    by_number_of_joints,
    frames_in,
    numbered_files,
)
from ulna.formats.labels import Labels

KEYPOINTS = {17: "coco17", 133: "coco_wholebody", 23: "coco_wholebody", 26: "halpe26"}
KEYPOINTS_3D = {17: "human36m"}
VIDEO_KEYS = (b'"instances"', b'"instance_info"', b'"meta_info"')


class MMPose(PoseFormat):
    """Reads predictions of MMPose's inferencers: a list of frames with instances (video), or of instances (image).

    17 keypoints are COCO's, 26 Halpe's, 133 those of COCO-WholeBody, of which the first 23 (body and feet) are read.
    Files of single images that are numbered, such as `VIDEO_000123.json`, are the frames of one clip. Keypoints with
    three coordinates are those of a Human3.6M lifter, z up, in its own unit. Scores above 1 are kept as they are.
    """

    title = "MMPose and RTMPose predictions (2-D, 3-D lifters)"
    pattern = "*.json"
    files_wanted = "*.json with instances and keypoint_scores"
    where = "MMPoseInferencer(..., pred_out_dir=FOLDER)"
    cite = "MMPose contributors; Jiang et al.: RTMPose, arXiv 2303.07399"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file holds keypoints with scores as MMPose writes them."""
        if path.suffix != ".json":
            return False
        begin = head(path, 1 << 16)
        return b'"keypoint_scores"' in begin or any(key in begin for key in VIDEO_KEYS)

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.json", "MMPose predictions")
        origin = source if source.is_dir() else source.parent
        labels = Labels.read(self.labels)
        first = [path for path in files if _is_video(path)]
        images = [path for path in files if path not in first]
        single = [path for path in images if len(images) == 1 or not NUMBERED.fullmatch(path.stem)]
        numbered = [path for path in images if path not in single]
        first += single + [own[min(own)] for own in numbered_files(numbered).values()]
        files = tuple(sorted(first))
        labels.check(files, origin)
        return Source(files, _first_skeleton(files), labels.classes, num_persons=None, origin=origin)

    def read(self, path: Path, source: Source) -> list[Clip]:
        name = path
        if _is_video(path):
            frames = _frames_of_video(path, source.skeleton)
        else:
            alone = {path.with_suffix(""): {0: path}}
            videos = frames_in(path.parent) if NUMBERED.fullmatch(path.stem) else alone
            video, own = next((video, own) for video, own in videos.items() if path in own.values())
            video, own = (video, own) if len(own) > 1 else next(iter(alone.items()))
            frames = {n: _instances(file, read_json(file), "instances", source.skeleton) for n, file in own.items()}
            name = video.with_name(video.name + ".json")
        if not any(own for own in frames.values()):
            raise BadFileError(path, "whole file", expected="a body in at least one frame", found="zero people")
        is_3d = next(one for own in frames.values() for one in own).joints.shape[1] == 4
        units: Units = "relative" if is_3d else "pixels"
        return [self.build_clip(path, frames, source.skeleton, origin=source.origin, name=name, units=units)]


def _is_video(path: Path) -> bool:
    begin = head(path)
    return any(key in begin for key in VIDEO_KEYS)


def _frames_of_video(path: Path, skeleton: Skeleton | None) -> dict[int, list[Detection]]:
    content = read_json(path)
    entries = content.get("instance_info") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise BadFileError(path, "top level", expected="a list of frames", found=repr(entries)[:60])
    frames: dict[int, list[Detection]] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadFileError(path, f"entry {place}", expected="a frame", found=repr(entry)[:60])
        number = entry.get("frame_id", place)
        if type(number) is not int or number < 0 or number in frames:
            expected, found = "a number of its own for each frame", repr(number)[:60]
            raise BadFileError(path, f"entry {place}, key 'frame_id'", expected=expected, found=found)
        frames[number] = _instances(path, entry.get("instances"), f"frame {number}", skeleton)
    return frames


def _instances(path: Path, entries: Any, place: str, skeleton: Skeleton | None) -> list[Detection]:
    """Return the persons of a frame."""
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise BadFileError(path, place, expected="a list of instances", found=repr(entries)[:60])
    found = []
    for person, entry in enumerate(entries):
        where = f"{place}, instance {person}"
        joints = as_numbers(path, where, entry.get("keypoints"))
        if joints.ndim != 2 or joints.shape[1] not in (2, 3):
            raise BadFileError(path, where, expected="keypoints (K, 2) or (K, 3)", found=f"{joints.shape}")
        scores = as_numbers(path, where, entry.get("keypoint_scores", [1.0] * len(joints)))
        if scores.shape != joints.shape[:1]:
            raise BadFileError(path, where, expected=f"{len(joints)} keypoint_scores", found=f"{scores.shape}")
        is_3d = joints.shape[1] == 3
        own = by_number_of_joints(path, where, len(joints), KEYPOINTS_3D if is_3d else KEYPOINTS)
        if skeleton is not None and own != skeleton:
            raise BadFileError(path, where, expected=f"keypoints of {skeleton.name}", found=f"{len(joints)} keypoints")
        if is_3d:
            joints = joints[:, [0, 2, 1]] * np.array([1, 1, -1])  # z up -> y up
        rows = np.concatenate([joints, scores[:, None]], axis=1)[: own.num_recorded]
        track = entry.get("track_id")
        found.append(Detection(rows, str(track) if type(track) is int and track >= 0 else None))
    return found


def _first_skeleton(files: tuple[Path, ...]) -> Skeleton:
    """Return the skeleton of the first readable file with a person; raises the error of the first file without."""
    errors: list[InputError] = []
    for path in files:
        try:
            content = read_json(path)
            video = _is_video(path)
            entries = content.get("instance_info", []) if isinstance(content, dict) else content
            parts = [e.get("instances") for e in entries if isinstance(e, dict)] if video else [entries]
            for part in parts:
                for one in part if isinstance(part, list) else []:
                    joints = as_numbers(path, "first instance", one.get("keypoints") if isinstance(one, dict) else one)
                    is_3d = joints.ndim == 2 and joints.shape[1] == 3
                    known = KEYPOINTS_3D if is_3d else KEYPOINTS
                    return by_number_of_joints(path, "first instance", len(joints), known)
            raise BadFileError(path, "whole file", expected="a person in at least one frame", found="zero people")
        except BadFileError as error:
            errors.append(error)
    raise errors[0]
