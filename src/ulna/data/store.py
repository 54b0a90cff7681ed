"""The store: a prepared data set as one flat array of frames, an index of clips and a description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulna.core import TEST, TRAIN, Clip, Skeleton, new_folder, unknown_name, write_text

VERSION = 1
FRAMES, PRESENT, INDEX, DESCRIPTION, REJECTED = (
    "frames.npy", "present.npy", "clips.parquet", "dataset.json", "rejected.csv",
)  # fmt: skip
ARRAYS = {FRAMES: np.dtype("<f4"), PRESENT: np.dtype("?")}
_VERIFIED = ".verified.json"
_CHUNK = 1 << 24
_CLIP_COLUMNS = {"label": pa.int32(), "subject": pa.int32(), "view": pa.int32(), "setup": pa.int32()}


class BadStore(ValueError):
    """A store that is damaged, incomplete or of another version."""


def write_store(
    path: str | Path,
    clips: Iterable[Clip],
    skeleton: Skeleton,
    *,
    classes: Sequence[str] = (),
    class_groups: Mapping[str, Sequence[str]] | None = None,
    num_persons: int | None = None,
    source: Mapping[str, Any] | None = None,
) -> Store:
    """Write clips as a store and open it; the folder appears whole or not at all.

    Clips may come from a generator if `num_persons` (the most that a clip has) is given: memory does not grow with
    their number. Raises FileExistsError if `path` exists, ValueError for clips that do not fit one another.
    """
    if num_persons is None:
        clips = list(clips)
        num_persons = max((clip.num_persons for clip in clips), default=1)
    path = Path(path)
    with new_folder(path) as folder:
        shape = (num_persons, skeleton.num_joints)
        with (
            _ArrayFile(folder / FRAMES, ARRAYS[FRAMES], (*shape, 3)) as frames,
            _ArrayFile(folder / PRESENT, ARRAYS[PRESENT], shape) as present,
        ):
            rows = [_append(clip, frames, present, skeleton, len(classes)) for clip in clips]
        _check_rows(rows)
        _write_index(folder / INDEX, rows)
        hashes = {FRAMES: frames.digest(), PRESENT: present.digest(), INDEX: _hash_file(folder / INDEX)}
        description = {
            "version": VERSION,
            "num_clips": len(rows),
            "num_frames": sum(row["length"] for row in rows),
            "num_persons": num_persons,
            "units": "metres, y up, right-handed",
            "skeleton": skeleton.to_json(),
            "classes": list(classes),
            "class_groups": {name: list(members) for name, members in (class_groups or {}).items()},
            "source": dict(source or {}),
            "bytes": {name: (folder / name).stat().st_size for name in hashes},
            "sha256": hashes,
        }
        description["fingerprint"] = _fingerprint(description)
        write_text(folder / DESCRIPTION, json.dumps(description, indent=1))
    return Store(path)


@dataclass(frozen=True)
class Store:
    """An opened store. Opening checks the version, sizes and the index; `verify` checks every byte.

    `frames` (F, P, K, 3) float32 in metres and `present` (F, P, K) bool are memory-mapped.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))
        _check_sizes(self.path, self.description)
        if _hash_file(self.path / INDEX) != self.description["sha256"][INDEX]:
            raise BadStore(f"{self.path / INDEX}: changed since it was written; prepare the store again")

    @cached_property
    def description(self) -> dict[str, Any]:
        return _read_description(self.path)

    @cached_property
    def table(self) -> pa.Table:
        return pq.read_table(self.path / INDEX)

    @cached_property
    def frames(self) -> np.ndarray:
        return np.load(self.path / FRAMES, mmap_mode="r")

    @cached_property
    def present(self) -> np.ndarray:
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

    def rows(self, clips: np.ndarray, max_frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Row of each frame of some clips' first `max_frames` frames, and how many each has."""
        lengths = self.lengths[clips] if max_frames is None else np.minimum(self.lengths[clips], max_frames)
        offsets = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(self.starts[clips] - offsets, lengths), lengths

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
            **{name: row[name] for name in _CLIP_COLUMNS},
        )

    def verify(self) -> None:
        """Check the content byte by byte; BadStore if it changed. A passed check is remembered by size and time."""
        stamps = {name: [s.st_size, s.st_mtime_ns] for name in ARRAYS for s in [(self.path / name).stat()]}
        seen = {"fingerprint": self.fingerprint, "stamps": stamps}
        cache = self.path / _VERIFIED
        if cache.is_file() and cache.read_text() == json.dumps(seen):
            return
        for name in ARRAYS:
            if _hash_file(self.path / name) != self.description["sha256"][name]:
                raise BadStore(
                    f"{self.path / name}: expected the content it was written with (sha256 "
                    f"{self.description['sha256'][name][:12]}), got changed bytes; prepare the store again"
                )
        try:
            write_text(cache, json.dumps(seen))
        except OSError:
            return  # a read-only store is checked anew each time


class _ArrayFile:
    """A .npy file that grows by rows and hashes what it is given."""

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row, self.num_rows = path, dtype, row, 0
        self.hash = hashlib.sha256()

    def __enter__(self) -> _ArrayFile:
        self.file: BinaryIO = self.path.open("wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> str:
        """Write rows (n, *row); gives their hash."""
        content = np.ascontiguousarray(rows, dtype=self.dtype).tobytes()
        self.file.write(content)
        self.num_rows += len(rows)
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    def __exit__(self, *_: object) -> None:
        self.file.seek(0)
        self._write_header()
        self.file.close()

    def digest(self) -> str:
        return _hash_file(self.path)

    def _write_header(self) -> None:
        """numpy pads headers so that the number of rows may grow in place."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.num_rows, *self.row),
        }
        np.lib.format.write_array_header_1_0(self.file, header)


def _append(
    clip: Clip, frames: _ArrayFile, present: _ArrayFile, skeleton: Skeleton, num_classes: int
) -> dict[str, Any]:
    if clip.skeleton.joints != skeleton.joints or clip.num_persons > frames.row[0]:
        raise ValueError(
            f"clip {clip.id!r}: expected skeleton {skeleton.name!r} and at most {frames.row[0]} persons, "
            f"got {clip.skeleton.name!r} and {clip.num_persons}"
        )
    if not np.isfinite(clip.position).all():
        raise ValueError(f"clip {clip.id!r}: expected finite positions, got others; mark them not present")
    if not clip.present.any():
        raise ValueError(f"clip {clip.id!r}: expected a body in at least one frame, got none")
    if clip.label is not None and not 0 <= clip.label < num_classes:
        raise ValueError(f"clip {clip.id!r}: expected a label below {num_classes} (the classes), got {clip.label}")
    wrong = {name: part for name, part in clip.splits.items() if part not in (TRAIN, TEST)}
    if wrong:
        raise ValueError(f"clip {clip.id!r}: expected splits to say {TRAIN!r} or {TEST!r}, got {wrong}")
    missing = frames.row[0] - clip.num_persons
    there = np.pad(clip.present, [(0, 0), (0, missing), (0, 0)])
    position = np.pad(clip.position, [(0, 0), (0, missing), (0, 0), (0, 0)])
    start = frames.num_rows
    present.append(there)
    return {
        "id": clip.id,
        "start": start,
        "hash": frames.append(np.where(there[..., None], position, 0)),
        "length": clip.num_frames,
        "fps": float(clip.fps),
        "persons": int(clip.present.any(axis=(0, 2)).sum()),
        **{name: getattr(clip, name) for name in _CLIP_COLUMNS},
        **{f"split:{name}": part for name, part in clip.splits.items()},
    }


def _check_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        raise ValueError("expected at least one clip to write, got none")
    ids = [row["id"] for row in rows]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise ValueError(f"expected every clip to have its own id, got several named {', '.join(twice[:5])}")


def _write_index(path: Path, rows: list[dict[str, Any]]) -> None:
    fixed = {"id": pa.string(), "start": pa.int64(), "length": pa.int32(), "hash": pa.string(), "fps": pa.float32()}
    types = fixed | {"persons": pa.int16()} | _CLIP_COLUMNS
    types |= {name: pa.string() for row in rows for name in row if name.startswith("split:")}
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()}
    pq.write_table(pa.table(columns), path)


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fingerprint(description: Mapping[str, Any]) -> str:
    """Name of the content: what a result is a result on."""
    content = {key: description[key] for key in ("version", "skeleton", "classes", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _read_description(path: Path) -> dict[str, Any]:
    file = path / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(f"{path}: expected a store (a folder with {DESCRIPTION}), got none; see `ulna prepare`")
    try:
        description = json.loads(file.read_text())
        version = description["version"]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
        raise BadStore(f"{file}: expected a store's description, got something else; prepare the store again") from None
    if version != VERSION:
        raise BadStore(f"{path}: expected a store of version {VERSION}, got version {version}; prepare it again")
    try:
        if _fingerprint(description) == description["fingerprint"]:
            return dict(description)
    except KeyError:
        pass
    raise BadStore(f"{file}: expected the description it was written with, got another; prepare the store again")


def _check_sizes(path: Path, description: Mapping[str, Any]) -> None:
    for name, size in description["bytes"].items():
        file = path / name
        got = file.stat().st_size if file.is_file() else None
        if got != size:
            came = "no file" if got is None else f"{got} bytes"
            raise BadStore(f"{file}: expected {size} bytes, got {came}; prepare the store again")
