"""The store: a prepared data set as one flat array of frames, an index of clips and a description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.core import TEST, TRAIN, Clip, Skeleton, unknown_name, write_text

VERSION = 1
FRAMES, PRESENT, INDEX, DESCRIPTION, REJECTED = (
    "frames.npy", "present.npy", "clips.parquet", "dataset.json", "rejected.csv",
)  # fmt: skip
ARRAYS = {FRAMES: np.dtype("<f4"), PRESENT: np.dtype("?")}
_VERIFIED = ".verified.json"
_CHUNK = 1 << 24
CLIP_COLUMNS = {"label": pa.int32(), "subject": pa.int32(), "view": pa.int32(), "setup": pa.int32()}


class BadStore(ValueError):
    """A store that is damaged, incomplete or of another version."""


@dataclass(frozen=True)
class Store:
    """An opened store. Opening checks the version, sizes and the index; `verify` checks every byte.

    `frames` (F, P, K, 3) float32 in metres and `present` (F, P, K) bool are memory-mapped.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))
        _check_sizes(self.path, self.description)
        if hash_file(self.path / INDEX) != self.description["sha256"][INDEX]:
            raise BadStore(f"{self.path / INDEX}: changed since it was written; prepare the store again")

    @cached_property
    def description(self) -> dict[str, Any]:
        return _read_description(self.path)

    @cached_property
    def table(self) -> pa.Table:
        return pq.read_table(self.path / INDEX)

    @cached_property
    def frames(self) -> np.memmap:
        return np.load(self.path / FRAMES, mmap_mode="r")

    @cached_property
    def present(self) -> np.memmap:
        return np.load(self.path / PRESENT, mmap_mode="r")

    @cached_property
    def skeleton(self) -> Skeleton:
        return Skeleton.from_json(self.description["skeleton"])

    @cached_property
    def starts(self) -> np.ndarray:
        return self.table["start"].to_numpy()

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.table["length"].to_numpy()

    @cached_property
    def labels(self) -> np.ndarray:
        """(B,) class of each clip, -1 where unknown."""
        return np.asarray(self.table["label"].fill_null(-1).to_numpy(), dtype=np.int64)

    @property
    def ids(self) -> list[str]:
        return list(self.table["id"].to_pylist())

    @property
    def hashes(self) -> pa.ChunkedArray:
        """(B,) hash of each clip's positions, as strings: copies have the same."""
        return self.table["hash"]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.description["classes"])

    @property
    def class_groups(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(members) for name, members in self.description["class_groups"].items()}

    @property
    def num_clips(self) -> int:
        return int(self.description["num_clips"])

    @property
    def num_frames(self) -> int:
        return int(self.description["num_frames"])

    @property
    def num_persons(self) -> int:
        return int(self.description["num_persons"])

    @property
    def fingerprint(self) -> str:
        return str(self.description["fingerprint"])

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name.removeprefix("split:") for name in self.table.column_names if name.startswith("split:"))

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Clip indices of a split's training and test part; ValueError lists the known splits."""
        if name not in self.splits:
            raise ValueError(unknown_name(f"split of {self.path}", name, self.splits or ["(none)"]))
        part = np.array(self.table[f"split:{name}"].to_pylist(), dtype=object)
        return np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)

    def first_frames(self, clips: np.ndarray, max_frames: int | None = None) -> np.ndarray:
        """How many frames each of some clips has when it is cut after `max_frames`."""
        lengths = self.lengths[clips]
        return lengths if max_frames is None else np.minimum(lengths, max_frames)

    def read(self, clips: np.ndarray, max_frames: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (F, P, K, 3), presence (F, P, K) and lengths (B,) of some clips' first `max_frames` frames.

        Read into fresh memory, not through the map, so that reading a large store does not fill memory with its pages.
        """
        lengths = self.first_frames(clips, max_frames)
        ends = np.cumsum(lengths)
        position, present = (
            np.empty((ends[-1], *whole.shape[1:]), whole.dtype) for whole in (self.frames, self.present)
        )
        for array, whole, name in ((position, self.frames, FRAMES), (present, self.present, PRESENT)):
            row = array[0].nbytes
            with (self.path / name).open("rb", buffering=0) as file:
                for start, length, end in zip(self.starts[clips], lengths, ends, strict=True):
                    file.seek(whole.offset + int(start) * row)
                    _fill(file, array[end - length : end])
        return position, present, lengths

    def clip(self, index: int) -> Clip:
        """One clip with all that the store knows of it."""
        row = self.table.slice(index, 1).to_pylist()[0]
        part = slice(row["start"], row["start"] + row["length"])
        return Clip(
            id=row["id"],
            position=np.array(self.frames[part]),
            skeleton=self.skeleton,
            present=np.array(self.present[part]),
            fps=row["fps"],
            splits={name: row[f"split:{name}"] for name in self.splits if row[f"split:{name}"]},
            **{name: row[name] for name in CLIP_COLUMNS},
        )

    def verify(self, *, afresh: bool = False) -> None:
        """Check the content byte by byte; BadStore if it changed. A passed check is remembered by size and times.

        `afresh` reads every byte even if it was checked before.
        """
        stamps = {
            name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name in ARRAYS for s in [(self.path / name).stat()]
        }
        seen = json.dumps({"fingerprint": self.fingerprint, "stamps": stamps})
        cache = self.path / _VERIFIED
        if not afresh and cache.is_file() and cache.read_bytes() == seen.encode():
            return
        for name in ARRAYS:
            if hash_file(self.path / name) != self.description["sha256"][name]:
                raise BadStore(
                    f"{self.path / name}: expected the content it was written with (sha256 "
                    f"{self.description['sha256'][name][:12]}), got changed bytes; prepare the store again"
                )
        try:
            write_text(cache, seen)
        except OSError:
            return  # a read-only store is checked anew each time


def _fill(file: BinaryIO, array: np.ndarray) -> None:
    """Read bytes into an array until it is full."""
    left = array.data.cast("B")
    while left:
        num = file.readinto(left)  # type: ignore[attr-defined]
        if not num:
            raise BadStore(f"{file.name}: expected more bytes, got the end of the file; prepare the store again")
        left = left[num:]


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint_of(description: Mapping[str, Any]) -> str:
    """Name of the content: what a result is a result on."""
    content = {key: description[key] for key in ("version", "skeleton", "classes", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def checksum_of(description: Mapping[str, Any]) -> str:
    """Hash of the whole description, so that no field of it can be edited unseen."""
    content = {key: value for key, value in description.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_description(path: Path) -> dict[str, Any]:
    file = path / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(f"{path}: expected a store (a folder with {DESCRIPTION}), got none; see `ulna prepare`")
    try:
        description = json.loads(file.read_text())
        version = description["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadStore(f"{file}: expected a store's description, got something else; prepare the store again") from None
    if version != VERSION:
        raise BadStore(f"{path}: expected a store of version {VERSION}, got version {version!r}; prepare it again")
    if isinstance(description, dict) and description.get("checksum") == checksum_of(description):
        return description
    raise BadStore(f"{file}: expected the description it was written with, got another; prepare the store again")


def _check_sizes(path: Path, description: Mapping[str, Any]) -> None:
    for name, size in description["bytes"].items():
        file = path / name
        got = file.stat().st_size if file.is_file() else None
        if got != size:
            came = "no file" if got is None else f"{got} bytes"
            raise BadStore(f"{file}: expected {size} bytes, got {came}; prepare the store again")
