"""Write a dataset."""

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

from ulna.core import TEST, TRAIN, Clip, InputError, Skeleton, new_folder, refuse_existing, shown, write_text
from ulna.dataset.description import (
    ARRAYS,
    CLIP_COLUMNS,
    COLUMNS,
    DESCRIPTION,
    FRAMES,
    INDEX,
    SPLIT,
    VERSION,
    VISIBLE,
    checksum_of,
    fingerprint_of,
    hash_file,
)
from ulna.dataset.holdout import with_holdout

ROWS_AT_ONCE = 1000


def write_dataset(
    path: Path,
    clips: Iterable[Clip],
    skeleton: Skeleton | None = None,
    *,
    classes: Sequence[str] | None = None,
    class_groups: Mapping[str, Sequence[str]] | None = None,
    num_persons: int | None = None,
    source: Mapping[str, Any] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write clips as a dataset; see `Dataset.write`.

    Args:
        path: Folder to write.
        clips: The clips.
        skeleton: Skeleton of all clips.
        classes: Class names.
        class_groups: Class names of each group, by group name.
        num_persons: Maximum number of persons per clip.
        source: Notes on the origin of the data, as JSON values.
        finish: Called with the unfinished folder as the last step, for example to add files.
    """
    refuse_existing(path)
    if skeleton is None or classes is None or num_persons is None:
        clips = list(clips)
        if not clips:
            raise InputError("expected at least one clip to write, found none")
        skeleton = skeleton or clips[0].skeleton
        num_persons = num_persons or max(clip.num_persons for clip in clips)
        classes = sorted({clip.label for clip in clips if clip.label is not None}) if classes is None else classes
    if isinstance(classes, str) or len(set(classes)) != len(classes) or not all(classes):
        raise InputError(f"classes: expected names that are unique, found {shown(classes)}")
    unknown = {name for members in (class_groups or {}).values() for name in members} - set(classes)
    if unknown:
        raise InputError(f"class_groups: expected groups of the classes, found {sorted(unknown)[0]!r} in one")
    labels = {name: label for label, name in enumerate(classes)}
    with new_folder(path) as folder:
        shape = (num_persons, skeleton.num_joints)
        with (
            _ArrayFile(folder / FRAMES, ARRAYS[FRAMES], (*shape, 3)) as frames,
            _ArrayFile(folder / VISIBLE, ARRAYS[VISIBLE], shape) as visible,
        ):
            index = _tabulate(_append(clip, frames, visible, skeleton, labels) for clip in clips)
        index = with_holdout(index)
        pq.write_table(index, folder / INDEX)
        description = _describe(folder, index, skeleton, num_persons, classes, class_groups or {}, source or {})
        write_text(folder / DESCRIPTION, json.dumps(description, indent=1))
        if finish:
            finish(folder)


def _describe(
    folder: Path,
    index: pa.Table,
    skeleton: Skeleton,
    num_persons: int,
    classes: Sequence[str],
    class_groups: Mapping[str, Sequence[str]],
    source: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of dataset.json."""
    files = (FRAMES, VISIBLE, INDEX)
    sha256 = {name: hash_file(folder / name) for name in files}
    description = {
        "version": VERSION,
        "num_clips": len(index),
        "num_frames": pc.sum(index["length"]).as_py(),
        "num_persons": num_persons,
        "units": "metres, y up, right-handed",
        "skeleton": json.loads(json.dumps(skeleton.to_json())),
        "classes": list(classes),
        "class_groups": {name: list(members) for name, members in class_groups.items()},
        "source": dict(source),
        "bytes": {name: (folder / name).stat().st_size for name in files},
        "sha256": sha256,
        "fingerprint": fingerprint_of(skeleton, classes, sha256),
    }
    return description | {"checksum": checksum_of(description)}


class _ArrayFile:
    """A .npy file to which rows are appended."""

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row, self.num_rows = path, dtype, row, 0

    def __enter__(self) -> _ArrayFile:
        self.file: BinaryIO = self.path.open("wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> str:
        """Write rows (n, *row) and return their hash."""
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
        """Write the header, which numpy pads so that the number of rows can grow in place."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.num_rows, *self.row),
        }
        np.lib.format.write_array_header_1_0(self.file, header)


def _append(
    clip: Clip, frames: _ArrayFile, visible: _ArrayFile, skeleton: Skeleton, labels: Mapping[str, int]
) -> dict[str, Any]:
    """Append a clip's frames and return its index row."""
    name = f"clip {shown(clip.id)}"
    same_joints = (clip.skeleton.joints, clip.skeleton.parents) == (skeleton.joints, skeleton.parents)
    if not same_joints or clip.num_persons > frames.row[0]:
        raise InputError(
            f"{name}: expected skeleton {skeleton.name!r} and at most {frames.row[0]} persons, "
            f"found {clip.skeleton.name!r} and {clip.num_persons}"
        )
    with np.errstate(over="ignore"):
        kept = clip.position.astype(ARRAYS[FRAMES])
    if not np.isfinite(kept[clip.visible]).all():
        raise InputError(f"{name}: expected finite positions of visible joints, found others")
    if not clip.visible.any():
        raise InputError(f"{name}: expected a body in at least one frame, found none")
    if clip.label is not None and clip.label not in labels:
        raise InputError(f"{name}: expected a label among the {len(labels)} classes, found {shown(clip.label)}")
    odd = [split for split in clip.splits if not split or split[0] == "." or set(split) & set("/\\")]
    if odd:
        raise InputError(f"{name}: expected names of splits that can name files, found {shown(odd[0])}")
    wrong = {split: part for split, part in clip.splits.items() if part not in (TRAIN, TEST)}
    if wrong:
        raise InputError(f"{name}: expected splits of {TRAIN!r} or {TEST!r}, found {shown(wrong)}")
    missing = frames.row[0] - clip.num_persons
    mask = np.pad(clip.visible, [(0, 0), (0, missing), (0, 0)])
    position = np.pad(kept, [(0, 0), (0, missing), (0, 0), (0, 0)])
    start = frames.num_rows
    visible.append(mask)
    return {
        "id": clip.id,
        "start": start,
        "hash": frames.append(np.where(mask[..., None], position, 0)),
        "length": clip.num_frames,
        "fps": float(clip.fps),
        "persons": int(clip.visible.any(axis=(0, 2)).sum()),
        **{column: getattr(clip, column) for column in CLIP_COLUMNS},
        "label": None if clip.label is None else labels[clip.label],
        **{SPLIT + split: part for split, part in clip.splits.items()},
    }


def _tabulate(rows: Iterator[dict[str, Any]]) -> pa.Table:
    """Return the index; rows are converted to columns in chunks, which takes a tenth of the memory."""
    parts = []
    while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
        splits = {name: pa.string() for row in some for name in row if name.startswith(SPLIT)}
        types = COLUMNS | splits
        parts.append(pa.table({name: pa.array([row.get(name) for row in some], kind) for name, kind in types.items()}))
    if not parts:
        raise InputError("expected at least one clip to write, found none")
    index = pa.concat_tables(parts, promote_options="default").combine_chunks()
    counts = pc.value_counts(index["id"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise InputError(f"expected a unique id for every clip, found several named {', '.join(twice[:5])}")
    return index
