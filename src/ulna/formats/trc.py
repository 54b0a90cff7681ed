"""TRC: marker positions as text, as OpenSim, Cortex and Pose2Sim write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulna.formats.base import BadFileError, read_text
from ulna.formats.markers import MarkerFormat, Recording

MOST_FRAMES = 5_000_000


class TRC(MarkerFormat):
    """Reads .trc files, separated by tabs or commas. The y axis points up unless `up` says otherwise.

    Empty cells are missing markers, and frame numbers that are left out are frames that show nobody.
    """

    title = "TRC motion capture files"
    pattern = "*.trc"
    files_wanted = "*.trc"
    where = "OpenSim, Cortex, Pose2Sim, OpenCap"

    def load(self, path: Path) -> Recording:
        lines = read_text(path).splitlines()
        separator = "," if lines and lines[0].startswith("PathFileType,") else "\t"
        if len(lines) < 5 or not lines[0].startswith("PathFileType"):
            raise BadFileError(path, "line 1", expected="PathFileType", found=repr(lines[0])[:60])
        keys, values = ([cell.strip() for cell in line.split(separator)] for line in lines[1:3])
        header = dict(zip(keys, values, strict=False))
        fps, num_markers = _number(path, header, "DataRate"), int(_number(path, header, "NumMarkers"))
        if not 0 < fps < 1e6:
            raise BadFileError(path, "DataRate", expected="frames per second above 0", found=f"{fps:g}")
        cells = [cell.strip() for cell in lines[3].split(separator)]
        markers = tuple(cell for cell in cells[2:] if cell)
        if cells[0] != "Frame#" or len(markers) != num_markers or len(set(markers)) != len(markers):
            expected, found = f"Frame#, Time and {num_markers} different markers", f"{len(set(markers))} markers"
            raise BadFileError(path, "line 4", expected=expected, found=found)
        frames: dict[int, list[float]] = {}
        for number, line in enumerate(lines[4:], 5):
            row = [cell.strip() for cell in line.rstrip("\r\n").split(separator)]
            if not any(row) or (number == 5 and not row[0]):
                continue  # the names of the axes, and empty lines
            frame, coordinates = _row(path, number, row, num_markers)
            if frame in frames or frame <= max(frames, default=-1):
                expected = "frame numbers that increase"
                raise BadFileError(path, f"line {number}", expected=expected, found=f"{frame} after {max(frames)}")
            frames[frame] = coordinates
        if not frames:
            raise BadFileError(path, "whole file", expected="at least one frame", found="none")
        first, last = min(frames), max(frames)
        if last - first >= min(MOST_FRAMES, 10_000 + 1000 * len(frames)):
            found = f"{len(frames)} frames numbered {first} to {last}"
            raise BadFileError(path, "frame numbers", expected="consecutive numbers", found=found)
        position = np.full((last - first + 1, num_markers, 3), np.nan)
        for frame, coordinates in frames.items():
            position[frame - first] = np.reshape(coordinates, (num_markers, 3))
        return Recording(markers, position, fps, header.get("Units", "mm") or "mm", "y", first)


def _number(path: Path, header: dict[str, str], key: str) -> float:
    try:
        number = float(header[key])
        if not np.isfinite(number) or not 0 <= number < 1e6:
            raise ValueError
    except (KeyError, ValueError):
        raise BadFileError(path, "line 3", expected=f"a number for {key}", found=repr(header.get(key))) from None
    return number


def _row(path: Path, number: int, row: list[str], num_markers: int) -> tuple[int, list[float]]:
    """Return frame number and coordinates of a line; empty cells are NaN."""
    cells = row[2 : 2 + 3 * num_markers]
    cells += [""] * (3 * num_markers - len(cells))
    if len(row) > 2 + 3 * num_markers and any(row[2 + 3 * num_markers :]):
        raise BadFileError(path, f"line {number}", expected=f"{3 * num_markers} coordinates", found="more")
    try:
        frame = int(float(row[0]))
        values = [float(cell) if cell else np.nan for cell in cells]
        if np.isinf(values).any() or not 0 <= frame < 1 << 40:
            raise ValueError
    except (ValueError, OverflowError):
        expected = "a frame number and finite coordinates"
        raise BadFileError(path, f"line {number}", expected=expected, found=repr(row)[:60]) from None
    return frame, values
