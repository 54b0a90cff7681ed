"""COCO keypoints: results, and annotations with their categories."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import Clip, InputError, Skeleton, known_skeleton
from ulna.formats.base import BadFileError, Source, head, list_files, read_json
from ulna.formats.detections import Detection, PoseFormat, flat_keypoints, warn
from ulna.formats.labels import labelled_source

KEYPOINTS = {17: "coco17", 23: "coco_wholebody", 133: "coco_wholebody", 26: "halpe26", 18: "openpose18"}


class COCO(PoseFormat):
    """Reads keypoint results (a list of image_id, keypoints and score) and annotation files in COCO's form.

    Image ids are the numbers of frames. Where most of them do not follow one another, images are no video: each is a
    clip of one frame. Annotation files may define other keypoints, whose names and bones are read; their visibility
    flags 0, 1 and 2 are kept as confidences.
    """

    title = "COCO keypoint results and annotations (2-D)"
    pattern = "*.json"
    files_wanted = "*.json with image_id and keypoints"
    where = "detectron2, MMPose, and annotation tools such as CVAT and Label Studio"
    cite = "Lin et al.: Microsoft COCO, ECCV 2014"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file holds keypoints by numbers of images."""
        if path.suffix != ".json":
            return False
        begin = head(path, 1 << 14)
        if b'"annotations"' in begin or b'"images"' in begin:
            return True
        is_image = any(ending in begin for ending in (b'.jpg"', b'.png"', b'.jpeg"'))
        return b'"image_id"' in begin and b'"keypoints"' in begin and not is_image

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.json", "COCO keypoints")

        def skeleton_of(path: Path) -> Skeleton:
            return _content(path)[1]

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        entries, skeleton, sizes = _content(path)
        if skeleton != source.skeleton:
            found = f"those of {skeleton.name}"
            raise BadFileError(path, "keypoints", expected=f"those of {source.skeleton.name}", found=found)
        frames: dict[int, list[Detection]] = {}
        for place, entry in enumerate(entries):
            number, where = entry.get("image_id"), f"entry {place}"
            if type(number) is not int or number < 0:
                raise BadFileError(path, f"{where}, image_id", expected="a whole number", found=repr(number)[:60])
            joints = _joints(path, where, entry, skeleton)
            track = entry.get("track_id")
            frames.setdefault(number, []).append(Detection(joints, str(track) if type(track) is int else None))
        numbers = sorted(frames)
        follow = sum(b - a == 1 for a, b in itertools.pairwise(numbers))
        if 2 * follow >= len(numbers) - 1:
            size = sizes.get(numbers[0]) if numbers else None
            if len(different := {sizes[number] for number in numbers if number in sizes}) > 1:
                warn(f"{path.name}: images have {len(different)} different sizes; that of the first is stored")
            return [self.build_clip(path, frames, skeleton, origin=source.origin, image_size=size)]
        clips, empty = [], 0
        for number in numbers:
            name = path.with_name(f"{path.stem}_{number}.json")
            try:
                clips.append(
                    self.build_clip(
                        path, {number: frames[number]}, skeleton, origin=source.origin, name=name,
                        image_size=sizes.get(number),
                    )
                )  # fmt: skip
            except BadFileError:
                empty += 1
        if not clips:
            raise BadFileError(path, "whole file", expected="a body in at least one image", found="zero people")
        note = f", {empty} without a visible joint left out" if empty else ""
        warn(f"{path.name}: image ids do not follow one another; each of {len(clips)} images is a clip{note}")
        return clips


def _content(path: Path) -> tuple[list[dict[str, Any]], Skeleton, dict[int, tuple[int, int]]]:
    """Return the detections, their skeleton, and sizes of images."""
    content = read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadFileError(path, "top level", expected="a list of detections", found=repr(entries)[:60])
    entries = [entry for entry in entries if entry.get("keypoints")]
    if not entries:
        raise BadFileError(path, "whole file", expected="a detection with keypoints", found="zero people")
    own = _category(path, content) if isinstance(content, dict) else None
    skeleton = own or flat_keypoints(path, "entry 0", entries[0]["keypoints"], KEYPOINTS)[1]
    return entries, skeleton, _sizes(content.get("images")) if isinstance(content, dict) else {}


def _category(path: Path, content: dict[str, Any]) -> Skeleton | None:
    """Return the skeleton that an annotation file defines."""
    categories = content.get("categories")
    first = (
        next((c for c in categories if isinstance(c, dict) and c.get("keypoints")), None)
        if isinstance(categories, list)
        else None
    )
    if first is None:
        return None
    try:
        names = [str(name) for name in first["keypoints"]]
        pairs = [(int(a), int(b)) for a, b in first.get("skeleton") or []]
        base = 0 if any(0 in pair for pair in pairs) else 1  # COCO counts from 1, some tools from 0
        edges = [(a - base, b - base) for a, b in pairs]
        return known_skeleton(names) or Skeleton.from_edges(str(first.get("name") or "coco"), names, edges)
    except (InputError, ValueError, TypeError) as error:
        raise BadFileError(path, "categories", expected="names and bones of keypoints", found=str(error)) from None


def _joints(path: Path, where: str, entry: dict[str, Any], skeleton: Skeleton) -> np.ndarray:
    if skeleton.name in KEYPOINTS.values():
        joints, own = flat_keypoints(path, where, entry["keypoints"], KEYPOINTS)
        num, fits = own.num_recorded, own == skeleton
    else:
        num = len(entry["keypoints"]) // 3 if isinstance(entry["keypoints"], list) else 0
        joints, _ = flat_keypoints(path, where, entry["keypoints"], {num: "coco17"})
        fits = num == skeleton.num_recorded
        joints = np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3)
    if not fits:
        raise BadFileError(path, where, expected=f"{skeleton.num_recorded} keypoints", found=str(num))
    return joints


def _sizes(images: Any) -> dict[int, tuple[int, int]]:
    """Return width and height by number of image."""
    sizes: dict[int, tuple[int, int]] = {}
    for image in images if isinstance(images, list) else []:
        number, width, height = (
            image.get(key) if isinstance(image, dict) else None for key in ("id", "width", "height")
        )
        if type(number) is int and type(width) is int and type(height) is int and min(width, height) > 0:
            sizes[number] = (width, height)
    return sizes
