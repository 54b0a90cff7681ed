"""C3D: marker positions from motion capture systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ulna.formats.base import BadFileError
from ulna.formats.markers import MarkerFormat, Recording
from ulna.formats.reader_process import load_safely


class C3D(MarkerFormat):
    """Reads the markers of .c3d files with ezc3d. Force plates, other analogue channels, and computed angles,
    forces, moments and powers are not read.

    The axis that points up is that of the parameter POINT:Y_SCREEN, z if the file has none.
    """

    title = "C3D motion capture files"
    pattern = "*.c3d"
    files_wanted = "*.c3d"
    where = "Vicon, Qualisys, OptiTrack, BTS and other motion capture systems"

    def load(self, path: Path) -> Recording:
        content = load_safely("c3d", path)
        markers = tuple(content["markers"].tolist())
        if not markers or not len(content["position"]):
            raise BadFileError(path, "POINT", expected="at least one marker and one frame", found="none")
        if len(set(markers)) < len(markers):
            twice = next(name for name in markers if markers.count(name) > 1)
            raise BadFileError(path, "POINT:LABELS", expected="different names", found=f"{twice!r} twice")
        return Recording(
            markers, content["position"], content["fps"], content["units"], content["up"], content["first_frame"]
        )


def load(path: Path) -> dict[str, Any]:
    """Read a file: markers, positions (T, K, 3), rate, unit and axis."""
    import ezc3d

    content = ezc3d.c3d(str(path))
    points = np.asarray(content["data"]["points"], dtype=np.float64)  # (4, K, T)
    parameters = content["parameters"]["POINT"]
    labels: list[str] = []
    for key in ("LABELS", *(f"LABELS{number}" for number in range(2, 20))):
        labels += [str(label) for label in parameters[key]["value"]] if key in parameters else []
    num = points.shape[1]
    computed = {
        str(label)
        for key in ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")
        if key in parameters
        for label in parameters[key]["value"]
    }
    names = [label or f"marker {number}" for number, label in enumerate(labels[:num])]
    names += [f"marker {number}" for number in range(len(names), num)]
    rate = float(content["header"]["points"]["frame_rate"])
    if not (np.isfinite(rate) and rate > 0):
        raise BadFileError(path, "POINT:RATE", expected="frames per second above 0", found=str(rate))
    position = points[:3].transpose(2, 1, 0)
    position[~np.isfinite(position).all(axis=-1)] = np.nan
    kept = [number for number, name in enumerate(names) if name not in computed]
    names, position = [names[number] for number in kept], position[:, kept]
    screen = _text(parameters, "Y_SCREEN").lower().lstrip("+")
    return {
        "markers": np.array(names, dtype=str),
        "position": position,
        "fps": rate,
        "units": _text(parameters, "UNITS") or "mm",
        "up": screen if screen in ("x", "y", "z", "-x", "-y", "-z") else "z",
        "first_frame": int(content["header"]["points"]["first_frame"]),
    }


def _text(parameters: Any, key: str) -> str:
    values = parameters[key]["value"] if key in parameters else []
    return str(values[0]).strip() if len(values) else ""
