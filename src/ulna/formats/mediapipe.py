"""MediaPipe landmarks as JSON, CSV or NumPy files, in common layouts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import numpy as np

from ulna.core import Clip, Units, get_skeleton
from ulna.formats.base import BadFileError, Source, head, list_files, read_json
from ulna.formats.detections import NUMBERED, Detection, PoseFormat, warn
from ulna.formats.labels import Labels
from ulna.formats.mediapipe_layouts import (
    KEYS,
    LISTS,
    NUM_LANDMARKS,
    depth_of,
    hips_at_origin,
    load,
    npy_shape,
)

SUFFIXES = (".json", ".npy", ".csv")


class MediaPipe(PoseFormat):
    """Reads the 33 body landmarks of MediaPipe's pose and holistic models from .json, .csv and .npy files.

    JSON: a list of frames (or an object with the list), each a list of 33 landmarks, one such list per person, or an
    object with pose_world_landmarks, pose_landmarks or landmarks. CSV: one row per frame (99 or 132 columns of
    coordinates) or per landmark (columns frame, landmark, x, y, z, visibility). NumPy: (T, 33, 3 or 4), (T, 99 or 132),
    or holistic vectors of 1662, 1629, 258 or 225 numbers, of which the body comes first. A folder of numbered .npy or
    .json files with one frame each is one clip.

    World landmarks are 3-D in metres; y and z are negated so that y points up. Image landmarks are 2-D normalised image
    coordinates, or pixels if `width` and `height` are given, which keeps the aspect ratio. Visibility is the
    confidence.
    """

    landmarks: Literal["auto", "world", "image"] = "auto"
    """Whether landmarks are in metres or relative to the image: by key, or by whether the hips are at the origin
    ("auto")."""
    depth: bool = False
    """Read image landmarks in three dimensions, with the depth that MediaPipe estimates."""

    title = "MediaPipe pose and holistic landmarks (2-D and 3-D)"
    pattern = "*.npy"
    files_wanted = ".json, .csv or .npy files with 33 landmarks per frame"
    where = "MediaPipe's pose and holistic landmarkers"
    cite = "Bazarevsky et al.: BlazePose, arXiv 2006.10204"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file seems to hold landmarks."""
        if path.suffix == ".npy":
            return True
        begin = head(path, 1 << 14)
        if path.suffix == ".json":
            return any(f'"{key}"'.encode() in begin for key in KEYS) or (b'"visibility"' in begin and b'"z"' in begin)
        if path.suffix == ".csv":
            first = begin.partition(b"\n")[0].lower()
            if b"scorer," in first[:10]:
                return False  # DeepLabCut
            return first.count(b",") in range(98, 140) or (b"landmark" in first and b"x" in first)
        return False

    def open(self, source: Path) -> Source:
        if source.is_file():
            files: tuple[Path, ...] = (source,)
        else:
            files = tuple(p for p in list_files(source, "*", "MediaPipe landmarks") if _is_candidate(p))
        origin = source if source.is_dir() else source.parent
        labels = Labels.read(self.labels)
        firsts = tuple(sorted(own[min(own)] for own in _videos(files).values()))
        if not firsts:
            raise BadFileError(source, "folder", expected=self.files_wanted, found="none")
        labels.check(firsts, origin)
        return Source(firsts, get_skeleton("mediapipe33"), labels.classes, num_persons=None, origin=origin)

    def read(self, path: Path, source: Source) -> list[Clip]:
        numbers = next((own for own in _videos_in(path.parent).values() if path in own.values()), {0: path})
        name = path if len(numbers) == 1 else _video_name(path)
        first = min(numbers) if len(numbers) > 1 else 0
        rows, units = self._positions(path, *_joined(path, numbers, self.landmarks))
        if rows.shape[1] == 1:
            clip = self.clip_of_rows(
                path, rows, source.skeleton, tracks=None, origin=source.origin, name=name, units=units,
                first_frame=first,
            )  # fmt: skip
            return [clip]
        frames = {
            first + t: [Detection(person) for person in frame if np.isfinite(person[:, 0]).any()]
            for t, frame in enumerate(rows)
        }
        return [self.build_clip(path, frames, source.skeleton, origin=source.origin, name=name, units=units)]

    def _positions(self, path: Path, rows: np.ndarray, world: bool | None) -> tuple[np.ndarray, Units]:
        """Return landmarks in the axes of clips, with confidence in the last column, and their units."""
        is_world = hips_at_origin(rows) if world is None else world
        if self.landmarks != "auto":
            is_world = self.landmarks == "world"
        if is_world:
            return rows * np.array([1, -1, -1, 1]), "metres"
        size = self.image_size
        if size is None:
            warn(f"{path.name}: unknown image size, so the aspect ratio is not corrected. Set --width and --height.")
        else:
            rows = rows * np.array([size[0], size[1], size[0], 1])
        if self.depth:
            return rows * np.array([1, -1, -1, 1]), "relative"
        return rows[..., [0, 1, 3]], "pixels" if size else "relative"


def _joined(path: Path, numbers: dict[int, Path], landmarks: str) -> tuple[np.ndarray, bool | None]:
    """Return the landmarks (T, P, 33, 4) of a clip's files, and whether they are world landmarks (None if unknown)."""
    parts = [load(file, landmarks) for file in numbers.values()]
    known = {world for _, world in parts if world is not None}
    world = known == {True} if known else None
    if len(parts) == 1:
        return parts[0][0], world
    first, last = min(numbers), max(numbers)
    if last - first > 10_000 + 1000 * len(parts):
        raise BadFileError(path, "file names", expected="consecutive numbers", found=f"{first} to {last}")
    num_people = max(rows.shape[1] for rows, _ in parts)
    whole = np.full((last - first + 1, num_people, NUM_LANDMARKS, 4), np.nan)
    for number, (rows, _) in zip(numbers, parts, strict=True):
        whole[number - first, : rows.shape[1]] = rows[0]
    return whole, world


@functools.lru_cache(maxsize=4)
def _listed(folder: Path, stamp: int) -> dict[Path, dict[int, Path]]:  # noqa: ARG001
    return _videos(_siblings(folder))


def _videos_in(folder: Path) -> dict[Path, dict[int, Path]]:
    """Return the files of a folder by clip and number of frame; the listing is kept until the folder changes."""
    return _listed(folder, folder.stat().st_mtime_ns)


def _siblings(folder: Path) -> tuple[Path, ...]:
    found = (path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    return tuple(sorted(path for path in found if _is_candidate(path)))


def _is_candidate(path: Path) -> bool:
    """Return whether a file may hold landmarks; tables beside them, such as labels, do not."""
    return path.suffix in SUFFIXES and (path.suffix != ".csv" or MediaPipe.recognises(path))


def _videos(files: tuple[Path, ...]) -> dict[Path, dict[int, Path]]:
    """Group files: each is a clip, except for numbered files of a single frame, which together are one."""
    videos: dict[Path, dict[int, Path]] = {}
    for path in files:
        match = NUMBERED.fullmatch(path.stem)
        if match and _is_single_frame(path):
            videos.setdefault(_video_name(path), {})[int(match[2])] = path
        else:
            videos[path] = {0: path}
    return {video: dict(sorted(own.items())) for video, own in videos.items()}


def _video_name(path: Path) -> Path:
    match = NUMBERED.fullmatch(path.stem)
    own = path.parent / f"{match[1]}{path.suffix}" if match and match[1] else None
    return own or path.parent.with_name(f"{path.parent.name}{path.suffix}")


def _is_single_frame(path: Path) -> bool:
    """Return whether a file holds one frame: a vector or 33 landmarks, or one JSON object with landmarks."""
    if path.suffix == ".npy":
        shape = npy_shape(path)
        return shape is not None and (len(shape) == 1 or shape in ((NUM_LANDMARKS, 3), (NUM_LANDMARKS, 4)))
    if path.suffix != ".json":
        return False
    try:
        content = read_json(path)
    except BadFileError:
        return False
    if isinstance(content, dict):
        return not any(isinstance(content.get(key), list) for key in LISTS) and bool(set(content) & set(KEYS))
    return depth_of(content) == 1
