"""BVH motion capture files of any hierarchy; positions are computed by forward kinematics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ulna.core import Clip, Count, InputError, Skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files, read_text
from ulna.formats.labels import Labels

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Hierarchy:
    """Joints of a BVH file; `channels[k]` lists the (kind, axis) of joint k's columns in file order."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def num_columns(self) -> int:
        return sum(map(len, self.channels))


class BVH(Format):
    """Reads .bvh files that share one hierarchy, converted to metres with y up. End sites are ignored.

    Position channels of a joint, including those of the root, replace its OFFSET. Labels, subjects and splits come from
    a CSV table (`--labels`).
    """

    units: Literal["m", "cm", "mm", "inch"] = "cm"
    """Unit of the offsets and positions in the files."""
    up: Literal["y", "z"] = "y"
    """Axis that points up in the files."""
    drop_first: Annotated[int, Field(ge=0)] = 0
    """Number of frames to drop at the start, such as an inserted T-pose."""
    every: Count = 1
    """Keep every n-th frame."""
    labels: Path | None = None
    """CSV file with columns file and label, and optionally subject, view, setup and split:NAME (train or test)."""

    title = "BVH motion capture files"
    pattern = "*.bvh"
    files_wanted = "*.bvh"
    where = "motion capture systems, game engines, Blender; conversions of mocap.cs.cmu.edu"
    terms = "depend on the source of the files"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.bvh", "BVH files")
        labels = Labels.read(self.labels)
        labels.check(files, source)
        return Source(files, _first_skeleton(files), labels.classes, origin=source)

    def read(self, path: Path, source: Source) -> list[Clip]:
        position, hierarchy, fps = read_positions(path, units=self.units, up=self.up)
        if (hierarchy.joints, hierarchy.parents) != (source.skeleton.joints, source.skeleton.parents):
            raise BadFileError(
                path, "HIERARCHY", expected=f"the {source.skeleton.num_joints} joints of {source.files[0].name}",
                found=f"another hierarchy of {len(hierarchy.joints)} joints",
                advice="Prepare files of another hierarchy as another dataset.",
            )  # fmt: skip
        kept = as_float32(path, position[self.drop_first :: self.every, None], hierarchy.joints)
        if not len(kept):
            raise BadFileError(path, "MOTION", expected=f"more than {self.drop_first} frames", found=str(len(position)))
        known = Labels.read(self.labels).of(path, source.origin)
        return [Clip(id=known.id, position=kept, skeleton=source.skeleton, fps=fps / self.every, **known.metadata)]


def read_positions(path: Path, *, units: str = "cm", up: str = "y") -> tuple[np.ndarray, Hierarchy, float]:
    """Return joint positions (T, K, 3) in metres, y up, their hierarchy, and the number of frames per second.

    Raises BadFileError if the file is damaged.
    """
    hierarchy, motion, fps = _split(path)
    position = _forward_kinematics(hierarchy, motion) * METRES[units]
    if up == "z":
        position = np.stack([position[..., 0], position[..., 2], -position[..., 1]], axis=-1)
    return position, hierarchy, fps


def _first_skeleton(files: Sequence[Path]) -> Skeleton:
    """Return the skeleton of the first readable file; raises the error of the first file if none is readable."""
    errors = []
    for path in files:
        try:
            hierarchy, _, _ = _split(path)
            return Skeleton.from_joints("bvh", hierarchy.joints, hierarchy.parents)
        except ValueError as error:
            errors.append(error if isinstance(error, BadFileError) else _unnamed(path, error))
    raise errors[0]


def _unnamed(path: Path, error: ValueError) -> BadFileError:
    return BadFileError(path, "HIERARCHY", expected="joints with unique names", found=str(error))


def _split(path: Path) -> tuple[Hierarchy, np.ndarray, float]:
    text = read_text(path)
    head, found, tail = text.partition("MOTION")
    if not found or "HIERARCHY" not in head:
        raise BadFileError(path, "whole file", expected="the sections HIERARCHY and MOTION", found="no such section")
    hierarchy = _parse_hierarchy(path, head)
    lines = tail.strip().splitlines()
    try:
        frames, seconds_line = lines[0].partition(":"), lines[1].partition(":")
        num_frames, seconds = int(frames[2]), float(seconds_line[2])
        if (frames[0].strip(), seconds_line[0].strip()) != ("Frames", "Frame Time"):
            raise ValueError
        if num_frames < 1 or not 1e-5 < seconds < 1e5:
            raise ValueError
    except (ValueError, IndexError):
        shown_lines = repr(" / ".join(lines[:2])[:80])
        raise BadFileError(
            path, "MOTION", expected="'Frames: N' and 'Frame Time: SECONDS'", found=shown_lines
        ) from None
    rows = [words for line in lines[2:] if (words := line.split())]
    if len(rows) != num_frames:
        raise BadFileError(path, "MOTION", expected=f"{num_frames} rows, as Frames says", found=f"{len(rows)} rows")
    for number, words in enumerate(rows):
        if len(words) != hierarchy.num_columns:
            expected = f"{hierarchy.num_columns} numbers, one per channel"
            raise BadFileError(path, f"MOTION, frame {number}", expected=expected, found=f"{len(words)}")
    try:
        values = np.fromiter((float(word) for words in rows for word in words), np.float64)
    except ValueError as error:
        raise BadFileError(path, "MOTION", expected="numbers", found=str(error)) from None
    return hierarchy, values.reshape(num_frames, -1), 1 / seconds


def _parse_hierarchy(path: Path, head: str) -> Hierarchy:
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[tuple[str, str], ...]] = []
    stack: list[int] = []  # joints whose braces are open; -1 is an end site
    opening = -1
    words: Iterator[str] = iter(head.replace("{", " { ").replace("}", " } ").split())
    try:
        for word in words:
            if word in ("ROOT", "JOINT"):
                opening = len(joints)
                joints.append(next(words))
                parents.append(stack[-1] if stack else -1)
            elif word == "End":
                next(words)
                opening = -1
            elif word == "{":
                stack.append(opening)
            elif word == "}":
                stack.pop()
            elif word == "OFFSET":
                offset = [float(next(words)) for _ in range(3)]
                if stack[-1] >= 0:
                    offsets.append(offset)
            elif word == "CHANNELS":
                names = [next(words) for _ in range(int(next(words)))]
                channels.append(tuple((name[1:].lower(), name[0].lower()) for name in names))
        kinds = {kind for joint in channels for kind in joint}
        if stack or not any(channels) or parents.count(-1) != 1 or not len(joints) == len(offsets) == len(channels):
            raise InputError("joints, offsets, channels and braces do not match")
        if unknown := {k for k in kinds if k[0] not in ("position", "rotation") or k[1] not in AXES}:
            raise InputError(f"unknown channels {sorted(unknown)}")
    except (ValueError, IndexError, StopIteration) as error:
        place = f"HIERARCHY, joint {joints[-1]}" if joints else "HIERARCHY"
        found = str(error) or "an unexpected end"
        raise BadFileError(path, place, expected="joints with OFFSET and CHANNELS in braces", found=found) from None
    return Hierarchy(tuple(joints), tuple(parents), np.array(offsets), tuple(channels))


def _forward_kinematics(hierarchy: Hierarchy, motion: np.ndarray) -> np.ndarray:
    """Return positions (T, K, 3) in file units; rotations multiply in channel order, in the parent's coordinates."""
    num_frames, column = len(motion), 0
    position = np.zeros((num_frames, len(hierarchy.joints), 3))
    rotations: list[np.ndarray] = []
    for k, parent in enumerate(hierarchy.parents):
        local = np.broadcast_to(np.eye(3), (num_frames, 3, 3))
        shift = np.broadcast_to(hierarchy.offsets[k], (num_frames, 3)).copy()
        for kind, axis in hierarchy.channels[k]:
            value, column = motion[:, column], column + 1
            if kind == "position":
                shift[:, AXES[axis]] = value
            else:
                local = local @ rotation_about(axis, np.radians(value))
        if parent < 0:
            position[:, k], rotation = shift, local
        else:
            position[:, k] = position[:, parent] + np.einsum("tij,tj->ti", rotations[parent], shift)
            rotation = rotations[parent] @ local
        rotations.append(rotation)
    return position


def rotation_about(axis: str, angle: np.ndarray) -> np.ndarray:
    """Return right-handed rotation matrices (T, 3, 3) about an axis."""
    i = AXES[axis]
    j, k = (i + 1) % 3, (i + 2) % 3
    matrices = np.zeros((len(angle), 3, 3))
    matrices[:, i, i] = 1
    matrices[:, j, j] = matrices[:, k, k] = np.cos(angle)
    matrices[:, k, j] = np.sin(angle)
    matrices[:, j, k] = -np.sin(angle)
    return matrices
