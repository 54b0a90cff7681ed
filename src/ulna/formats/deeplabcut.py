"""DeepLabCut: `.csv` and `.h5` tables of one or several animals, 2-D or 3-D."""

from __future__ import annotations

import csv
import io
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import Clip, InputError, Skeleton
from ulna.formats.base import BadFileError, Source, decoded, head, list_files, named_skeleton
from ulna.formats.detections import PoseFormat, warn
from ulna.formats.labels import labelled_source
from ulna.formats.markers import edges_of
from ulna.formats.reader_process import load_safely

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
HDF5 = b"\x89HDF"


class DeepLabCut(PoseFormat):
    """Reads DeepLabCut's tables (single-animal, multi-animal, 3-D). 2-D positions are in pixels, 3-D positions in
    calibration units.

    The tables name joints but no bones: pass the bones with `bones`. Joints with a likelihood of `min_confidence` or
    less are missing; DeepLabCut suggests 0.6.
    """

    bones: str = ""
    """Pairs of joints that bones connect, for drawing and for the hierarchy: "nose-neck,neck-tail"."""

    title = "DeepLabCut tables (2-D and 3-D, animals)"
    pattern = "*DLC*.csv"
    files_wanted = "*.csv or *.h5 with levels scorer, (individuals,) bodyparts, coords"
    where = "deeplabcut.analyze_videos(..., save_as_csv=True)"
    cite = "Mathis et al.: DeepLabCut, Nature Neuroscience 2018; Lauer et al., Nature Methods 2022"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file is a table of DeepLabCut."""
        if path.suffix == ".csv":
            return head(path, 64).removeprefix(b"\xef\xbb\xbf").startswith(b"scorer,")
        is_other = path.name.endswith(".analysis.h5")
        return path.suffix in (".h5", ".hdf5") and not is_other and head(path, 4) == HDF5

    def open(self, source: Path) -> Source:
        if source.is_file():
            files: tuple[Path, ...] = (source,)
        else:
            found = list_files(source, "*", "DeepLabCut tables")
            files = tuple(path for path in found if path.suffix in (".csv", ".h5", ".hdf5") and self.recognises(path))
            files = tuple(path for path in files if path.suffix == ".csv" or path.with_suffix(".csv") not in files)
            if not files:
                raise InputError(f"{source}: expected {self.files_wanted}, found none")

        def skeleton_of(path: Path) -> Skeleton:
            return self._skeleton(path, _load(path)["joints"].tolist())

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = _load(path)
        skeleton = self._skeleton(path, content["joints"].tolist())
        if skeleton.joints != source.skeleton.joints:
            expected, found = f"the joints of {source.files[0].name}", f"{skeleton.num_joints} other joints"
            raise BadFileError(path, "bodyparts", expected=expected, found=found)
        rows, first = content["rows"], int(content["first"])
        return [
            self.clip_of_rows(
                path, rows, skeleton, tracks=tuple(content["individuals"].tolist()), origin=source.origin,
                units="relative" if rows.shape[-1] == 4 else "pixels", first_frame=max(0, first),
            )
        ]  # fmt: skip

    def _skeleton(self, path: Path, names: list[str]) -> Skeleton:
        edges = edges_of(self.bones, names)
        return named_skeleton(path, "bodyparts", "deeplabcut", names, edges, expected="unique joint names")


def _load(path: Path) -> dict[str, Any]:
    return _csv(path) if path.suffix == ".csv" else load_safely("deeplabcut", path)


def _csv(path: Path) -> dict[str, Any]:
    try:
        table = [row for row in csv.reader(io.StringIO(decoded(path, path.read_bytes()))) if row]
    except csv.Error as error:
        raise BadFileError(path, "whole file", expected="a CSV table", found=str(error)) from None
    levels: dict[str, list[str]] = {}
    while table and table[0][0].strip() in LEVELS:
        row = table.pop(0)
        levels[row[0].strip()] = [cell.strip() for cell in row[1:]]
    if "bodyparts" not in levels or "coords" not in levels or not table:
        raise BadFileError(path, "line 1", expected=f"rows {', '.join(LEVELS)}, then numbers", found="another table")
    width = len(levels["coords"])
    numbers = np.full((len(table), width), np.nan)
    for line, row in enumerate(table):
        place = f"line {line + len(levels) + 1}"
        if len(row) != width + 1:
            raise BadFileError(path, place, expected=f"{width + 1} columns", found=str(len(row)))
        try:
            numbers[line] = [float(cell) if cell.strip() else np.nan for cell in row[1:]]
        except ValueError:
            raise BadFileError(path, place, expected="numbers", found=repr(row)[:60]) from None
    cells = [row[0].strip() for row in table]
    is_counted = all(cell.isdecimal() and len(cell) < 12 for cell in cells)
    if not is_counted:
        warn(f"{path.name}: rows are named {cells[0][:40]!r}, not numbered; they are read as consecutive frames")
    numbers, index = _in_time(path, numbers, np.array([int(cell) for cell in cells]) if is_counted else None)
    names = levels.get("individuals", [""] * width)
    return arranged(path, list(zip(names, levels["bodyparts"], levels["coords"], strict=False)), numbers, index)


def arranged(path: Path, columns: list[tuple[str, str, str]], numbers: np.ndarray, first: int) -> dict[str, Any]:
    """Arrange the columns of a table, each (individual, joint, coordinate), as positions (T, P, K, D + 1).

    Joints that only some individuals have are NaN for the others.
    """
    if len(columns) != numbers.shape[1] or not columns:
        raise BadFileError(path, "header", expected="a name for each column", found=f"{len(columns)} names")
    people = list(dict.fromkeys(column[0] for column in columns))
    joints = list(dict.fromkeys(column[1] for column in columns))
    kinds = {column[2] for column in columns}
    if not {"x", "y"} <= kinds <= {"x", "y", "z", "likelihood"}:
        raise BadFileError(path, "coords", expected="x, y, (z,) likelihood", found=", ".join(sorted(kinds))[:60])
    axes = ["x", "y", *(["z"] if "z" in kinds else []), "likelihood"]
    if len(set(columns)) != len(columns):
        raise BadFileError(path, "header", expected="unique columns", found="a duplicate")
    if len(numbers) * len(people) * len(joints) > 1 << 29:
        raise BadFileError(path, "header", expected="fewer columns", found=f"{len(people)} x {len(joints)}")
    rows = np.full((len(numbers), len(people), len(joints), len(axes)), np.nan)
    for column, (person, joint, axis) in enumerate(columns):
        rows[:, people.index(person), joints.index(joint), axes.index(axis)] = numbers[:, column]
    if "likelihood" not in kinds:
        rows[..., -1] = 1.0
    names = [name or str(number) for number, name in enumerate(people)]
    return {"joints": np.array(joints), "individuals": np.array(names), "rows": rows, "first": first}


def load_h5(path: Path) -> dict[str, Any]:
    """Read a table that pandas wrote to HDF5, without unpickling anything."""
    import h5py

    with h5py.File(path, "r") as file:
        groups = [group for group in file.values() if isinstance(group, h5py.Group)]
        fixed = next((group for group in groups if "block0_values" in group), None)
        table = next((group for group in groups if "table" in group), None)
        if fixed is not None:
            columns, numbers, index = _fixed(fixed)
        elif table is not None:
            columns, numbers, index = _table(table)
        else:
            raise BadFileError(path, "top level", expected="a table of pandas", found=str(sorted(file))[:60])
    numbers, first = _in_time(path, numbers, index if len(index) and index.dtype.kind in "iu" else None)
    return arranged(path, columns, numbers, first)


def _in_time(path: Path, numbers: np.ndarray, index: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Return rows with empty ones for frames that are left out, and the number of the first frame."""
    if index is None or not len(index):
        return numbers, 0
    first, last = int(index[0]), int(index[-1])
    if (np.diff(index) < 1).any() or first < 0 or last - first > 10_000 + 1000 * len(index):
        expected = "frame numbers that increase"
        raise BadFileError(path, "first column", expected=expected, found=f"{len(index)} from {first} to {last}")
    whole = np.full((last - first + 1, numbers.shape[1]), np.nan)
    whole[index - first] = numbers
    return whole, first


def _fixed(group: Any) -> tuple[list[tuple[str, str, str]], np.ndarray, np.ndarray]:
    """Read a table in pandas' fixed format."""
    levels = []
    number = 0
    while f"block0_items_level{number}" in group:
        names = [v.decode() if isinstance(v, bytes) else str(v) for v in group[f"block0_items_level{number}"][:]]
        codes = group[f"block0_items_label{number}"][:]
        kind = group[f"block0_items_level{number}"].attrs.get("name", b"")
        levels.append((kind.decode() if isinstance(kind, bytes) else str(kind), [names[code] for code in codes]))
        number += 1
    by_name = dict(levels)
    width = group["block0_values"].shape[1]
    people = by_name.get("individuals", [""] * width)
    columns = list(zip(people, by_name["bodyparts"], by_name["coords"], strict=True))
    return columns, np.asarray(group["block0_values"], dtype=np.float64), group["axis1"][:]


def _table(group: Any) -> tuple[list[tuple[str, str, str]], np.ndarray, np.ndarray]:
    """Read a table in pandas' table format, whose column names are a pickle; only its texts are taken."""
    rows = group["table"][:]
    numbers = np.asarray(rows["values_block_0"], dtype=np.float64)
    names = _tuples_of_text(bytes(group["table"].attrs["values_block_0_kind"]))
    columns = [(name[-3] if len(name) == 4 else "", name[-2], name[-1]) for name in names if len(name) in (3, 4)]
    return columns, numbers, rows["index"]


def _tuples_of_text(pickled: bytes) -> list[tuple[str, ...]]:
    """Return the tuples of texts in a pickle, by its opcodes: nothing is unpickled or called."""
    memo: dict[Any, str] = {}
    last: str | None = None
    current: list[str] = []
    found: list[tuple[str, ...]] = []
    for code, argument, _ in pickletools.genops(pickled):
        if code.name in ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"):
            last = str(argument)
            current.append(last)
        elif code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if last is not None:
                memo[argument] = last
            last = None
        elif code.name == "MEMOIZE":
            if last is not None:
                memo[len(memo)] = last
            last = None
        elif code.name in ("GET", "BINGET", "LONG_BINGET"):
            current.append(memo.get(argument, ""))
        elif code.name == "MARK":
            current = []
        elif code.name in ("TUPLE", "TUPLE3", "TUPLE2"):
            found.append(tuple(current))
            current, last = [], None
    return found
