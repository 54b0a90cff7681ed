"""Run models that `ulna export` wrote, with onnxruntime and numpy alone.

This module needs neither torch nor any other part of ulna but its errors.

    from ulna.onnx import OnnxModel

    model = OnnxModel("model.onnx")
    vectors = model.embed([position])          # (T, P, K, 3), NaN where a joint is missing
    labels = [answer.label for answer in model.predict([position])]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ulna.errors import InputError, MissingError, shown

METADATA, VERSION = "ulna", 1
RATE_TOLERANCE = 0.02  # relative difference of frame rates that makes no difference
FRAMES_PER_BATCH = 3072
MOST_FRAMES = (1 << 14) - 1  # of a clip
FARTHEST = 1e9  # largest coordinate of a joint that is not missing


@dataclass(frozen=True)
class Answer:
    """The class of one clip.

    Args:
        label: Most probable class.
        confidence: Its probability, 0 to 1.
        probabilities: (L,) probability of every class.
    """

    label: str
    confidence: float
    probabilities: np.ndarray = field(repr=False)


class OnnxModel:
    """A model that `ulna export` wrote.

    Args:
        path: The ONNX file.
        threads: Number of threads; 0 takes all cores.

    Attributes:
        name: Name of the model.
        joints: Names of the K joints, in the order of the input.
        num_persons: P, the largest number of persons in a clip.
        dimensions: 3, or 2 for positions in an image.
        units: Unit of the positions: "metres", "millimetres", "pixels" or "relative".
        fps: Frame rate of the positions, in frames per second.
        classes: Names of the classes; empty if the model has no classifier.
        licence: Licence of the weights; empty if not stated.

    Raises:
        MissingError: If the file does not exist or onnxruntime is not installed.
        InputError: If the file is damaged, was not written by `ulna export`, or was written by another version.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        path = Path(path)
        if not path.is_file():
            raise MissingError(f"{path}: expected an ONNX file, found none")
        try:
            import onnxruntime
        except ImportError:
            raise MissingError("expected the package onnxruntime. pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own errors have no common base
            raise InputError(f"{path}: expected an ONNX file, found one that cannot be read ({error})") from None
        about = self._metadata(path)
        self.name: str = about["name"]
        self.joints: tuple[str, ...] = tuple(about["joints"])
        self.num_persons: int = about["num_persons"]
        self.dimensions: int = about["dimensions"]
        self.units: str = about["units"]
        self.fps: float = about["fps"]
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.licence: str = about["licence"]

    def embed(
        self, clips: Sequence[np.ndarray], *, fps: float | None = None, joints: Sequence[str] | None = None
    ) -> np.ndarray:
        """Return one vector per clip.

        Args:
            clips: Positions (T, P, K, 3), or (T, P, K, 2) in an image; NaN where a joint is missing.
            fps: Frame rate of the clips, which is compared with that of the model; None if it is the model's.
            joints: Names of the clips' joints, in any order; None if they are the model's.

        Returns:
            (N, E) float32.

        Raises:
            InputError: If shapes, joints or frame rate do not fit.
        """
        return self._run(clips, "embedding", fps, joints)

    def predict(
        self, clips: Sequence[np.ndarray], *, fps: float | None = None, joints: Sequence[str] | None = None
    ) -> list[Answer]:
        """Return the class of each clip; for the arguments see `embed`.

        Raises:
            InputError: If shapes, joints or frame rate do not fit, or the model has no classifier.
        """
        if not self.classes:
            raise InputError(f"model {shown(self.name)}: expected a classifier, found none. Export one with the model.")
        rows = self._run(clips, "probabilities", fps, joints)
        return [Answer(self.classes[row.argmax()], float(row.max()), row) for row in rows]

    def _run(
        self, clips: Sequence[np.ndarray], output: str, fps: float | None, joints: Sequence[str] | None
    ) -> np.ndarray:
        if not len(clips):
            raise InputError("expected at least one clip, found none")
        if fps is not None and not abs(fps - self.fps) <= RATE_TOLERANCE * self.fps:
            raise InputError(
                f"expected clips of {self.fps:g} frames per second, found {fps:g}. Resample them before, or export the "
                "model for this rate."
            )
        order = self._order(joints)
        num_joints = len(self.joints if joints is None else joints)
        ready = [self._checked(clip, number, num_joints, order) for number, clip in enumerate(clips)]
        lengths = np.array([len(clip) for clip in ready])
        rows: list[Any] = [None] * len(ready)
        for part in _batches(lengths):
            batch = np.full((len(part), lengths[part].max(), *ready[0].shape[1:]), np.nan, np.float32)
            for row, number in zip(batch, part, strict=True):
                row[: lengths[number]] = ready[number]
            (values,) = self._session.run([output], {"position": batch, "lengths": lengths[part].astype(np.int64)})
            for number, value in zip(part, values, strict=True):
                rows[number] = value
        return np.stack(rows)

    def _checked(self, clip: np.ndarray, number: int, num_joints: int, order: list[int] | None) -> np.ndarray:
        """Return a clip as (T, P, K, 3) float32 with the model's joints and number of persons."""
        clip = np.asarray(clip)
        fits = clip.ndim == 4 and clip.shape[2] == num_joints and clip.shape[3] in (self.dimensions, 3)
        if not fits or 0 in clip.shape or clip.dtype.kind != "f":
            raise InputError(
                f"clip {number}: expected positions (T, P, {num_joints}, {self.dimensions}) in floating point, found "
                f"{clip.shape} {clip.dtype}"
            )
        if clip.shape[1] > self.num_persons:
            raise InputError(f"clip {number}: expected at most {self.num_persons} persons, found {clip.shape[1]}")
        if len(clip) > MOST_FRAMES:
            raise InputError(f"clip {number}: expected at most {MOST_FRAMES:,} frames, found {len(clip):,}. Cut it.")
        if order is not None:
            clip = clip[:, :, order]
        with np.errstate(over="ignore"):
            clip = clip[..., : self.dimensions].astype(np.float32)
        missing = ~(np.abs(clip) <= FARTHEST).all(axis=-1, keepdims=True)  # true for nan
        if clip.shape[3] == 2:
            clip = np.pad(clip, [(0, 0)] * 3 + [(0, 1)])
        more = self.num_persons - clip.shape[1]
        clip = np.where(missing, np.float32(np.nan), clip)
        return np.pad(clip, [(0, 0), (0, more), (0, 0), (0, 0)], constant_values=np.nan)

    def _order(self, joints: Sequence[str] | None) -> list[int] | None:
        """Return the index of each of the model's joints among those of the clips; None if they are the same."""
        if joints is None or tuple(joints) == self.joints:
            return None
        missing = [name for name in self.joints if name not in joints]
        if missing:
            raise InputError(
                f"expected the {len(self.joints)} joints of the model, found {len(joints)} without "
                f"{', '.join(missing[:5])}. Export the model for this skeleton."
            )
        return [list(joints).index(name) for name in self.joints]

    def _metadata(self, path: Path) -> dict[str, Any]:
        """Return what `ulna export` wrote about the model."""
        kinds = {
            "name": str, "joints": list, "num_persons": int, "dimensions": int, "units": str, "fps": float | int,
            "classes": list, "licence": str,
        }  # fmt: skip
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        try:
            about = json.loads(text or "")
            version = about["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path}: expected a model that `ulna export` wrote, found another ONNX file") from None
        if version != VERSION:
            raise InputError(
                f"{path}: expected version {VERSION} of exported models, found {shown(version)}. Export the model "
                "again, or use another version of ulna."
            )
        wrong = [name for name, kind in kinds.items() if not isinstance(about.get(name), kind)]
        names = [*about.get("joints", []), *about.get("classes", [])] if not wrong else []
        if not wrong and not all(isinstance(name, str) for name in names):
            wrong = ["names of joints and classes"]
        if not wrong and not self._fits(about):
            wrong = ["joints, persons, dimensions, classes or frame rate that are not those of the graph"]
        if wrong:
            raise InputError(f"{path}: expected a description of the model, found a damaged one ({', '.join(wrong)})")
        return about

    def _fits(self, about: dict[str, Any]) -> bool:
        """Return whether the description of the model is that of the graph."""
        inputs = {one.name: one.shape for one in self._session.get_inputs()}
        outputs = {one.name: one.shape for one in self._session.get_outputs()}
        num_classes = outputs.get("probabilities", [0, 0])[-1]
        return (
            inputs.get("position", [])[2:] == [about["num_persons"], len(about["joints"]), 3]
            and "lengths" in inputs
            and "embedding" in outputs
            and num_classes == len(about["classes"])
            and about["dimensions"] in (2, 3)
            and 0 < about["fps"] < float("inf")
        )


def _batches(lengths: np.ndarray) -> list[np.ndarray]:
    """Return the indices of clips in batches of similar length, which keep padding small."""
    parts: list[list[int]] = []
    for number in np.argsort(lengths, kind="stable"):
        longest = int(lengths[number])
        if parts and longest * (len(parts[-1]) + 1) <= FRAMES_PER_BATCH and longest <= 1.3 * lengths[parts[-1][0]] + 2:
            parts[-1].append(int(number))
        else:
            parts.append([int(number)])
    return [np.array(part) for part in parts]
