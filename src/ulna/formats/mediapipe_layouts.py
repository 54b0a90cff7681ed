"""Layouts in which people save MediaPipe's landmarks: JSON, CSV and NumPy files as arrays (T, P, 33, 4)."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import get_skeleton
from ulna.formats.base import BadFileError, decoded, read_json
from ulna.formats.detections import as_numbers

NUM_LANDMARKS = 33
HOLISTIC = {1662: 4, 258: 4, 1629: 3, 225: 3}  # numbers of a holistic vector: numbers per landmark of the body
KEYS = (
    "pose_world_landmarks",
    "poseWorldLandmarks",
    "pose_landmarks",
    "poseLandmarks",
    "landmarks",
    "landmark",
    "pose",
)
WORLD_KEYS = KEYS[:2]
LISTS = ("frames", "data", "results", "predictions")
NEAR_ORIGIN = 0.05  # metres


def npy_shape(path: Path) -> tuple[int, ...] | None:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(file)[0]
            return np.lib.format.read_array_header_2_0(file)[0]
    except (ValueError, OSError, EOFError):
        return None


def load(path: Path, landmarks: str = "auto") -> tuple[np.ndarray, bool | None]:
    """Return landmarks (T, P, 33, 4) as x, y, z, visibility, and whether they are world landmarks (None if unknown)."""
    if path.suffix == ".npy":
        return _of_numbers(path, _npy(path)), None
    if path.suffix == ".csv":
        return _csv(path), None
    return _json(path, KEYS if landmarks != "image" else tuple(key for key in KEYS if key not in WORLD_KEYS))


def _npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception:  # damaged files raise many kinds of exceptions
        found = "data that is not a plain NumPy array" if path.stat().st_size else "an empty file"
        raise BadFileError(path, "whole file", expected="an array saved by numpy.save", found=found) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.size:
        raise BadFileError(path, "whole file", expected="an array of numbers", found="something else")
    return np.asarray(array, dtype=np.float64)


def _of_numbers(path: Path, array: np.ndarray) -> np.ndarray:
    """Return landmarks (T, P, 33, 4) of an array in one of the known shapes."""
    shape = array.shape
    if array.ndim == 1 or shape == (NUM_LANDMARKS, 3) or shape == (NUM_LANDMARKS, 4):
        array = array[None]
    if array.ndim == 2:
        width = array.shape[1]
        per = HOLISTIC.get(width) or {3 * NUM_LANDMARKS: 3, 4 * NUM_LANDMARKS: 4}.get(width)
        if per:
            array = array[:, : per * NUM_LANDMARKS].reshape(len(array), NUM_LANDMARKS, per)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[2] != NUM_LANDMARKS or array.shape[3] not in (3, 4, 5) or 0 in array.shape:
        expected = "(T, 33, 3 or 4), (T, 99 or 132), or holistic vectors of 1662, 1629, 258 or 225 numbers"
        raise BadFileError(path, "whole file", expected=expected, found=f"numbers {shape}")
    if array.shape[3] == 3:
        array = np.concatenate([array, np.ones_like(array[..., :1])], axis=-1)
    rows = np.array(array[..., :4], dtype=np.float64)
    if np.isinf(rows).any():
        raise BadFileError(path, "whole file", expected="finite coordinates", found="infinity")
    # A body that was not found is a row of zeros.
    rows[(rows[..., :3] == 0).all(axis=(-1, -2))] = np.nan
    return rows


def _json(path: Path, keys: tuple[str, ...] = KEYS) -> tuple[np.ndarray, bool | None]:
    content = read_json(path)
    if isinstance(content, dict):
        content = next((content[key] for key in LISTS if isinstance(content.get(key), list)), content)
    world: bool | None = None
    if isinstance(content, dict):
        world = any(key in content for key in keys if key in WORLD_KEYS) or None
        content = _landmarks(content, keys)
        if depth_of(content) == 1:
            content = [content]
    elif (
        isinstance(content, list) and depth_of(content) == 1 and len(content) == NUM_LANDMARKS and _is_point(content[0])
    ):
        content = [content]
    if not isinstance(content, list) or not content:
        raise BadFileError(path, "top level", expected="a list of frames", found=repr(content)[:60])
    if all(isinstance(frame, dict) for frame in content):
        found = {key for frame in content for key in frame}
        world = True if found & set(WORLD_KEYS) & set(keys) else False if found & set(KEYS[2:4]) else None
    frames = [_people(path, number, _landmarks(frame, keys)) for number, frame in enumerate(content)]
    num_people = max(1, *(len(people) for people in frames))
    rows = np.full((len(frames), num_people, NUM_LANDMARKS, 4), np.nan)
    for number, people in enumerate(frames):
        for person, points in enumerate(people):
            rows[number, person] = points
    if np.isinf(rows).any():
        raise BadFileError(path, "whole file", expected="finite coordinates", found="infinity")
    return rows, world


def _landmarks(frame: Any, keys: tuple[str, ...] = KEYS) -> Any:
    """Return the landmarks of a frame under the first of some keys."""
    while isinstance(frame, dict):
        key = next((key for key in keys if frame.get(key)), None)
        if key is None:
            return []
        frame = frame[key]
    return frame


def depth_of(content: Any) -> int:
    """Return 1 for a list of points, 2 for a list of lists of points."""
    return 1 if isinstance(content, list) and content and _is_point(content[0]) else 2


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return "x" in value
    return isinstance(value, list) and len(value) in (3, 4, 5) and not isinstance(value[0], list | dict)


def _people(path: Path, number: int, landmarks: Any) -> list[np.ndarray]:
    """Return landmarks (33, 4) of each person of a frame."""
    if not landmarks:
        return []
    people = [landmarks] if depth_of(landmarks) == 1 else landmarks
    if not isinstance(people, list):
        raise BadFileError(path, f"frame {number}", expected="a list of landmarks", found=repr(people)[:60])
    return [_points(path, f"frame {number}", _landmarks(person)) for person in people if person]


def _points(path: Path, place: str, points: Any) -> np.ndarray:
    if not isinstance(points, list) or len(points) != NUM_LANDMARKS:
        found = str(len(points)) if isinstance(points, list) else repr(points)[:60]
        raise BadFileError(path, place, expected="33 landmarks", found=found)
    if all(isinstance(point, dict) for point in points):
        points = [
            [point.get("x"), point.get("y"), point.get("z", 0.0), 1.0 if (v := point.get("visibility")) is None else v]
            for point in points
        ]
    numbers = as_numbers(path, place, points)
    if numbers.ndim != 2 or numbers.shape[1] not in (3, 4, 5):
        raise BadFileError(path, place, expected="landmarks of 3 or 4 numbers", found=f"{numbers.shape}")
    if numbers.shape[1] == 3:
        numbers = np.concatenate([numbers, np.ones((NUM_LANDMARKS, 1))], axis=1)
    return numbers[:, :4]


def _csv(path: Path) -> np.ndarray:
    table = list(csv.reader(io.StringIO(decoded(path, path.read_bytes()))))
    table = [row for row in table if any(cell.strip() for cell in row)]
    header = [cell.strip().lower() for cell in table[0]]
    numbers = [_number(cell) for cell in header if cell]
    is_counted = numbers == [float(n) for n in range(len(numbers))]  # the header that pandas writes for an array
    has_header = is_counted or any(number is None for number in numbers)
    body = table[1:] if has_header else table
    if not body:
        raise BadFileError(path, "whole file", expected="at least one frame", found="a header only")
    if has_header and {"x", "y"} <= set(header):
        return _long_table(path, header, body)
    columns, axes = _coordinate_columns(header) if has_header else (list(range(len(header))), "")
    rows = []
    for line, row in enumerate(body, 2 if has_header else 1):
        if len(row) != len(header):
            raise BadFileError(path, f"line {line}", expected=f"{len(header)} columns", found=str(len(row)))
        cells = [_number(row[column]) for column in columns]
        if None in cells:
            bad = row[columns[cells.index(None)]]
            raise BadFileError(path, f"line {line}", expected="numbers", found=repr(bad)[:60])
        rows.append(cells)
    found = _of_numbers(path, np.array(rows, dtype=np.float64))
    if axes == "xyv":
        found = np.concatenate([found[..., :2], np.zeros_like(found[..., :1]), found[..., 2:3]], axis=-1)
    return found


AXIS_FIRST = re.compile(r"([xyzv])[_ ]?([0-9]{1,2})")
AXIS_LAST = re.compile(r"(.*?)[_. \[]?(x|y|z|v|vis|visibility)\]?")


def _coordinate_columns(header: list[str]) -> tuple[list[int], str]:
    """Return the columns of coordinates, landmark by landmark, and the axes that each landmark has.

    Names are like x0 or left_hip_x. Other columns, such as a number of the frame or a label, are left out.
    """
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(header):
        first, last = AXIS_FIRST.fullmatch(name), AXIS_LAST.fullmatch(name)
        if first:
            found.setdefault(first[2], {})[first[1]] = column
        elif last and last[1]:
            found.setdefault(last[1], {})[last[2][0]] = column
    if len(found) >= NUM_LANDMARKS:
        landmarks = list(found)[:NUM_LANDMARKS]
        if all(name.isdecimal() for name in landmarks):
            landmarks.sort(key=int)
        axes = "".join(axis for axis in "xyzv" if all(axis in found[name] for name in landmarks))
        return [found[name][axis] for name in landmarks for axis in axes], axes
    numbered = [column for column, name in enumerate(header) if name.isdecimal()]
    return numbered or list(range(len(header))), ""


def _long_table(path: Path, header: list[str], body: list[list[str]]) -> np.ndarray:
    """Return landmarks of a table with a row per landmark."""
    names = [joint.replace("_", "") for joint in get_skeleton("mediapipe33").joints[:NUM_LANDMARKS]]
    frame = next(
        (header.index(key) for key in ("frame", "frame_id", "frame_number", "time", "timestamp") if key in header), None
    )
    joint = next(
        (
            header.index(key)
            for key in ("landmark", "landmark_id", "id", "index", "joint", "name", "keypoint")
            if key in header
        ),
        None,
    )
    if frame is None or joint is None:
        expected = "columns frame, landmark, x, y, z, visibility"
        raise BadFileError(path, "line 1", expected=expected, found=", ".join(header)[:60])
    values = [header.index(key) if key in header else None for key in ("x", "y", "z", "visibility")]
    frames: dict[float, np.ndarray] = {}
    for line, row in enumerate(body, 2):
        cells = [
            0.0 if v is None and k == 2 else 1.0 if v is None else _number(row[v]) if v < len(row) else None
            for k, v in enumerate(values)
        ]
        time = _number(row[frame]) if frame < len(row) else None
        name = re.sub(r"[^a-z0-9]", "", row[joint].lower()) if joint < len(row) else ""
        number = int(name) if name.isdecimal() and len(name) < 4 else names.index(name) if name in names else -1
        if time is None or None in cells or not 0 <= number < NUM_LANDMARKS:
            raise BadFileError(path, f"line {line}", expected="frame, landmark and coordinates", found=repr(row)[:60])
        frames.setdefault(time, np.full((NUM_LANDMARKS, 4), np.nan))[number] = [float(cell or 0.0) for cell in cells]
    times = sorted(frames)
    if header[frame] in ("time", "timestamp") or not all(time == int(time) for time in times):
        return np.stack([frames[time] for time in times])[:, None]
    first, last = int(times[0]), int(times[-1])
    if last - first > 10_000 + 1000 * len(times):
        raise BadFileError(path, "frames", expected="consecutive numbers", found=f"{first} to {last}")
    rows = np.full((last - first + 1, NUM_LANDMARKS, 4), np.nan)
    for time in times:
        rows[int(time) - first] = frames[time]
    return rows[:, None]


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is empty, None if it is text."""
    if not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        return None


def hips_at_origin(rows: np.ndarray) -> bool:
    """Return whether the middle of the hips is the origin, as in world landmarks."""
    hips = rows[..., [23, 24], :3].mean(axis=-2)
    known = hips[np.isfinite(hips).all(axis=-1)]
    return bool(len(known) and np.median(np.linalg.norm(known, axis=-1)) < NEAR_ORIGIN)
