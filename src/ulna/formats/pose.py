"""`.pose` files of the pose-format library: versions 0.0 to 0.2.

Source: the specification in sign-language-processing/pose (docs/specs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ulna.core import Clip, InputError, Skeleton
from ulna.formats.base import BadFileError, Source, list_files, named_skeleton
from ulna.formats.detections import PoseFormat
from ulna.formats.labels import labelled_source

BODY = ("POSE_LANDMARKS", "pose_keypoints_2d", "POSE_WORLD_LANDMARKS", "BODY_135", "body")
MOST_POINTS = 1 << 31


class Pose(PoseFormat):
    """Reads `.pose` files in pixels: by default the component of the body, with its names and bones.

    The third coordinate that MediaPipe estimates is not read. People are in the order of the file.
    """

    components: Literal["body", "all"] = "body"
    """Read the component of the body, or all components with hands and faces."""

    title = ".pose files of pose-format (2-D)"
    pattern = "*.pose"
    files_wanted = "*.pose"
    where = "video_to_pose of pose-format, and sign language corpora"
    cite = "Moryossef, Müller, Fahrni: pose-format, arXiv 2310.09066"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.pose", ".pose files")

        def skeleton_of(path: Path) -> Skeleton:
            return self._skeleton(path, _read(path))

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = _read(path)
        skeleton = self._skeleton(path, content)
        if skeleton != source.skeleton:
            expected, found = f"the points of {source.files[0].name}", f"{skeleton.num_recorded} other points"
            raise BadFileError(path, "header", expected=expected, found=found)
        chosen = self._points(path, content)
        rows = np.concatenate([content.position[..., :2], content.confidence[..., None]], axis=-1)[:, :, chosen]
        size = (content.width, content.height) if content.width and content.height else None
        tracks = tuple(str(person) for person in range(rows.shape[1]))
        return [
            self.clip_of_rows(
                path, rows, skeleton, tracks=tracks, origin=source.origin, image_size=size, fps=content.fps or None
            )
        ]

    def _chosen(self, path: Path, content: _Content) -> list[_Component]:
        if self.components == "all":
            return content.components
        own = [component for component in content.components if component.name in BODY]
        if not own:
            found = ", ".join(component.name for component in content.components)
            advice = "Read all components with --components all."
            raise BadFileError(path, "header", expected="a component of the body", found=found, advice=advice)
        return own[:1]

    def _points(self, path: Path, content: _Content) -> list[int]:
        return [component.start + k for component in self._chosen(path, content) for k in range(len(component.points))]

    def _skeleton(self, path: Path, content: _Content) -> Skeleton:
        names: list[str] = []
        edges: list[tuple[int, int]] = []
        components = self._chosen(path, content)
        for component in components:
            prefix = f"{component.name} " if len(components) > 1 else ""
            edges += [(len(names) + a, len(names) + b) for a, b in component.limbs]
            names += [prefix + point for point in component.points]
        return named_skeleton(path, "header", "pose", names, edges, expected="points of different names")


@dataclass
class _Component:
    name: str
    start: int
    points: list[str]
    limbs: list[tuple[int, int]]
    num_dimensions: int


@dataclass
class _Content:
    version: float
    width: int
    height: int
    components: list[_Component]
    fps: float = 0.0
    position: np.ndarray = field(default_factory=lambda: np.empty(0))  # (T, P, points, D)
    confidence: np.ndarray = field(default_factory=lambda: np.empty(0))  # (T, P, points)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        (size,) = self.numbers("H")
        if self.at + size > len(self.content):
            raise InputError("an unexpected end of the file")
        self.at += size
        return self.content[self.at - size : self.at].decode("utf-8")

    def floats(self, *shape: int) -> np.ndarray:
        num = 1
        for size in shape:
            num *= size
        if num > MOST_POINTS or self.at + 4 * num > len(self.content):
            raise InputError("an unexpected end of the file")
        values = np.frombuffer(self.content, "<f4", num, self.at)
        self.at += 4 * num
        return values.reshape(shape)


def _read(path: Path) -> _Content:
    """Read a file; raises BadFileError if it is damaged."""
    reader = _Reader(path.read_bytes())
    if not reader.content:
        raise BadFileError(path, "whole file", expected="a .pose file", found="an empty file")
    try:
        content = _header(reader)
        if round(content.version, 1) == 0.0:
            _frame_by_frame(reader, content)
        elif round(content.version, 1) in (0.1, 0.2):
            _arrays(reader, content)
        else:
            raise InputError(f"version {content.version:g}")
        if not content.position.size:
            raise InputError("no frames")
    except (struct.error, InputError, UnicodeDecodeError, ValueError) as error:
        raise BadFileError(
            path, "whole file", expected="a .pose file", found=f"what cannot be read ({error})"
        ) from None
    return content


def _header(reader: _Reader) -> _Content:
    (version,) = reader.numbers("f")
    width, height, _, num_components = reader.numbers("HHHH")
    components: list[_Component] = []
    start = 0
    for _ in range(num_components):
        name, form = reader.text(), reader.text()
        num_points, num_limbs, num_colours = reader.numbers("HHH")
        points = [reader.text() for _ in range(num_points)]
        limbs = [(a, b) for a, b in (reader.numbers("HH") for _ in range(num_limbs))]
        limbs = [(a, b) for a, b in limbs if a < num_points and b < num_points]
        for _ in range(num_colours):
            reader.numbers("HHH")
        if not form.endswith("C") or len(form) not in (3, 4):
            raise InputError(f"points of the form {form}")
        components.append(_Component(name, start, points, limbs, len(form) - 1))
        start += num_points
    return _Content(version, width, height, components)


def _arrays(reader: _Reader, content: _Content) -> None:
    if round(content.version, 1) == 0.1:
        fps, num_frames = reader.numbers("HH")
    else:
        (fps,), (num_frames,) = reader.numbers("f"), reader.numbers("I")
    (num_people,) = reader.numbers("H")
    num_points = sum(len(component.points) for component in content.components)
    dimensions = max((component.num_dimensions for component in content.components), default=0)
    content.fps = float(fps)
    if round(content.version, 1) == 0.1:  # the field holds 16 bits, which is too few for long files
        size = 4 * num_people * num_points * (dimensions + 1)
        num_frames = (len(reader.content) - reader.at) // size if size else 0
    content.position = reader.floats(num_frames, num_people, num_points, dimensions)
    content.confidence = reader.floats(num_frames, num_people, num_points)


def _frame_by_frame(reader: _Reader, content: _Content) -> None:
    fps, num_frames = reader.numbers("HH")
    num_points = sum(len(component.points) for component in content.components)
    frames: list[list[np.ndarray]] = []
    for _ in range(num_frames):
        (num_people,) = reader.numbers("H")
        people = []
        for _ in range(num_people):
            reader.numbers("h")  # id of the person, which the library does not use either
            rows = []
            for component in content.components:
                values = reader.floats(len(component.points), component.num_dimensions + 1)
                rows.append(values[:, [0, 1, -1]])
            people.append(np.concatenate(rows))
        frames.append(people)
    num_people = max((len(people) for people in frames), default=0)
    whole = np.zeros((num_frames, num_people, num_points, 3))
    for number, people in enumerate(frames):
        for person, joints in enumerate(people):
            whole[number, person] = joints
    content.fps = float(fps)
    content.position, content.confidence = whole[..., :2], whole[..., 2]
