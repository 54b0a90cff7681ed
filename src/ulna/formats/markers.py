"""Base class of formats of marker positions from motion capture."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ulna.core import Clip, Count, InputError, Skeleton, UlnaWarning, known_skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files
from ulna.formats.bvh import METRES
from ulna.formats.labels import Labels, labelled_source

Up = Literal["auto", "x", "y", "z"]


@dataclass(frozen=True)
class Recording:
    """Content of a file of markers.

    Args:
        markers: Name of each marker.
        position: Positions (T, K, 3) in the unit and axes of the file, NaN where a marker is missing.
        fps: Frames per second.
        units: Unit of the positions as the file states it, "" if it states none.
        up: Axis that points up as the file states it, with its sign.
        first_frame: Number of the first frame.
    """

    markers: tuple[str, ...]
    position: np.ndarray
    fps: float
    units: str
    up: str
    first_frame: int = 0


class MarkerFormat(Format, ABC):
    """Options of formats of marker positions, which are converted to metres, y up."""

    units: Literal["auto", "m", "cm", "mm", "inch"] = "auto"
    """Unit of the positions; that which the file states ("auto")."""
    up: Up = "auto"
    """Axis that points up; that which the file states, or the usual one of the format ("auto")."""
    every: Count = 1
    """Keep every n-th frame."""
    bones: str = ""
    """Pairs of markers that bones connect, for drawing: "A-B,B-C"."""
    labels: Path | None = None
    """CSV file with columns file and label, and optionally subject, view, setup, group and split:NAME."""

    terms = "depend on the source of the files"

    @abstractmethod
    def load(self, path: Path) -> Recording:
        """Return the content of a file; raises BadFileError if it is damaged."""

    def open(self, source: Path) -> Source:
        """List the files; the first readable one decides the markers."""
        files = list_files(source, self.pattern, self.title)

        def skeleton_of(path: Path) -> Skeleton:
            return self._skeleton(path, self.load(path).markers)

        return labelled_source(files, source, self.labels, skeleton_of)

    def read(self, path: Path, source: Source) -> list[Clip]:
        """Read one file; markers that are missing in it are missing joints."""
        found = self.load(path)
        skeleton = source.skeleton
        recorded = skeleton.joints[: skeleton.num_recorded]
        places = [found.markers.index(joint) if joint in found.markers else None for joint in recorded]
        if known_skeleton(found.markers) == skeleton:
            places = list(range(len(found.markers)))
        if not any(place is not None for place in places):
            expected, markers = f"the markers of {source.files[0].name}", ", ".join(found.markers)
            raise BadFileError(path, "markers", expected=expected, found=markers)
        other = [marker for marker in found.markers if marker not in recorded]
        if other and known_skeleton(found.markers) != skeleton:
            message = f"{path.name}: markers left out that {source.files[0].name} does not have: {', '.join(other[:5])}"
            warnings.warn(message, UlnaWarning, stacklevel=2)
        position = np.full((len(found.position), len(places), 3), np.nan)
        for joint, place in enumerate(places):
            if place is not None:
                position[:, joint] = found.position[:, place]
        position = upright(position * self._metres(path, found), found.up if self.up == "auto" else self.up)
        position = position[:: self.every, None]
        visible = np.isfinite(position).all(axis=-1)
        if not visible.any():
            raise BadFileError(path, "whole file", expected="a marker in at least one frame", found="none")
        numbers = found.first_frame + np.arange(0, len(found.position), self.every)
        known = Labels.read(self.labels).of(path, source.origin)
        return [
            Clip(
                id=known.id,
                position=as_float32(path, np.where(visible[..., None], position, 0), recorded),
                skeleton=skeleton,
                visible=visible,
                fps=found.fps / self.every,
                frame_numbers=None if found.first_frame == 0 and self.every == 1 else numbers,
                **known.metadata,
            )
        ]

    def _metres(self, path: Path, found: Recording) -> float:
        if self.units != "auto":
            return METRES[self.units]
        names = {"": 1.0, "meters": 1.0, "metres": 1.0, "meter": 1.0, "millimeters": 0.001, "centimeters": 0.01}
        factor = (METRES | names).get(found.units.strip().lower())
        if factor is None:
            advice = "State the unit with --units."
            raise BadFileError(path, "units", expected="m, cm or mm", found=repr(found.units), advice=advice)
        return factor

    def _skeleton(self, path: Path, markers: Sequence[str]) -> Skeleton:
        try:
            return known_skeleton(markers) or Skeleton.from_edges("markers", markers, edges_of(self.bones, markers))
        except InputError as error:
            raise BadFileError(path, "markers", expected="markers of different names", found=str(error)) from None


def edges_of(bones: str, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the index pairs of bones written as "A-B,B-C"; raises InputError for unknown names."""
    known = list(names)
    edges = []
    for bone in filter(None, bones.split(",")):
        ends = [end.strip() for end in bone.split("-")]
        if len(ends) != 2 or not set(ends) <= set(known):
            raise InputError(f"bones: expected pairs of {', '.join(known)}, such as A-B,B-C, found {bone!r}")
        edges.append((known.index(ends[0]), known.index(ends[1])))
    return edges


def upright(position: np.ndarray, up: str) -> np.ndarray:
    """Rotate positions (..., 3) so that an axis of the file ("x", "y", "z", "-z", ...) points up as y."""
    axis = "xyz".index(up[-1].lower())
    sign = -1.0 if up.startswith("-") else 1.0
    one, two = (axis + 1) % 3, (axis + 2) % 3  # right-handed: one x two = axis
    x, y, z = position[..., two], sign * position[..., axis], sign * position[..., one]
    if axis == 1:
        x, z = sign * position[..., 0], position[..., 2]
    elif axis == 2:
        x, z = position[..., 0], -sign * position[..., 1]
    return np.stack([x, y, z], axis=-1)
