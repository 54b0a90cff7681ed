"""User arrays in .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import UNITS, Clip, InputError, Skeleton, get_skeleton
from ulna.formats.base import BadFileError, Format, Source, as_float32, list_files
from ulna.formats.labels import Labels

_KINDS = {"U": "text", "iu": "whole number", "fiu": "number"}
SCALARS = {
    "skeleton": "U", "centre": "U", "label": "U", "fps": "fiu", "subject": "iu", "view": "iu", "setup": "iu",
    "units": "U", "dimensions": "iu", "group": "U", "recording": "U",
}  # fmt: skip
LARGEST = 2**33  # bytes of a file's arrays that are read at most
KNOWN = (
    "position", "visible", "skeleton", "joints", "parents", "centre", "fps", "label", "subject", "view", "setup",
    "units", "dimensions", "confidence", "image_size", "tracks", "frame_numbers", "group", "recording",
)  # fmt: skip


class NPZ(Format):
    """Reads one clip per file. Keys:

    `position` (T, P, K, 3) or (T, K, 3) in metres, y up, or with two coordinates x, y in an image, y down; NaN where a
    joint is missing. Optionally `visible` (T, P, K) or (T, K) bool, `skeleton` (a known name) or `joints` (K names)
    with `parents` (K indices, -1 for the root) and `centre` (name of a joint), `fps`, `label` (a name), `subject`,
    `view`, `setup` (integers), `units` (metres, millimetres, pixels, relative), `confidence` (T, P, K), `image_size`
    (width, height), `tracks` (P names), `frame_numbers` (T), `group` and `recording` (names). Alternatively, labels and
    splits come from a CSV table (`--labels`).
    """

    skeleton: str | None = None
    """Name of a known skeleton, for files that do not specify one."""
    labels: Path | None = None
    """CSV file with columns file and label, and optionally subject, view, setup and split:NAME (train or test)."""

    title = "User arrays (.npz)"
    pattern = "*.npz"
    files_wanted = "*.npz with position (T, P, K, 3)"
    where = "numpy.savez(path, position=..., joints=..., parents=..., label=...)"
    terms = "yours"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.npz", "arrays")
        Labels.read(self.labels).check(files, source)
        if self.skeleton is not None:
            get_skeleton(self.skeleton)
        skeleton: Skeleton | None = None
        labels, persons = set[str](), 1
        for path in files:
            try:
                content = _load(path)
                position = _positions(path, content)
                skeleton = skeleton or _skeleton(path, content, self.skeleton)
            except BadFileError:
                continue  # reported or skipped when the file is read
            persons = max(persons, position.shape[1])
            if "label" in content:
                labels.add(content["label"])
        if skeleton is None:
            self.read(files[0], Source(files, get_skeleton(self.skeleton or "kinect_v2")))
            raise InputError(f"{source}: expected at least one file with positions, found none that can be read")
        classes = tuple(sorted(labels | set(Labels.read(self.labels).classes)))
        return Source(files, skeleton, classes, num_persons=persons, origin=source)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = _load(path)
        position = _positions(path, content)
        own = _skeleton(path, content, self.skeleton)
        if own != source.skeleton:
            raise BadFileError(
                path, "skeleton", expected=f"that of {source.files[0].name} ({source.skeleton.num_joints} joints)",
                found=f"another one (of {own.num_joints} joints, centre {own.centre})",
            )  # fmt: skip
        visible = _visible(path, content, position)
        known = Labels.read(self.labels).of(path, source.origin)
        metadata = _metadata(path, content, visible)
        clip = Clip(
            id=known.id,
            position=as_float32(path, np.where(visible[..., None], position, 0), source.skeleton.joints),
            skeleton=source.skeleton,
            visible=visible,
            fps=float(content.get("fps", 30.0)),
            **(metadata | known.metadata),
        )
        return [clip]


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > LARGEST:
                raise InputError("too large")
            content = {name: np.asarray(file[name]) for name in file.files}
    except Exception:  # damaged archives raise many kinds of exceptions
        found = "data that cannot be read as plain arrays" if path.stat().st_size else "an empty file"
        raise BadFileError(path, "whole file", expected="arrays saved by numpy.savez", found=found) from None
    for name, value in content.items():
        if name in SCALARS and (value.ndim != 0 or value.dtype.kind not in SCALARS[name]):
            raise BadFileError(path, f"key {name!r}", expected=f"one {_KINDS[SCALARS[name]]}", found=f"{value!r:.60}")
    unknown = [name for name in content if name not in KNOWN]
    if "position" not in content or unknown:
        expected = f"the key position and any of {', '.join(KNOWN[1:])}"
        raise BadFileError(path, "keys", expected=expected, found=f"keys {sorted(content)}")
    return {name: value.item() if value.ndim == 0 else value for name, value in content.items()}


def _positions(path: Path, content: dict[str, Any]) -> np.ndarray:
    position = np.asarray(content["position"])
    if position.ndim == 3:
        position = position[:, None]
    if (
        position.ndim != 4
        or position.shape[-1] not in (2, 3)
        or 0 in position.shape
        or position.dtype.kind not in "fiu"
    ):
        found = f"{position.shape} {position.dtype}"
        raise BadFileError(
            path, "key 'position'", expected="numbers (T, P, K, 3) or (T, K, 3), or with 2 coordinates", found=found
        )
    if np.isinf(position).any():
        place = tuple(int(i) for i in np.argwhere(np.isinf(position))[0])
        raise BadFileError(
            path, f"key 'position' at {place}", expected="finite metres, or NaN if missing", found="infinity"
        )
    return position.astype(np.float64)


def _metadata(path: Path, content: dict[str, Any], visible: np.ndarray) -> dict[str, Any]:
    """Return the metadata of a clip; raises BadFileError for arrays of a wrong shape."""
    metadata: dict[str, Any] = {name: int(content[name]) for name in ("subject", "view", "setup") if name in content}
    metadata |= {name: content[name] for name in ("label", "group", "recording", "units") if name in content}
    is_flat = np.asarray(content["position"]).shape[-1] == 2
    dimensions = int(content.get("dimensions", 2 if is_flat else 3))
    if is_flat or dimensions == 2:
        metadata["dimensions"] = 2
        metadata.setdefault("units", "pixels")
    if metadata.get("units", "metres") not in UNITS or dimensions not in (2, 3):
        expected, found = f"{', '.join(UNITS)} and 2 or 3 dimensions", f"{metadata.get('units')!r} and {dimensions}"
        raise BadFileError(path, "keys 'units' and 'dimensions'", expected=expected, found=found)
    shapes = {
        "confidence": visible.shape,
        "image_size": (2,),
        "tracks": visible.shape[1:2],
        "frame_numbers": visible.shape[:1],
    }
    kinds = {"confidence": "f", "image_size": "iu", "tracks": "U", "frame_numbers": "iu"}
    for name, shape in shapes.items():
        if name not in content:
            continue
        value = np.asarray(content[name])
        if name == "confidence" and value.ndim == 2:
            value = value[:, None]
        if value.shape != shape or value.dtype.kind not in kinds[name]:
            found = f"{value.shape} {value.dtype}"
            raise BadFileError(path, f"key {name!r}", expected=f"an array {shape}", found=found)
        metadata[name] = value if name in ("confidence", "frame_numbers") else tuple(value.tolist())
    return metadata


def _visible(path: Path, content: dict[str, Any], position: np.ndarray) -> np.ndarray:
    visible: np.ndarray = np.isfinite(position).all(axis=-1)
    if "visible" in content:
        given = np.asarray(content["visible"])
        given = given[:, None] if given.ndim == 2 else given
        if given.shape != visible.shape or given.dtype != bool:
            found = f"{given.shape} {given.dtype}"
            raise BadFileError(path, "key 'visible'", expected=f"bool {visible.shape}", found=found)
        visible &= given
    if not visible.any():
        raise BadFileError(path, "key 'position'", expected="a body in at least one frame", found="a clip with no body")
    return visible


def _skeleton(path: Path, content: dict[str, Any], default: str | None) -> Skeleton:
    try:
        if "joints" in content and "skeleton" in content:
            raise InputError("both")
        if "joints" in content:
            joints, parents = content["joints"], content.get("parents", np.empty(0))
            if joints.ndim != 1 or joints.dtype.kind != "U" or parents.ndim != 1 or parents.dtype.kind not in "iu":
                raise InputError(f"joints {joints.dtype} {joints.shape} and parents {parents.dtype} {parents.shape}")
            centre = content.get("centre")
            skeleton = Skeleton.from_joints(
                "npz", joints.tolist(), parents.tolist(), centre=None if centre is None else str(centre)
            )
        elif default is None and "skeleton" not in content:
            raise InputError("neither a skeleton's name nor joints and parents")
        else:
            skeleton = get_skeleton(str(content.get("skeleton", default)))
    except ValueError as error:
        advice = "Add the keys joints and parents, or the key skeleton, or pass --skeleton NAME."
        expected = "a known skeleton's name, or joints and parents"
        raise BadFileError(path, "skeleton", expected=expected, found=str(error), advice=advice) from None
    given = np.asarray(content["position"]).shape[-2]
    if given not in (skeleton.num_joints, skeleton.num_recorded):
        expected = f"{skeleton.num_recorded} joints ({skeleton.name})"
        raise BadFileError(path, "key 'position'", expected=expected, found=str(given))
    return skeleton
