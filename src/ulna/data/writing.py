"""Writing a store."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ulna.core import TEST, TRAIN, Clip, Skeleton, new_folder, write_text
from ulna.data.holdout import with_holdout
from ulna.data.store import (
    ARRAYS,
    CLIP_COLUMNS,
    DESCRIPTION,
    FRAMES,
    INDEX,
    PRESENT,
    VERSION,
    Store,
    checksum_of,
    fingerprint_of,
    hash_file,
)

SOME_CLIPS = 1000  # whose index rows are held as they came
COLUMNS = {
    "id": pa.string(), "start": pa.int64(), "length": pa.int32(), "hash": pa.string(), "fps": pa.float32(),
    "persons": pa.int16(), **CLIP_COLUMNS,
}  # fmt: skip


def write_store(
    path: str | Path,
    clips: Iterable[Clip],
    skeleton: Skeleton,
    *,
    classes: Sequence[str] = (),
    class_groups: Mapping[str, Sequence[str]] | None = None,
    num_persons: int | None = None,
    source: Mapping[str, Any] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Store:
    """Write clips as a store and open it; the folder appears whole or not at all.

    Labelled clips that name no split get one, `holdout`: every fifth subject, or clip of a class where subjects are
    not known. Clips may come from a generator if `num_persons` (the most that a clip has) is given: memory does not
    grow with their number. `finish` may add files to the folder before it appears. Raises FileExistsError if `path`
    exists, ValueError for clips that do not fit together.
    """
    if num_persons is None:
        clips = list(clips)
        num_persons = max((clip.num_persons for clip in clips), default=1)
    path = Path(path)
    if isinstance(classes, str) or len(set(classes)) != len(classes):
        raise ValueError(f"expected the names of different classes, got {classes!r}")
    strange = {name for members in (class_groups or {}).values() for name in members} - set(classes)
    if strange:
        raise ValueError(f"expected groups of the classes {', '.join(classes)}, got {sorted(strange)[0]!r} in one")
    with new_folder(path) as folder:
        shape = (num_persons, skeleton.num_joints)
        with (
            _ArrayFile(folder / FRAMES, ARRAYS[FRAMES], (*shape, 3)) as frames,
            _ArrayFile(folder / PRESENT, ARRAYS[PRESENT], shape) as present,
        ):
            index = _tabulate(_append(clip, frames, present, skeleton, len(classes)) for clip in clips)
        index = with_holdout(index)
        pq.write_table(index, folder / INDEX)
        description = _describe(folder, index, skeleton, num_persons, classes, class_groups or {}, source or {})
        write_text(folder / DESCRIPTION, json.dumps(description, indent=1))
        if finish:
            finish(folder)
    return Store(path)


def _describe(
    folder: Path,
    index: pa.Table,
    skeleton: Skeleton,
    num_persons: int,
    classes: Sequence[str],
    class_groups: Mapping[str, Sequence[str]],
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """What dataset.json says of the files in a folder."""
    files = (FRAMES, PRESENT, INDEX)
    description = {
        "version": VERSION,
        "num_clips": len(index),
        "num_frames": pc.sum(index["length"]).as_py(),
        "num_persons": num_persons,
        "units": "metres, y up, right-handed",
        "skeleton": skeleton.to_json(),
        "classes": list(classes),
        "class_groups": {name: list(members) for name, members in class_groups.items()},
        "source": dict(source),
        "bytes": {name: (folder / name).stat().st_size for name in files},
        "sha256": {name: hash_file(folder / name) for name in files},
    }
    description["fingerprint"] = fingerprint_of(description)
    return description | {"checksum": checksum_of(description)}


class _ArrayFile:
    """A .npy file that grows by rows."""

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row, self.num_rows = path, dtype, row, 0

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

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.file.seek(0)
            self._write_header()
        self.file.close()

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
    is_alike = (clip.skeleton.joints, clip.skeleton.parents) == (skeleton.joints, skeleton.parents)
    if not is_alike or clip.num_persons > frames.row[0]:
        raise ValueError(
            f"clip {clip.id!r}: expected skeleton {skeleton.name!r} and at most {frames.row[0]} persons, "
            f"got {clip.skeleton.name!r} and {clip.num_persons}"
        )
    with np.errstate(over="ignore"):
        kept = clip.position.astype(ARRAYS[FRAMES])
    if not np.isfinite(kept[clip.present]).all():
        raise ValueError(f"clip {clip.id!r}: expected finite positions of present joints, got others")
    if not clip.present.any():
        raise ValueError(f"clip {clip.id!r}: expected a body in at least one frame, got none")
    if clip.label is not None and not 0 <= clip.label < num_classes:
        raise ValueError(f"clip {clip.id!r}: expected a label below {num_classes} (the classes), got {clip.label}")
    odd = [name for name in clip.splits if not name or name[0] == "." or set(name) & set("/\\")]
    if odd:
        raise ValueError(f"clip {clip.id!r}: expected names of splits that can name files, got {odd[0]!r}")
    wrong = {name: part for name, part in clip.splits.items() if part not in (TRAIN, TEST)}
    if wrong:
        raise ValueError(f"clip {clip.id!r}: expected splits to say {TRAIN!r} or {TEST!r}, got {wrong}")
    missing = frames.row[0] - clip.num_persons
    there = np.pad(clip.present, [(0, 0), (0, missing), (0, 0)])
    position = np.pad(kept, [(0, 0), (0, missing), (0, 0), (0, 0)])
    start = frames.num_rows
    present.append(there)
    return {
        "id": clip.id,
        "start": start,
        "hash": frames.append(np.where(there[..., None], position, 0)),
        "length": clip.num_frames,
        "fps": float(clip.fps),
        "persons": int(clip.present.any(axis=(0, 2)).sum()),
        **{name: getattr(clip, name) for name in CLIP_COLUMNS},
        **{f"split:{name}": part for name, part in clip.splits.items()},
    }


def _tabulate(rows: Iterator[dict[str, Any]]) -> pa.Table:
    """The index; rows become columns as they come, which take a tenth of the memory."""
    parts = []
    while some := list(itertools.islice(rows, SOME_CLIPS)):
        splits = {name: pa.string() for row in some for name in row if name.startswith("split:")}
        types = COLUMNS | splits
        parts.append(pa.table({name: pa.array([row.get(name) for row in some], kind) for name, kind in types.items()}))
    if not parts:
        raise ValueError("expected at least one clip to write, got none")
    index = pa.concat_tables(parts, promote_options="default").combine_chunks()
    counts = pc.value_counts(index["id"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise ValueError(f"expected every clip to have its own id, got several named {', '.join(twice[:5])}")
    return index
