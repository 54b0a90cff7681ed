"""AlphaPose: JSON results, as a list or by image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ulna.core import Clip, Skeleton
from ulna.formats.base import BadFileError, Source, head, list_files, read_json
from ulna.formats.detections import Detection, PoseFormat, flat_keypoints, frame_number
from ulna.formats.labels import labelled_source

COCO_KEYS = (b'"annotations"', b'"images"', b'"categories"')
KEYPOINTS = {17: "coco17", 26: "halpe26", 136: "halpe26", 16: "mpii16", 18: "openpose18"}


class AlphaPose(PoseFormat):
    """Reads `alphapose-results.json`: a list of detections with an image_id, or lists of detections by image.

    17 keypoints are COCO's, 26 and 136 Halpe's (of 136 the first 26 are read), 16 MPII's. The number of a frame is the
    last number in the name of its image. Boxes and detection scores are not read.
    """

    title = "AlphaPose results (2-D)"
    pattern = "*.json"
    files_wanted = "*.json with image_id, keypoints and score"
    where = "AlphaPose's demo_inference.py --outdir FOLDER"
    cite = "Fang et al.: AlphaPose, TPAMI 2022"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file holds keypoints by names of images."""
        if path.suffix != ".json":
            return False
        begin = head(path, 1 << 14)
        is_image = any(ending in begin for ending in (b'.jpg"', b'.png"', b'.jpeg"'))
        return is_image and b'"keypoints"' in begin and not any(key in begin for key in COCO_KEYS)

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.json", "AlphaPose results")

        def skeleton_of(path: Path) -> Skeleton:
            for _, entry in _entries(path):
                return flat_keypoints(path, "first detection", entry.get("keypoints"), KEYPOINTS)[1]
            raise BadFileError(path, "whole file", expected="a detection", found="zero people")

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        frames: dict[int, list[Detection]] = {}
        names: dict[int, str] = {}
        for place, (image, entry) in enumerate(_entries(path)):
            number = frame_number(image)
            if number is None or names.setdefault(number, image) != image:
                expected = "names of images with a number of its own for each frame"
                raise BadFileError(path, f"detection {place}", expected=expected, found=repr(image)[:60])
            joints, own = flat_keypoints(path, f"detection {place}", entry.get("keypoints"), KEYPOINTS)
            if own != source.skeleton:
                expected, found = f"keypoints of {source.skeleton.name}", f"{own.num_recorded} keypoints"
                raise BadFileError(path, f"detection {place}", expected=expected, found=found)
            frames.setdefault(number, []).append(Detection(joints, _track(entry.get("idx"))))
        return [self.build_clip(path, frames, source.skeleton, origin=source.origin)]


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the name of the image and the values of each detection."""
    content = read_json(path)
    if isinstance(content, dict):
        pairs = [(image, entry) for image, entries in content.items() for entry in _listed(path, image, entries)]
    elif isinstance(content, list):
        pairs = [(entry.get("image_id") if isinstance(entry, dict) else None, entry) for entry in content]
    else:
        raise BadFileError(path, "top level", expected="a list of detections", found=repr(content)[:60])
    for place, (image, entry) in enumerate(pairs):
        if not isinstance(entry, dict) or not isinstance(image, str | int):
            raise BadFileError(path, f"detection {place}", expected="image_id and keypoints", found=repr(entry)[:60])
    return [(str(image), entry) for image, entry in pairs]


def _listed(path: Path, image: str, entries: Any) -> list[Any]:
    if isinstance(entries, dict) and isinstance(entries.get("bodies"), list):  # the form of the CMU format
        entries = [body | {"keypoints": body.get("joints")} for body in entries["bodies"] if isinstance(body, dict)]
    if not isinstance(entries, list):
        raise BadFileError(path, image, expected="a list of detections", found=repr(entries)[:60])
    return entries


def _track(value: Any) -> str | None:
    """Return a track id; AlphaPose writes a number or a list of one."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(int(value)) if value == int(value) else str(value)
