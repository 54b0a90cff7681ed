"""Write a dataset."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ulna.core import (
    TEST,
    TRAIN,
    Clip,
    InputError,
    Skeleton,
    check_range,
    new_folder,
    refuse_existing,
    shown,
    write_text,
)
from ulna.dataset.description import (
    ARRAYS,
    CLIP_COLUMNS,
    COLUMNS,
    CONFIDENCE,
    DESCRIPTION,
    FRAME_NUMBERS,
    FRAMES,
    INDEX,
    OPTIONAL_ARRAYS,
    OPTIONAL_COLUMNS,
    SPLIT,
    VERSION,
    VISIBLE,
    checksum_of,
    fingerprint_of,
    hash_files,
    shard_file,
)
from ulna.dataset.holdout import HoldOut, with_holdout
from ulna.dataset.windows import Window

ROWS_AT_ONCE = 1000
FRAMES_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Schema:
    """Properties shared by all clips of a dataset.

    Args:
        skeleton: Skeleton of all clips.
        classes: Class names.
        num_persons: Maximum number of persons per clip.
        class_groups: Class names of each group, by group name.
    """

    skeleton: Skeleton
    classes: tuple[str, ...]
    num_persons: int
    class_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or not all(self.classes):
            raise InputError(f"classes: expected names that are unique, found {shown(self.classes)}")
        unknown = {name for members in self.class_groups.values() for name in members} - set(self.classes)
        if unknown:
            raise InputError(f"class_groups: expected groups of the classes, found {sorted(unknown)[0]!r} in one")


@dataclass(frozen=True)
class Shard:
    """Clips that were written to the same files.

    Args:
        index: One row per clip, whose frames are counted from the start of the shard; None if there are no clips.
        num_frames: Number of frames.
        dimensions: 3, or 2 for positions in an image.
        units: Units of the positions, see `Clip`.
    """

    index: pa.Table | None
    num_frames: int
    dimensions: int
    units: str


def write_dataset(
    path: Path,
    clips: Iterable[Clip],
    skeleton: Skeleton | None = None,
    *,
    classes: Sequence[str] | None = None,
    class_groups: Mapping[str, Sequence[str]] | None = None,
    num_persons: int | None = None,
    source: Mapping[str, Any] | None = None,
    cut: Callable[[Clip], list[Window]] | None = None,
    hold_out: HoldOut | None = None,
    frames_per_shard: int | None = None,
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
        cut: Returns the windows of a clip, each of which becomes a row of the index; by default the whole clip is one.
        hold_out: What the default split keeps together; see `with_holdout`.
        frames_per_shard: Number of frames after which another set of files is begun; None writes one.
        finish: Called with the unfinished folder as the last step, for example to add files.
    """
    refuse_existing(path)
    if frames_per_shard is not None:
        check_range("frames_per_shard", frames_per_shard, 1)
    if skeleton is None or classes is None or num_persons is None:
        clips = list(clips)
        if not clips:
            raise InputError("expected at least one clip to write, found none")
        skeleton = skeleton or clips[0].skeleton
        num_persons = num_persons or max(clip.num_persons for clip in clips)
        classes = sorted({clip.label for clip in clips if clip.label is not None}) if classes is None else classes
    if isinstance(classes, str):
        raise InputError(f"classes: expected names that are unique, found {shown(classes)}")
    schema = Schema(skeleton, tuple(classes), num_persons, class_groups or {})
    with new_folder(path) as folder:
        if frames_per_shard is None:
            shards = [write_shard(folder, clips, schema, cut=cut)]
        else:
            shards = [
                write_shard(folder, part, schema, cut=cut, number=number)
                for number, part in enumerate(_parts(clips, frames_per_shard))
            ]
        finish_dataset(folder, shards, schema, source=source or {}, hold_out=hold_out)
        if finish:
            finish(folder)


def write_shard(
    folder: Path,
    clips: Iterable[Clip],
    schema: Schema,
    *,
    cut: Callable[[Clip], list[Window]] | None = None,
    number: int | None = None,
) -> Shard:
    """Write the arrays of some clips to a folder.

    Args:
        folder: An existing folder.
        clips: The clips.
        schema: Properties shared by all clips of the dataset.
        cut: Returns the windows of a clip, see `write_dataset`.
        number: Number of the shard; None if it is the only one.
    """
    labels = {name: label for label, name in enumerate(schema.classes)}
    with _Arrays(folder, schema, number) as arrays:
        index = _tabulate(row for clip in clips for row in _append(clip, arrays, schema.skeleton, labels, cut))
    return Shard(index, arrays.num_frames, arrays.dimensions, arrays.units)


def finish_dataset(
    folder: Path, shards: Sequence[Shard], schema: Schema, *, source: Mapping[str, Any], hold_out: HoldOut | None
) -> None:
    """Write index and description of shards whose arrays are in a folder.

    Args:
        folder: The folder; `shards[i]` was written to it with number i, or without a number if it is the only one.
        shards: The shards, of which empty ones must come without files.
        schema: Properties shared by all clips.
        source: Notes on the origin of the data, as JSON values.
        hold_out: What the default split keeps together; see `with_holdout`.
    """
    is_single = (folder / FRAMES).exists()
    tables, first = [], 0
    for shard in shards:
        if shard.index is None:
            continue
        start = pa.array(shard.index["start"].to_numpy() + first)
        tables.append(shard.index.set_column(shard.index.column_names.index("start"), "start", start))
        first += shard.num_frames
        if (shard.dimensions, shard.units) != (shards[0].dimensions, shards[0].units):
            raise InputError(
                f"expected {shards[0].dimensions} dimensions in {shards[0].units} as in the first clips, found "
                f"{shard.dimensions} in {shard.units}. Prepare them as two datasets."
            )
    if not tables:
        raise InputError("expected at least one clip to write, found none")
    index = pa.concat_tables(tables, promote_options="default").combine_chunks()
    counts = pc.value_counts(index["id"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise InputError(f"expected a unique id for every clip, found several named {', '.join(twice[:5])}")
    index = with_holdout(index, hold_out)
    pq.write_table(index, folder / INDEX)
    sizes = () if is_single else tuple(shard.num_frames for shard in shards)
    _complete_optional(folder, sizes, schema)
    description = _describe(folder, index, schema, shards[0], sizes, source)
    write_text(folder / DESCRIPTION, json.dumps(description, indent=1))


def _parts(clips: Iterable[Clip], most: int) -> Iterator[Iterator[Clip]]:
    """Divide clips into parts of about `most` frames, which must be consumed in order."""
    left = iter(clips)
    following = next(left, None)

    def part() -> Iterator[Clip]:
        nonlocal following
        num_frames = 0
        while following is not None and num_frames < most:
            clip, following = following, next(left, None)
            num_frames += clip.num_frames
            yield clip

    while following is not None:
        yield part()


def _describe(
    folder: Path, index: pa.Table, schema: Schema, first: Shard, sizes: tuple[int, ...], source: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of dataset.json."""
    arrays = [
        name if not sizes else shard_file(name, number)
        for name in (*ARRAYS, *OPTIONAL_ARRAYS)
        for number in range(len(sizes) or 1)
    ]
    files = [name for name in (INDEX, *arrays) if (folder / name).exists()]
    sha256 = dict(zip(files, hash_files([folder / name for name in files]), strict=True))
    description = {
        "version": VERSION,
        "num_clips": len(index),
        "num_frames": sum(sizes) if sizes else first.num_frames,
        "num_persons": schema.num_persons,
        "units": f"{first.units}, y down" if first.dimensions == 2 else f"{first.units}, y up, right-handed",
        **({"dimensions": 2} if first.dimensions == 2 else {}),
        **({"shards": list(sizes)} if sizes else {}),
        "skeleton": json.loads(json.dumps(schema.skeleton.to_json())),
        "classes": list(schema.classes),
        "class_groups": {name: list(members) for name, members in schema.class_groups.items()},
        "source": dict(source),
        "bytes": {name: (folder / name).stat().st_size for name in files},
        "sha256": sha256,
        "fingerprint": fingerprint_of(schema.skeleton, schema.classes, sha256),
    }
    return description | {"checksum": checksum_of(description)}


def _complete_optional(folder: Path, sizes: tuple[int, ...], schema: Schema) -> None:
    """Write the optional arrays that some shards lack and others have, with unknown values."""
    rows = _array_rows(schema)
    for name in OPTIONAL_ARRAYS:
        files = [folder / shard_file(name, number) for number in range(len(sizes))]
        if any(file.exists() for file in files):
            for file, size in zip(files, sizes, strict=True):
                if not file.exists():
                    with _ArrayFile(file, OPTIONAL_ARRAYS[name], rows[name]) as array:
                        array.append_unknown(size)


def _array_rows(schema: Schema) -> dict[str, tuple[int, ...]]:
    """Return the shape of a frame in each array."""
    nodes = (schema.num_persons, schema.skeleton.num_joints)
    return {FRAMES: (*nodes, 3), VISIBLE: nodes, CONFIDENCE: nodes, FRAME_NUMBERS: ()}


class _ArrayFile:
    """A .npy file to which rows are appended."""

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row, self.num_rows = path, dtype, row, 0

    def __enter__(self) -> _ArrayFile:
        self.file: BinaryIO = self.path.open("wb")
        self._write_header()
        return self

    def append(self, rows: np.ndarray) -> None:
        """Write rows (n, *row)."""
        self.file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.num_rows += len(rows)

    def append_unknown(self, num: int) -> None:
        """Write rows for frames whose values are not known: NaN, or -1 for whole numbers."""
        value = np.nan if self.dtype.kind == "f" else -1
        for start in range(0, num, FRAMES_AT_ONCE):
            self.append(np.full((min(FRAMES_AT_ONCE, num - start), *self.row), value))

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


class _Arrays:
    """The arrays of a dataset that is being written; optional ones are created by the first clip that needs them."""

    def __init__(self, folder: Path, schema: Schema, number: int | None) -> None:
        self.folder, self.number, self.num_persons, self.num_frames = folder, number, schema.num_persons, 0
        self.dimensions, self.units = 3, "metres"
        self.rows = _array_rows(schema)
        self.files: dict[str, _ArrayFile] = {}
        self.stack = ExitStack()

    def __enter__(self) -> _Arrays:
        for name in ARRAYS:
            self._open(name)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def _open(self, name: str) -> None:
        path = self.folder / (name if self.number is None else shard_file(name, self.number))
        dtype = (ARRAYS | OPTIONAL_ARRAYS)[name]
        self.files[name] = self.stack.enter_context(_ArrayFile(path, dtype, self.rows[name]))

    def append(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Append a clip's frames; returns positions (T, P, K, 3) and visibility mask (T, P, K) as stored."""
        if not self.num_frames:
            self.dimensions, self.units = clip.dimensions, clip.units
        if (clip.dimensions, clip.units) != (self.dimensions, self.units):
            raise InputError(
                f"clip {shown(clip.id)}: expected {self.dimensions} dimensions in {self.units}, as in the first clip, "
                f"found {clip.dimensions} in {clip.units}. Prepare them as two datasets."
            )
        missing = [(0, 0), (0, self.num_persons - clip.num_persons), (0, 0)]
        mask = np.pad(clip.visible, missing)
        with np.errstate(over="ignore", invalid="ignore"):
            kept = clip.position.astype(ARRAYS[FRAMES], copy=False)
        position = np.where(mask[..., None], np.pad(kept, [*missing, (0, 0)]), 0)
        self.files[FRAMES].append(position)
        self.files[VISIBLE].append(mask)
        confidence = None if clip.confidence is None else np.pad(clip.confidence, missing)
        self._append_optional(CONFIDENCE, confidence, clip.num_frames)
        self._append_optional(FRAME_NUMBERS, clip.frame_numbers, clip.num_frames)
        self.num_frames += clip.num_frames
        return position, mask

    def _append_optional(self, name: str, rows: np.ndarray | None, num: int) -> None:
        """Append rows of `num` frames to an optional array, which marks frames without a value as unknown."""
        if rows is not None and name not in self.files:
            self._open(name)
            self.files[name].append_unknown(self.num_frames)
        if name not in self.files:
            return
        if rows is None:
            self.files[name].append_unknown(num)
        else:
            self.files[name].append(rows)


def _append(
    clip: Clip,
    arrays: _Arrays,
    skeleton: Skeleton,
    labels: Mapping[str, int],
    cut: Callable[[Clip], list[Window]] | None,
) -> list[dict[str, Any]]:
    """Append a clip's frames and return its index rows."""
    _check_clip(clip, arrays.num_persons, skeleton, labels)
    start = arrays.num_frames
    windows = [Window(clip.id, 0, clip.num_frames, clip.label)] if cut is None else cut(clip)
    if not windows:
        return []
    position, mask = arrays.append(clip)
    tracks = None if clip.tracks is None else [*clip.tracks, *[""] * (arrays.num_persons - clip.num_persons)]
    width, height = clip.image_size or (None, None)
    rows = []
    for window in windows:
        part = slice(window.start, window.start + window.length)
        rows.append(
            {
                "id": window.id,
                "start": start + window.start,
                "hash": _hash(position[part]),
                "length": window.length,
                "fps": float(clip.fps),
                "persons": int(mask[part].any(axis=(0, 2)).sum()),
                **{column: getattr(clip, column) for column in CLIP_COLUMNS},
                "label": None if window.label is None else labels[window.label],
                "recording": clip.recording if cut is None else clip.recording or clip.id,
                "group": clip.group,
                "image_width": width,
                "image_height": height,
                "tracks": tracks,
                **{SPLIT + split: part for split, part in clip.splits.items()},
            }
        )
    return rows


def _hash(rows: np.ndarray) -> str:
    """Return the hash of an array's bytes, which are not copied."""
    return hashlib.blake2b(np.ascontiguousarray(rows).data.cast("B"), digest_size=8).hexdigest()


def _check_clip(clip: Clip, num_persons: int, skeleton: Skeleton, labels: Mapping[str, int]) -> None:
    """Raise InputError if a clip does not fit into the dataset."""
    name = f"clip {shown(clip.id)}"
    same_joints = (clip.skeleton.joints, clip.skeleton.parents) == (skeleton.joints, skeleton.parents)
    if not same_joints or clip.num_persons > num_persons:
        raise InputError(
            f"{name}: expected skeleton {skeleton.name!r} and at most {num_persons} persons, "
            f"found {clip.skeleton.name!r} and {clip.num_persons}"
        )
    with np.errstate(over="ignore"):
        kept = clip.position.astype(ARRAYS[FRAMES], copy=False)
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


def _tabulate(rows: Iterator[dict[str, Any]]) -> pa.Table | None:
    """Return the index, None without rows; they are converted in chunks, which takes a tenth of the memory."""
    parts = []
    while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
        splits = {name: pa.string() for row in some for name in row if name.startswith(SPLIT)}
        more = {name: kind for name, kind in OPTIONAL_COLUMNS.items() if any(row[name] is not None for row in some)}
        types = COLUMNS | more | splits
        parts.append(pa.table({name: pa.array([row.get(name) for row in some], kind) for name, kind in types.items()}))
    return pa.concat_tables(parts, promote_options="default").combine_chunks() if parts else None
