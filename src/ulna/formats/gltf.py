"""glTF 2.0 and GLB: animated characters; positions are computed by forward kinematics.

Source: glTF 2.0 specification, Khronos Group.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from scipy.spatial.transform import Rotation

from ulna.core import Clip, InputError, Positive, Skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files
from ulna.formats.labels import Labels, labelled_source

TYPES = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
JSON, BINARY = 0x4E4F534A, 0x004E4942
MOST_FRAMES = 1_000_000
PATHS = {"translation": 3, "rotation": 4, "scale": 3}


class GLTF(Format):
    """Reads the animations of .glb and .gltf files: the joints of all skins, in metres, y up.

    Each animation is one clip, sampled at `fps`: linearly (rotations on the shortest arc), stepwise or by cubic
    splines, as the file states. Meshes, materials and morph targets are not read.
    """

    fps: Positive = 30.0
    """Frames per second to sample the animation at."""
    labels: Path | None = None
    """CSV file with columns file and label, and optionally subject, view, setup, group and split:NAME."""

    title = "glTF and GLB character animations"
    pattern = "*.gl[bt]*"
    files_wanted = "*.glb or *.gltf with a skin and an animation"
    where = "Blender, Mixamo, game engines, Khronos sample assets"
    terms = "depend on the source of the files"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.gl[bt]*", "glTF files")

        def skeleton_of(path: Path) -> Skeleton:
            return _Scene.of(path).skeleton

        return labelled_source(files, source, self.labels, skeleton_of)

    def read(self, path: Path, source: Source) -> list[Clip]:
        scene = _Scene.of(path)
        if (scene.skeleton.joints, scene.skeleton.parents) != (source.skeleton.joints, source.skeleton.parents):
            expected, found = f"the joints of {source.files[0].name}", f"{scene.skeleton.num_joints} other joints"
            raise BadFileError(path, "skins", expected=expected, found=found)
        animations = scene.content.get("animations") or []
        clips = []
        for number, animation in enumerate(animations):
            try:
                if not any(channel["target"].get("path") in PATHS for channel in animation["channels"]):
                    continue  # morph targets only
                position = scene.positions(number, self.fps)
            except _DAMAGE as error:
                raise _bad(path, error) from None
            name = path if len(animations) == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
            known = Labels.read(self.labels).of(name, source.origin)
            kept = as_float32(path, position[:, None], scene.skeleton.joints)
            clips.append(Clip(id=known.id, position=kept, skeleton=scene.skeleton, fps=self.fps, **known.metadata))
        return clips


_DAMAGE = (InputError, KeyError, IndexError, TypeError, ValueError, struct.error, AttributeError, OverflowError)


def _bad(path: Path, error: Exception) -> BadFileError:
    found = f"what cannot be read ({type(error).__name__}: {error})"
    return BadFileError(path, "whole file", expected="a glTF file with a skin and an animation", found=found)


@dataclass(frozen=True)
class _Scene:
    """Nodes of a file, and the joints of its skins."""

    path: Path
    content: dict[str, Any]
    buffers: list[bytes]
    joints: list[int]
    parent_of: dict[int, int]
    skeleton: Skeleton

    @classmethod
    def of(cls, path: Path) -> _Scene:
        """Read a file; raises BadFileError if it is damaged or has no skin or no animation."""
        try:
            content, binary = _parts(path)
            if not content.get("animations"):
                raise InputError("no animation")
            nodes = content["nodes"]
            skins = content.get("skins") or []
            animated = sorted(
                {c["target"]["node"] for a in content["animations"] for c in a["channels"] if "node" in c["target"]}
            )
            joints = [
                int(node) for node in (dict.fromkeys(j for s in skins for j in s["joints"]) if skins else animated)
            ]
            parent_of: dict[int, int] = {}
            for number, node in enumerate(nodes):
                for child in node.get("children", []):
                    if child in parent_of or not 0 <= child < len(nodes):
                        raise InputError("a node with two parents, or a child that is missing")
                    parent_of[child] = number
            _refuse_cycles(parent_of, len(nodes))
            parents = [_parent_joint(joint, joints, parent_of) for joint in joints]
            names = [str(nodes[joint].get("name") or f"node {joint}") for joint in joints]
            skeleton = Skeleton.from_joints("gltf", names, parents)
            buffers = [_buffer(path, entry, binary) for entry in content.get("buffers", [])]
        except _DAMAGE as error:
            raise _bad(path, error) from None
        return cls(path, content, buffers, joints, parent_of, skeleton)

    def accessor(self, number: int) -> np.ndarray:
        """Return the values (n, width) of an accessor, in float64."""
        entry = self.content["accessors"][number]
        view = self.content["bufferViews"][entry["bufferView"]]
        dtype, width, count = np.dtype("<" + TYPES[entry["componentType"]]), WIDTHS[entry["type"]], int(entry["count"])
        if "sparse" in entry or not 0 < count <= 1 << 24:
            raise InputError("an accessor that is sparse, empty or too large")
        start = int(view.get("byteOffset", 0)) + int(entry.get("byteOffset", 0))
        stride = int(view.get("byteStride", dtype.itemsize * width))
        data = self.buffers[view["buffer"]]
        if (
            start < 0
            or stride < dtype.itemsize * width
            or start + stride * (count - 1) + dtype.itemsize * width > len(data)
        ):
            raise InputError("an accessor outside its buffer")
        values = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize)).astype(np.float64)
        if entry.get("normalized"):
            values = np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def positions(self, animation: int, fps: float) -> np.ndarray:
        """Return the positions (T, K, 3) of the joints over an animation."""
        channels = self.content["animations"][animation]["channels"]
        samplers = self.content["animations"][animation]["samplers"]
        inputs = {entry["input"]: self.accessor(entry["input"])[:, 0] for entry in samplers}
        begin = min(float(times[0]) for times in inputs.values())
        end = max(float(times[-1]) for times in inputs.values())
        if not all(np.isfinite(times).all() and (np.diff(times) > 0).all() for times in inputs.values()):
            raise InputError("times that do not increase")
        if (end - begin) * fps > MOST_FRAMES:
            raise InputError(f"an animation of {end - begin:g} seconds")
        times = begin + np.arange(round((end - begin) * fps) + 1) / fps
        animated: dict[tuple[int, str], np.ndarray] = {}
        for channel in channels:
            sampler, target = samplers[channel["sampler"]], channel["target"]
            if target["path"] in PATHS and "node" in target:
                animated[target["node"], target["path"]] = self._sampled(sampler, target["path"], times)
        world: dict[int, np.ndarray] = {}
        needed = {node for joint in self.joints for node in self._chain(joint)}
        for node in sorted(needed, key=lambda node: len(self._chain(node))):
            local = self._local(node, animated, len(times))
            world[node] = world[self.parent_of[node]] @ local if node in self.parent_of else local
        return np.stack([world[joint][:, :3, 3] for joint in self.joints], axis=1)

    def _chain(self, node: int) -> list[int]:
        """Return a node and its ancestors."""
        chain = [node]
        while chain[-1] in self.parent_of:
            chain.append(self.parent_of[chain[-1]])
        return chain

    def _sampled(self, sampler: dict[str, Any], path: str, times: np.ndarray) -> np.ndarray:
        """Return the values (T, width) of a sampler at given times."""
        keys, values = self.accessor(sampler["input"])[:, 0], self.accessor(sampler["output"])
        kind = sampler.get("interpolation", "LINEAR")
        width = PATHS[path]
        if values.shape != ((3 if kind == "CUBICSPLINE" else 1) * len(keys), width):
            raise InputError(f"{len(values)} values of a {path} for {len(keys)} times")
        time = times.clip(keys[0], keys[-1])
        one = np.searchsorted(keys, time, side="right").clip(1, max(1, len(keys) - 1)) - 1
        two = np.minimum(one + 1, len(keys) - 1)
        span = np.where(two > one, keys[two] - keys[one], 1.0)
        part = ((time - keys[one]) / span)[:, None]
        if kind == "STEP":
            return values[np.where(part[:, 0] >= 1, two, one)]
        if kind == "CUBICSPLINE":
            into, at, out = np.moveaxis(values.reshape(-1, 3, width), 1, 0)
            s, step = part, span[:, None]
            blended = (
                (2 * s**3 - 3 * s**2 + 1) * at[one] + step * (s**3 - 2 * s**2 + s) * out[one]
                + (-2 * s**3 + 3 * s**2) * at[two] + step * (s**3 - s**2) * into[two]
            )  # fmt: skip
            return blended / np.linalg.norm(blended, axis=1, keepdims=True) if path == "rotation" else blended
        if path == "rotation":
            return _slerp(values[one], values[two], part)
        return values[one] * (1 - part) + values[two] * part

    def _local(self, node: int, animated: dict[tuple[int, str], np.ndarray], num: int) -> np.ndarray:
        """Return the local transformations (T, 4, 4) of a node."""
        entry = self.content["nodes"][node]
        if "matrix" in entry:
            return np.broadcast_to(np.array(entry["matrix"], dtype=float).reshape(4, 4).T, (num, 4, 4))
        defaults = {"translation": [0.0, 0.0, 0.0], "rotation": [0.0, 0.0, 0.0, 1.0], "scale": [1.0, 1.0, 1.0]}
        values = {}
        for path, default in defaults.items():
            own = animated.get((node, path))
            values[path] = np.broadcast_to(entry.get(path, default), (num, PATHS[path])) if own is None else own
        matrices = np.zeros((num, 4, 4))
        matrices[:, :3, :3] = Rotation.from_quat(values["rotation"]).as_matrix() * values["scale"][:, None]
        matrices[:, :3, 3] = values["translation"]
        matrices[:, 3, 3] = 1
        return matrices


def _slerp(one: np.ndarray, two: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Interpolate unit quaternions (T, 4) on the shortest arc."""
    dot = (one * two).sum(axis=1, keepdims=True)
    two, dot = np.where(dot < 0, -two, two), np.abs(dot).clip(max=1.0)
    angle = np.arccos(dot)
    is_small = angle < 1e-6
    sine = np.where(is_small, 1.0, np.sin(angle))
    weights = [np.where(is_small, p, np.sin(p * angle) / sine) for p in (1 - part, part)]
    return one * weights[0] + two * weights[1]


def _parts(path: Path) -> tuple[dict[str, Any], bytes | None]:
    """Return the JSON and the binary chunk of a file."""
    data = path.read_bytes()
    if not data:
        raise InputError("an empty file")
    binary = None
    if data[:4] == b"glTF":
        at, text = 12, b""
        while at + 8 <= len(data):
            size, kind = struct.unpack_from("<II", data, at)
            if at + 8 + size > len(data):
                raise InputError("an unexpected end of the file")
            chunk = data[at + 8 : at + 8 + size]
            if kind == JSON:
                text = chunk
            elif kind == BINARY and binary is None:
                binary = chunk
            at += 8 + size
        data = text
    try:
        content = json.loads(data)
    except RecursionError:
        raise InputError("lists nested too deeply") from None
    if not isinstance(content, dict):
        raise InputError("no JSON object")
    return content, binary


def _buffer(path: Path, entry: dict[str, Any], binary: bytes | None) -> bytes:
    """Return the bytes of a buffer: of the file itself, of a data URI, or of a file beside it."""
    uri = entry.get("uri")
    if uri is None:
        if binary is None:
            raise InputError("no binary chunk")
        return binary
    if uri.startswith("data:"):
        try:
            return base64.b64decode(uri.partition(",")[2], validate=True)
        except binascii.Error as error:
            raise InputError(f"a data URI that does not decode ({error})") from None
    uri = unquote(uri)
    file = path.parent / uri
    if Path(uri).name != uri or not file.is_file():
        raise InputError(f"no file {uri!r} beside it")
    return file.read_bytes()


def _parent_joint(joint: int, joints: list[int], parent_of: dict[int, int]) -> int:
    """Return the index of the nearest ancestor that is a joint, -1 if there is none."""
    while joint in parent_of:
        joint = parent_of[joint]
        if joint in joints:
            return joints.index(joint)
    return -1


def _refuse_cycles(parent_of: dict[int, int], num_nodes: int) -> None:
    for node in range(num_nodes):
        steps = 0
        while node in parent_of:
            node, steps = parent_of[node], steps + 1
            if steps > num_nodes:
                raise InputError("nodes that are their own ancestors")
