"""Datasets of the movement library, saved as netCDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ulna.core import Clip, Skeleton
from ulna.formats.base import BadFileError, Source, list_files, named_skeleton
from ulna.formats.detections import PoseFormat
from ulna.formats.labels import labelled_source
from ulna.formats.reader_process import load_safely

DIMENSIONS = ("time", "space", "keypoints", "individuals")


class Movement(PoseFormat):
    """Reads netCDF-4 files of pose datasets of movement: individuals and keypoints with names, 2-D or 3-D.

    The frame rate is that of the file, where it states one. Positions in 3-D have no unit and are taken with y up.
    """

    title = "movement pose datasets (netCDF, 2-D and 3-D, animals)"
    pattern = "*.nc"
    files_wanted = "*.nc with variables position and confidence"
    where = "dataset.to_netcdf(FILE) of a movement dataset"
    cite = "Sirmpilatze et al.: movement, Zenodo 2023"

    def open(self, source: Path) -> Source:
        files = list_files(source, "*.nc", "movement datasets")

        def skeleton_of(path: Path) -> Skeleton:
            return _skeleton(path, load_safely("movement", path))

        return labelled_source(files, source, self.labels, skeleton_of, num_persons=None)

    def read(self, path: Path, source: Source) -> list[Clip]:
        content = load_safely("movement", path)
        skeleton = _skeleton(path, content)
        if skeleton.joints != source.skeleton.joints:
            expected, found = f"the keypoints of {source.files[0].name}", f"{skeleton.num_joints} other keypoints"
            raise BadFileError(path, "keypoints", expected=expected, found=found)
        rows = content["rows"]
        return [
            self.clip_of_rows(
                path, rows, skeleton, tracks=tuple(content["individuals"].tolist()), origin=source.origin,
                units="relative" if rows.shape[-1] == 4 else "pixels", fps=content["fps"],
            )
        ]  # fmt: skip


def _skeleton(path: Path, content: dict[str, Any]) -> Skeleton:
    names = content["keypoints"].tolist()
    return named_skeleton(path, "keypoints", "movement", names, [], expected="different names")


def load(path: Path) -> dict[str, Any]:
    """Read a file: names, frame rate, and positions (T, P, K, D + 1) with confidence."""
    import h5py

    with h5py.File(path, "r") as file:
        if "position" not in file:
            raise BadFileError(path, "top level", expected="a variable position", found=str(sorted(file))[:60])
        position = _ordered(path, file, "position", DIMENSIONS)
        num_frames, num_space, num_keypoints, num_people = position.shape
        names = {key: _names(file, key, size) for key, size in zip(DIMENSIONS[1:], position.shape[1:], strict=True)}
        axes = [axis for axis in ("x", "y", "z") if axis in names["space"]]
        if len(axes) != num_space or num_space not in (2, 3):
            raise BadFileError(path, "space", expected="x, y and perhaps z", found=str(names["space"])[:60])
        rows = np.ones((num_frames, num_people, num_keypoints, num_space + 1))
        rows[..., :-1] = position.transpose(0, 3, 2, 1)[..., [names["space"].index(axis) for axis in axes]]
        if "confidence" in file:
            confidence = _ordered(path, file, "confidence", ("time", "keypoints", "individuals"))
            known = np.isfinite(confidence)
            rows[..., -1] = np.where(known, confidence, 1.0 if not known.any() else 0.0).transpose(0, 2, 1)
        fps = float(np.ravel(file.attrs["fps"])[0]) if "fps" in file.attrs else 0.0
        times = np.asarray(file["time"], dtype=np.float64) if "time" in file else np.empty(0)
        unit = file.attrs.get("time_unit", b"seconds")
        if len(times) > 1 and (unit.decode() if isinstance(unit, bytes) else str(unit)) == "seconds" and fps > 0:
            step = float(np.median(np.diff(times)))  # data that were thinned keep the attribute of the recording
            fps = 1 / step if step > 0 and abs(1 / step - fps) > 0.01 * fps else fps
        return {
            "keypoints": np.array(names["keypoints"], dtype=str),
            "individuals": np.array(names["individuals"], dtype=str),
            "rows": rows,
            "fps": fps if np.isfinite(fps) and fps > 0 else None,
        }


def _ordered(path: Path, file: Any, name: str, wanted: tuple[str, ...]) -> np.ndarray:
    """Return a variable with its dimensions in a given order."""
    variable = file[name]
    found = [file[reference[0]].name.rpartition("/")[2] for reference in variable.attrs["DIMENSION_LIST"]]
    found = [{"keypoint": "keypoints", "individual": "individuals"}.get(dimension, dimension) for dimension in found]
    if sorted(found) != sorted(wanted):
        raise BadFileError(path, name, expected=f"dimensions {', '.join(wanted)}", found=", ".join(found)[:60])
    values = np.asarray(variable, dtype=np.float64)
    for key in ("_FillValue", "missing_value"):
        if key in variable.attrs:
            values[values == float(np.ravel(variable.attrs[key])[0])] = np.nan
    scale, offset = (
        float(np.ravel(variable.attrs.get(key, d))[0]) for key, d in (("scale_factor", 1), ("add_offset", 0))
    )
    values = values * scale + offset
    return values.transpose([found.index(dimension) for dimension in wanted])


def _names(file: Any, key: str, size: int) -> list[str]:
    """Return the names along a dimension; numbers if it has none."""
    own = next((name for name in (key, key.removesuffix("s")) if name in file), None)
    if own is None or file[own].shape != (size,) or file[own].dtype.kind not in "OSU":
        return ["x", "y", "z"][:size] if key == "space" else [str(number) for number in range(size)]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in file[own][:]]
