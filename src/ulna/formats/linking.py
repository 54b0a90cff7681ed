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
    size: float = field(default=1e-6)


def link(frames: Sequence[Sequence[np.ndarray]], *, max_jump: float, max_gap: int) -> list[list[str]]:
    """Name the person of each detection, so that one person keeps one name.

    In each frame, detections are assigned to the persons of earlier frames by the Hungarian method, so that the sum of
    mean joint distances is smallest (Kuhn 1955; `scipy.optimize.linear_sum_assignment`).

    Args:
        frames: Detections of each frame, each (K, D) with NaN for missing joints.
        max_jump: Largest mean distance of joints between two frames for the same person, relative to the person's size
            (bounding-box diagonal). A gap of n frames allows for the square root of n times as much.
        max_gap: Number of frames after which an undetected person is dropped.

    Returns:
        A name for each detection of each frame.
    """
    tracks: list[_Track] = []
    names: list[list[str]] = []
    num = 0
    for frame, detections in enumerate(frames):
        tracks = [track for track in tracks if frame - track.last_frame <= max_gap]
        cost = _costs(tracks, detections, frame, max_jump)
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
    if known.sum() > 1:  # a few joints make a small box: the size does not shrink at once
        size = float(np.linalg.norm(np.ptp(detection[known], axis=0)))
        track.size = max(size, 0.9 * track.size, 1e-6)


def _costs(tracks: Sequence[_Track], detections: Sequence[np.ndarray], frame: int, max_jump: float) -> np.ndarray:
    """Return the mean distances of joints (tracks, detections), relative to sizes; NEVER where they are too large."""
    if not tracks or not detections:
        return np.empty((0, 0))
    joints, sizes = np.stack([track.joints for track in tracks]), np.array([track.size for track in tracks])
    gaps = np.array([frame - track.last_frame for track in tracks])
    distances = np.linalg.norm(joints[:, None] - np.stack(list(detections))[None], axis=-1)  # (tracks, detections, K)
    known = np.isfinite(distances)
    count = known.sum(axis=2)
    mean = np.where(known, distances, 0).sum(axis=2) / np.maximum(count, 1) / sizes[:, None]
    return np.where((count > 0) & (mean <= max_jump * np.sqrt(gaps)[:, None]), mean, NEVER)
