"""Link detections of persons over time, for files without track ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

NEVER = 1e9


@dataclass
class _Track:
    name: str
    last_frame: int
    joints: np.ndarray  # (K, D) last known position of each joint, NaN if it was never seen
    size: float = field(default=1.0)


def link(frames: Sequence[Sequence[np.ndarray]], *, max_jump: float, max_gap: int) -> list[list[str]]:
    """Name the person of each detection, so that one person keeps one name.

    In each frame, detections are assigned to the persons of earlier frames by the Hungarian method, so that the sum of
    mean joint distances is smallest (Kuhn 1955; `scipy.optimize.linear_sum_assignment`).

    Args:
        frames: Detections of each frame, each (K, D) with NaN for missing joints.
        max_jump: Largest mean distance of joints between two frames for the same person, in sizes of the person (the
            diagonal of the box around all joints). A gap of n frames allows for the square root of n times as much.
        max_gap: Number of frames after which a person who is not seen is given up.

    Returns:
        A name for each detection of each frame.
    """
    tracks: list[_Track] = []
    names: list[list[str]] = []
    num = 0
    for frame, detections in enumerate(frames):
        tracks = [track for track in tracks if frame - track.last_frame <= max_gap]
        cost = np.array([[_distance(track, one, frame, max_jump) for one in detections] for track in tracks])
        own: list[str | None] = [None] * len(detections)
        if cost.size:
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if cost[row, column] < NEVER:
                    own[column] = tracks[row].name
                    _update(tracks[row], detections[column], frame)
        for column, detection in enumerate(detections):
            if own[column] is None:
                track = _Track(str(num), frame, detection.copy())
                _update(track, detection, frame)
                own[column] = track.name
                tracks.append(track)
                num += 1
        names.append([name or "" for name in own])
    return names


def _update(track: _Track, detection: np.ndarray, frame: int) -> None:
    known = np.isfinite(detection).all(axis=1)
    track.joints[known] = detection[known]
    track.last_frame = frame
    if known.any():
        track.size = max(float(np.linalg.norm(np.ptp(detection[known], axis=0))), 1e-6)


def _distance(track: _Track, detection: np.ndarray, frame: int, max_jump: float) -> float:
    """Return the mean distance of joints in sizes of the person; NEVER if it is too large."""
    distances = np.linalg.norm(track.joints - detection, axis=1)
    known = np.isfinite(distances)
    if not known.any():
        return NEVER
    distance = float(distances[known].mean()) / track.size
    return distance if distance <= max_jump * np.sqrt(frame - track.last_frame) else NEVER
