"""A dataset: prepared clips as one flat array of frames, an index with one row per clip, and a description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from ulna.core import TEST, TRAIN, Clip, InputError, Skeleton, unknown_name, write_text
from ulna.dataset.arrays import Rows
from ulna.dataset.description import (
    ADVICE,
    ARRAYS,
    CLIP_COLUMNS,
    CONFIDENCE,
    FRAME_NUMBERS,
    FRAMES,
    OPTIONAL_ARRAYS,
    SPLIT,
    VISIBLE,
    DatasetError,
    Description,
    check_files,
    hash_files,
    read_description,
    read_index,
)
from ulna.dataset.writing import write_dataset

_VERIFIED = ".verified.json"


_PART = re.compile(r"(.*)@([0-9]{1,12})-[0-9]{1,12}(?:\+[0-9]+)?")  # id of a window or annotated part


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder.

    Opening validates the description, the sizes of the files and the index; `verify` checks every byte.

    Args:
        path: Folder written by `ulna prepare` or `Dataset.write`.

    Raises:
        MissingError: If the folder is not a dataset.
        DatasetError: If the dataset is damaged, incomplete or of another version.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))
        check_files(self.path, self.description)
        _ = self.table

    @classmethod
    def write(
        cls,
        path: str | Path,
        clips: Iterable[Clip],
        *,
        classes: Sequence[str] | None = None,
        class_groups: Mapping[str, Sequence[str]] | None = None,
        skeleton: Skeleton | None = None,
        num_persons: int | None = None,
        frames_per_shard: int | None = None,
    ) -> Dataset:
        """Write clips as a dataset and open it. The folder is created completely or not at all.

        If labelled clips have no split, a split `holdout` is added: every fifth subject is held out for testing, or
        every fifth clip of each class if subjects are unknown.

        Args:
            path: Folder to write; must not exist.
            clips: Clips of one skeleton. To save memory, pass a generator together with `classes`, `skeleton` and
                `num_persons`.
            classes: Class names, in order; by default the labels of the clips, sorted.
            class_groups: Class names of each group, by group name; accuracy is also reported per group.
            skeleton: Skeleton of all clips; by default that of the first clip.
            num_persons: Maximum number of persons per clip; by default that of the clips.
            frames_per_shard: Number of frames after which another set of files is begun; by default there is one.

        Raises:
            ExistsError: If `path` exists.
            InputError: If there are no clips, or a clip is invalid or does not match the skeleton, classes or number
                of persons.
        """
        write_dataset(
            Path(path), clips, skeleton, classes=classes, class_groups=class_groups, num_persons=num_persons,
            frames_per_shard=frames_per_shard,
        )  # fmt: skip
        return cls(path)

    @cached_property
    def description(self) -> Description:
        """Content of dataset.json."""
        return read_description(self.path)

    @cached_property
    def table(self) -> pa.Table:
        """The index, one row per clip."""
        return read_index(self.path, self.description)

    @cached_property
    def frames(self) -> Rows:
        """Positions (F, P, K, 3) float32 of all frames; slices are memory-mapped."""
        return self._rows(FRAMES)

    @cached_property
    def visible(self) -> Rows:
        """Visibility mask (F, P, K) bool of all frames; slices are memory-mapped."""
        return self._rows(VISIBLE)

    @cached_property
    def confidence(self) -> Rows | None:
        """Confidence (F, P, K) float32 of all joints, NaN where unknown; None if no clip has any."""
        return self._rows(CONFIDENCE) if CONFIDENCE in self.description.arrays else None

    @cached_property
    def frame_numbers(self) -> Rows | None:
        """Number (F,) int64 of each frame in its recording, -1 where unknown; None if no clip has any."""
        return self._rows(FRAME_NUMBERS) if FRAME_NUMBERS in self.description.arrays else None

    def _rows(self, array: str) -> Rows:
        files, shapes = self.description.files(array), self.description.shapes(array)
        dtype = (ARRAYS | OPTIONAL_ARRAYS)[array]
        return Rows([self.path / name for name in files], [shape[0] for shape in shapes], shapes[0][1:], dtype)

    @property
    def dimensions(self) -> int:
        """3, or 2 for positions in an image (their third coordinate is zero)."""
        return self.description.dimensions

    @property
    def units(self) -> str:
        """Unit of the positions: "metres", "millimetres", "pixels" or "relative"."""
        return self.description.units.partition(",")[0]

    @property
    def recordings(self) -> list[str]:
        """Recording that each clip was cut from; the clip's own id if it was not cut."""
        ids = self.ids
        if "recording" not in self.table.column_names:
            return ids
        return [recording or own for recording, own in zip(self.table["recording"].to_pylist(), ids, strict=True)]

    @property
    def label_names(self) -> list[str | None]:
        """Name of each clip's class, None if it has no label."""
        return [self.classes[label] if label >= 0 else None for label in self.labels.tolist()]

    @cached_property
    def parts(self) -> tuple[list[str], np.ndarray]:
        """Recording (and person) that each clip is a part of, and the first frame (N,) of the part.

        Clips that were not cut from a recording are parts of their own, from frame 0.
        """
        matches = [_PART.fullmatch(name) for name in self.ids]
        if "recording" not in self.table.column_names:
            matches = [None] * self.num_clips
        names = [own if match is None else match[1] for own, match in zip(self.ids, matches, strict=True)]
        return names, np.array([0 if match is None else int(match[2]) for match in matches])

    @property
    def owners(self) -> np.ndarray:
        """Number (N,) of the group, subject or recording that each clip belongs to.

        The first of these that is known for all clips and has more than one value. Clips that were cut from a single
        recording belong together; else every clip is on its own.
        """
        for name in ("group", "subject", "recording"):
            values = self.table[name].to_pylist() if name in self.table.column_names else [None]
            if None not in values and (len(set(values)) > 1 or name == "recording"):
                return np.unique(np.array(values), return_inverse=True)[1]
        return np.arange(self.num_clips)

    @property
    def skeleton(self) -> Skeleton:
        """Skeleton of all clips."""
        return self.description.skeleton

    @cached_property
    def starts(self) -> np.ndarray:
        """(B,) first frame of each clip."""
        return self.table["start"].to_numpy()

    @cached_property
    def lengths(self) -> np.ndarray:
        """(B,) number of frames of each clip."""
        return self.table["length"].to_numpy()

    @cached_property
    def labels(self) -> np.ndarray:
        """(B,) class index of each clip, -1 if unknown."""
        return np.asarray(self.table["label"].fill_null(-1).to_numpy(), dtype=np.int64)

    @cached_property
    def fps(self) -> np.ndarray:
        """(B,) frames per second of each clip."""
        return self.table["fps"].to_numpy()

    @property
    def ids(self) -> list[str]:
        """Id of each clip."""
        return list(self.table["id"].to_pylist())

    @property
    def hashes(self) -> pa.ChunkedArray:
        """(B,) hash of each clip's positions, as strings; exact copies have equal hashes."""
        return self.table["hash"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.description.classes

    @property
    def class_groups(self) -> dict[str, tuple[str, ...]]:
        """Class names of each group, by group name."""
        return self.description.class_groups

    @property
    def num_clips(self) -> int:
        """B, the number of clips."""
        return self.description.num_clips

    @property
    def num_frames(self) -> int:
        """F, the number of frames of all clips."""
        return self.description.num_frames

    @property
    def num_persons(self) -> int:
        """P, the maximum number of persons per clip."""
        return self.description.num_persons

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        return self.description.fingerprint

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(name.removeprefix(SPLIT) for name in self.table.column_names if name.startswith(SPLIT))

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of a split's training and test clips; raises InputError if there is no such split."""
        if name not in self.splits:
            raise InputError(unknown_name(f"split of {self.path}", name, self.splits or ["(none)"]))
        part = np.array(self.table[SPLIT + name].to_pylist(), dtype=object)
        return np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)

    def lengths_up_to(self, clips: np.ndarray, max_frames: int | None) -> np.ndarray:
        """Return the number of frames of some clips, each limited to `max_frames`.

        Args:
            clips: (B,) indices of the clips.
            max_frames: Maximum number of frames per clip; None sets no limit.
        """
        lengths = self.lengths[clips]
        return lengths if max_frames is None else np.minimum(lengths, max_frames)

    def read(self, clips: np.ndarray, max_frames: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the first frames of some clips.

        Args:
            clips: (B,) indices of the clips.
            max_frames: Maximum number of frames per clip; None reads all.

        Returns:
            Positions (F, P, K, 3), visibility mask (F, P, K) and lengths (B,), clips concatenated.
        """
        lengths = self.lengths_up_to(clips, max_frames)
        try:
            position, visible = (rows.read(self.starts[clips], lengths) for rows in (self.frames, self.visible))
        except EOFError as error:
            raise DatasetError(f"{error}: expected more bytes, found the end of the file. {ADVICE}") from None
        return position, visible, lengths

    def clip(self, index: int) -> Clip:
        """Return one clip with its metadata."""
        row = self.table.slice(index, 1).to_pylist()[0]
        part = slice(row["start"], row["start"] + row["length"])
        confidence = None if self.confidence is None else np.array(self.confidence[part])
        numbers = None if self.frame_numbers is None else np.array(self.frame_numbers[part])
        tracks = row.get("tracks")
        return Clip(
            id=row["id"],
            position=np.array(self.frames[part]),
            skeleton=self.skeleton,
            visible=np.array(self.visible[part]),
            fps=row["fps"],
            splits={name: row[SPLIT + name] for name in self.splits if row[SPLIT + name]},
            **{name: row[name] for name in CLIP_COLUMNS if name != "label"},
            label=None if row["label"] is None else self.classes[row["label"]],
            dimensions=self.dimensions,
            units=self.units,  # type: ignore[arg-type]
            confidence=None if confidence is None or np.isnan(confidence).all() else confidence,
            image_size=(row["image_width"], row["image_height"]) if row.get("image_width") else None,
            tracks=None if tracks is None else tuple(tracks),
            frame_numbers=None if numbers is None or (numbers < 0).all() else numbers,
            recording=row.get("recording"),
            group=row.get("group"),
        )

    def verify(self, *, recheck: bool = False) -> None:
        """Verify the content byte by byte. A passed check is cached until a file's size or time stamps change.

        Args:
            recheck: Check every byte even if an earlier check passed.

        Raises:
            DatasetError: If the content changed since the dataset was written.
        """
        arrays = [name for array in self.description.arrays for name in self.description.files(array)]
        stamps = {
            name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name in arrays for s in [(self.path / name).stat()]
        }
        passed = json.dumps({"fingerprint": self.fingerprint, "stamps": stamps})
        cache = self.path / _VERIFIED
        if not recheck and cache.is_file() and cache.read_bytes() == passed.encode():
            return
        for name, found in zip(arrays, hash_files([self.path / name for name in arrays]), strict=True):
            expected = self.description.sha256[name]
            if found != expected:
                raise DatasetError(
                    f"{self.path / name}: expected the content the dataset was written with (sha256 {expected[:12]}), "
                    f"found changed bytes. {ADVICE}"
                )
        try:
            write_text(cache, passed)
        except OSError:
            return  # a read-only dataset is checked every time
