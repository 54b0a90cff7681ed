"""The files of a dataset folder, and the schemas that validate them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, JsonValue

from ulna.core import TEST, TRAIN, Config, Count, InputError, Skeleton, read_config, shown

VERSION = 2
FRAMES, VISIBLE, INDEX, DESCRIPTION, REJECTED = (
    "frames.npy", "visible.npy", "clips.parquet", "dataset.json", "rejected.csv",
)  # fmt: skip
CONFIDENCE, FRAME_NUMBERS = "confidence.npy", "frame_numbers.npy"
ARRAYS: dict[str, np.dtype[Any]] = {FRAMES: np.dtype("<f4"), VISIBLE: np.dtype("?")}
OPTIONAL_ARRAYS: dict[str, np.dtype[Any]] = {CONFIDENCE: np.dtype("<f4"), FRAME_NUMBERS: np.dtype("<i8")}
"""Arrays that exist only if a clip has confidences or numbered frames: (F, P, K) and (F,)."""
CLIP_COLUMNS = {"label": pa.int32(), "subject": pa.int32(), "view": pa.int32(), "setup": pa.int32()}
OPTIONAL_COLUMNS = {
    "recording": pa.string(), "group": pa.string(), "image_width": pa.int32(), "image_height": pa.int32(),
    "tracks": pa.list_(pa.string()),
}  # fmt: skip
"""Columns that exist only if a clip has a value."""
COLUMNS = {
    "id": pa.string(), "start": pa.int64(), "length": pa.int32(), "hash": pa.string(), "fps": pa.float32(),
    "persons": pa.int16(), **CLIP_COLUMNS,
}  # fmt: skip
NULLABLE = tuple(CLIP_COLUMNS)
SPLIT = "split:"  # prefix of split columns
ADVICE = "Prepare the dataset again."
MOST_SHARDS = 100_000
_CHUNK = 1 << 24

Name = Annotated[str, Field(min_length=1, max_length=200)]


class DatasetError(InputError):
    """A dataset is damaged, incomplete or of another version."""


class Description(Config):
    """Content of dataset.json."""

    version: Literal[2]
    num_clips: Count
    num_frames: Annotated[int, Field(ge=1, lt=2**48)]
    num_persons: Annotated[int, Field(ge=1, le=1000)]
    units: str
    """Units and axes of the positions."""
    dimensions: Literal[2, 3] = 3
    """3, or 2 for positions in an image."""
    shards: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=MOST_SHARDS)] = ()
    """Number of frames of each shard, if the arrays are divided into several files."""
    skeleton: Skeleton
    classes: Annotated[tuple[Name, ...], Field(max_length=100_000)]
    class_groups: dict[str, tuple[str, ...]]
    source: dict[str, JsonValue]
    """Format and options that the dataset was prepared with, or other notes on its origin."""
    bytes: dict[str, int]
    """Size of each file, in bytes."""
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    """SHA-256 hash of each file."""
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    """Hash of the content; identifies the data that a result was measured on."""
    checksum: str
    """Hash of all other fields."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that the dataset has."""
        return tuple(
            name for name in ARRAYS | OPTIONAL_ARRAYS if (shard_file(name, 0) if self.shards else name) in self.bytes
        )

    def files(self, array: str) -> tuple[str, ...]:
        """Return the names of an array's files, in order."""
        return tuple(shard_file(array, number) for number in range(len(self.shards))) if self.shards else (array,)

    def shapes(self, array: str) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of an array's files, in order."""
        nodes = (self.num_persons, self.skeleton.num_joints)
        rows = {FRAMES: (*nodes, 3), FRAME_NUMBERS: ()}.get(array, nodes)
        return tuple((num, *rows) for num in self.shards or (self.num_frames,))


def shard_file(array: str, number: int) -> str:
    """Return the name of the file with a shard of an array."""
    return f"{array.removesuffix('.npy')}-{number:05}.npy"


def read_description(path: Path) -> Description:
    """Read and validate a dataset's description.

    Raises:
        MissingError: If the folder is not a dataset.
        DatasetError: If the description is damaged, was edited, or is of another version.
    """
    file = path / DESCRIPTION
    try:
        found = read_config(file, Description, what=f"a dataset (a folder with {DESCRIPTION})", advice=ADVICE)
    except InputError as error:
        raise DatasetError(_version_problem(file) or str(error)) from None
    content = json.loads(file.read_bytes())
    problems = []
    if len(set(found.classes)) < len(found.classes):
        problems.append("classes with different names")
    if {name for group in found.class_groups.values() for name in group} - set(found.classes):
        problems.append("groups of known classes")
    needed = {INDEX, *found.files(FRAMES), *found.files(VISIBLE)}
    optional = {name for array in OPTIONAL_ARRAYS if array in found.arrays for name in found.files(array)}
    if not all(needed | optional <= set(names) for names in (found.bytes, found.sha256)):
        problems.append(f"sizes and hashes of {FRAMES}, {VISIBLE} and {INDEX}")
    if found.shards and sum(found.shards) != found.num_frames:
        problems.append(f"shards of {found.num_frames} frames")
    if found.checksum != checksum_of(content):
        problems.append("the description the dataset was written with")
    if problems:
        raise DatasetError(f"{file}: expected {' and '.join(problems)}, found a changed file. {ADVICE}")
    return found


def _version_problem(file: Path) -> str | None:
    """Return an error message if a description has another version, otherwise None."""
    try:
        version = json.loads(file.read_bytes())["version"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if version == VERSION:
        return None
    return f"{file.parent}: expected a dataset of version {VERSION}, found version {shown(version)}. {ADVICE}"


def check_files(path: Path, description: Description) -> None:
    """Raise DatasetError if the size or shape of a file differs from the description."""
    _check_size(path / INDEX, description.bytes[INDEX])
    for array in description.arrays:
        for name, shape in zip(description.files(array), description.shapes(array), strict=True):
            _check_size(path / name, description.bytes[name])
            _check_header(path / name, (ARRAYS | OPTIONAL_ARRAYS)[array], shape, description.bytes[name])


def _check_size(file: Path, size: int) -> None:
    found = file.stat().st_size if file.is_file() else None
    if found != size:
        text = "no file" if found is None else f"{found} bytes"
        raise DatasetError(f"{file}: expected {size} bytes, found {text}. {ADVICE}")


def _check_header(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> None:
    try:
        with file.open("rb") as opened:
            np.lib.format.read_magic(opened)
            header = np.lib.format.read_array_header_1_0(opened, max_header_size=2000)
            offset = opened.tell()
    except ValueError:
        raise DatasetError(f"{file}: expected an array file, found a damaged file. {ADVICE}") from None
    whole = offset + math.prod(shape) * dtype.itemsize
    if header != (shape, False, dtype) or whole != size:
        raise DatasetError(f"{file}: expected {dtype} {shape}, found {header[2]} {header[0]}. {ADVICE}")


def read_index(path: Path, description: Description) -> pa.Table:
    """Read and validate the index, one row per clip.

    Raises:
        DatasetError: If the file changed, a column is missing or has the wrong type, or a value is invalid.
    """
    file = path / INDEX
    if hash_file(file) != description.sha256[INDEX]:
        raise DatasetError(f"{file}: expected the index the dataset was written with, found a changed file. {ADVICE}")
    try:
        table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException):
        raise DatasetError(f"{file}: expected an index of clips, found a damaged file. {ADVICE}") from None
    problem = _index_problem(table, description)
    if problem:
        raise DatasetError(f"{file}: expected {problem}. {ADVICE}")
    return table


def _index_problem(table: pa.Table, description: Description) -> str | None:
    """Return the expected and the actual content of an invalid index; None if it is valid."""
    for name, kind in COLUMNS.items():
        found = table.schema.field(name).type if table.column_names.count(name) == 1 else None
        if found != kind:
            return f"a column {name} of type {kind}, found {'none' if found is None else found}"
        if name not in NULLABLE and table[name].null_count:
            return f"a value of {name} for every clip, found {table[name].null_count} missing"
    for name in table.column_names:
        kind = OPTIONAL_COLUMNS.get(name)
        if kind is not None:
            if table.schema.field(name).type != kind or table.column_names.count(name) > 1:
                return f"a column {name} of type {kind}, found {table.schema.field(name).type}"
        elif name not in COLUMNS and not name.startswith(SPLIT):
            return f"columns {', '.join(COLUMNS)} and {SPLIT}NAME, found {shown(name)}"
        if name.startswith(SPLIT):
            known = pa.array([TRAIN, TEST, None], pa.string())
            if table.schema.field(name).type != pa.string() or not pc.all(pc.is_in(table[name], known)).as_py():
                return f"{TRAIN}, {TEST} or nothing in column {name}, found other values"
    if len(table) != description.num_clips:
        return f"{description.num_clips} clips, found {len(table)}"
    start, length = (table[name].to_numpy().astype(np.int64) for name in ("start", "length"))
    if not ((start >= 0) & (length >= 1) & (start <= description.num_frames - length)).all():
        return f"clips of at least one frame within the {description.num_frames} frames, found others"
    ends = np.cumsum(description.shards or [description.num_frames])
    if (np.searchsorted(ends, start, "right") != np.searchsorted(ends, start + length - 1, "right")).any():
        return "clips whose frames are in one shard, found others"
    labels = table["label"].fill_null(0).to_numpy()
    if not ((labels >= 0) & (labels < max(1, len(description.classes)))).all():
        return f"labels below {len(description.classes)} (the number of classes), found {labels.max()}"
    fps = table["fps"].to_numpy()
    if not (np.isfinite(fps) & (fps > 0)).all():
        return "frames per second above 0, found others"
    if "image_width" in table.column_names:
        sizes = [
            table[name].drop_null().to_numpy() for name in ("image_width", "image_height") if name in table.column_names
        ]
        if len(sizes) < 2 or any((size < 1).any() for size in sizes):
            return "image sizes above 0, found others"
    if "tracks" in table.column_names:
        counts = pc.list_value_length(table["tracks"]).drop_null().to_numpy()
        if (counts != description.num_persons).any():
            return f"{description.num_persons} tracks per clip, found another number"
    if pc.count_distinct(table["id"]).as_py() != len(table):
        return "a unique id for every clip, found several with the same id"
    return None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of several files, computed in as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(hash_file, paths))


def fingerprint_of(skeleton: Skeleton, classes: Sequence[str], sha256: dict[str, str]) -> str:
    """Return the fingerprint of a dataset's content.

    It hashes the file names and version number of the first dataset version, so that existing fingerprints stay valid.
    """
    arrays = {name: value for name, value in sha256.items() if name != INDEX}
    hashes = {name.replace("visible", "present"): value for name, value in arrays.items()}
    hashes["clips.parquet"] = sha256[INDEX]
    content = {"version": 1, "skeleton": skeleton.to_json(), "classes": list(classes), "sha256": hashes}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def checksum_of(description: dict[str, Any]) -> str:
    """Return the hash of all fields of a description except the checksum itself."""
    content = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
