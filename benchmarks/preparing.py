"""Preparing files in the format of NTU RGB+D: ulna and a plain line-by-line parser, one process and several."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from ulna.core import UlnaWarning, Workers
from ulna.dataset import prepare
from ulna.formats.ntu import read_skeleton


def write_skeleton(path: Path, num_frames: int, num_bodies: int, seed: int = 0) -> None:
    """Write a file in the text format of NTU RGB+D."""
    generator = np.random.default_rng(seed)
    lines = [str(num_frames)]
    for _ in range(num_frames):
        lines.append(str(num_bodies))
        for body in range(num_bodies):
            lines += [f"7205759403792850{body} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            for row in generator.normal(0, 1, (25, 11)):
                lines.append(" ".join(f"{value:.8g}" for value in row) + " 2")
    path.write_text("\n".join(lines) + "\n")


def plain_parser(path: Path) -> dict:
    """Read a file as published scripts do: line by line, each field by its name."""
    body_fields = (
        "bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence", "handRightState",
        "isRestricted", "leanX", "leanY", "trackingState",
    )  # fmt: skip
    joint_fields = (
        "x", "y", "z", "depthX", "depthY", "colorX", "colorY", "orientationW", "orientationX", "orientationY",
        "orientationZ", "trackingState",
    )  # fmt: skip
    with path.open() as file:
        sequence: dict = {"numFrame": int(file.readline()), "frameInfo": []}
        for _ in range(sequence["numFrame"]):
            frame: dict = {"numBody": int(file.readline()), "bodyInfo": []}
            for _ in range(frame["numBody"]):
                values = zip(body_fields, file.readline().split(), strict=True)
                body: dict = {name: float(value) for name, value in values}
                body["numJoint"], body["jointInfo"] = int(file.readline()), []
                for _ in range(body["numJoint"]):
                    values = zip(joint_fields, file.readline().split(), strict=True)
                    body["jointInfo"].append({name: float(value) for name, value in values})
                frame["bodyInfo"].append(body)
            sequence["frameInfo"].append(frame)
    return sequence


def plain_positions(path: Path, num_persons: int = 2) -> np.ndarray:
    """Return the positions (T, P, 25, 3) of a file, filled value by value."""
    sequence = plain_parser(path)
    position = np.zeros((sequence["numFrame"], num_persons, 25, 3), np.float32)
    for t, frame in enumerate(sequence["frameInfo"]):
        for p, body in enumerate(frame["bodyInfo"][:num_persons]):
            for k, joint in enumerate(body["jointInfo"]):
                position[t, p, k] = joint["x"], joint["y"], joint["z"]
    return position


def parser_times(folder: Path, rounds: int = 40) -> tuple[float, float]:
    """Return the milliseconds that the plain parser and ulna take for a file of 100 frames and two bodies.

    The parsers alternate; each time is the minimum over `rounds`.
    """
    path = folder / "S001C001P001R001A001.skeleton"
    write_skeleton(path, 100, 2)
    assert np.array_equal(plain_positions(path), read_skeleton(path).position)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for read, taken in zip((plain_positions, read_skeleton), times, strict=True):
            began = time.perf_counter()
            read(path)
            taken.append(time.perf_counter() - began)
    return 1e3 * min(times[0]), 1e3 * min(times[1])


def clips_per_second(folder: Path, num_files: int, workers: Workers | int) -> float:
    """Return the rate of preparing `num_files` links to one file of 82 frames and one body."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    source = folder / "files"
    source.mkdir()
    first = folder / "one.skeleton"
    write_skeleton(first, 82, 1)
    for number in range(num_files):
        name = f"S{number // 6000 + 1:03d}C{number // 2000 % 3 + 1:03d}P{number // 50 % 40 + 1:03d}R001"
        (source / f"{name}A{number % 50 + 1:03d}.skeleton").hardlink_to(first)
    warnings.simplefilter("ignore", UlnaWarning)  # the bodies are noise
    began = time.perf_counter()
    prepare("ntu", source, folder / "dataset", workers=workers, progress=False)
    return num_files / (time.perf_counter() - began)
