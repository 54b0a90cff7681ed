"""Alignment of two recordings of the same motion: linear in time, rigid in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

MOST_DIFFERENT = 0.05  # metres; clips whose joint distances differ more are not aligned
SHARE_OF_MOVEMENT = 0.3  # maximum distance of a copy over its own movement, so that still clips do not match
MOST_FRAMES = 500  # maximum number of frames per clip that are compared pairwise for alignment in time
FEWEST_FRAMES = 5  # minimum number of overlapping frames
MIN_OVERLAP = 0.6  # minimum share of the shorter clip that overlaps with the other
SPEEDS = (0.3, 3.3)


@dataclass(frozen=True)
class Alignment:
    """Transformation of a known clip into another clip.

    Args:
        distance: Root mean square distance of joints after alignment, in metres.
        degrees: Angle of the rotation.
        metres: Length of the translation.
        speed: Speed of the clip relative to the known clip; at 2 it has half as many frames.
        overlap: Share of the clip's frames that the known clip covers.
    """

    distance: float = 0.0
    degrees: float = 0.0
    metres: float = 0.0
    speed: float = 1.0
    overlap: float = 1.0


def joint_distances(position: np.ndarray) -> np.ndarray:
    """Return the distances between joints: (T, k, 3) -> (T, k (k - 1) / 2)."""
    one, two = np.triu_indices(position.shape[1], 1)
    return np.linalg.norm(position[:, one] - position[:, two], axis=-1)


def align(clip: np.ndarray, known: np.ndarray, threshold: float) -> Alignment | None:
    """Align a known clip (U, k, 3) to a clip (T, k, 3); None if they differ by more than `threshold` metres."""
    if len(known) < 2:
        return None
    line = _line(joint_distances(clip), joint_distances(known))
    if line is None:
        return None
    speed, start = line
    time = start + speed * np.arange(len(clip))
    over = (time >= -0.5) & (time <= len(known) - 0.5)
    num = int(over.sum())
    if num < FEWEST_FRAMES or num < MIN_OVERLAP * min(len(clip), len(known) / speed):
        return None
    mine = clip[over]
    moved, degrees, metres = _rigid(_at(known, time[over]), mine)
    distance = float(np.sqrt(((moved - mine) ** 2).sum(axis=-1).mean()))
    movement = float(np.sqrt(((mine - mine.mean(axis=0)) ** 2).sum(axis=-1).mean()))
    if distance > min(threshold, SHARE_OF_MOVEMENT * movement):
        return None
    return Alignment(distance, degrees, metres, float(speed), num / len(clip))


def _line(one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """Return the speed and start of the linear time alignment for which the joint distances of two clips agree best."""
    every, their_every = -(-len(one) // MOST_FRAMES), -(-len(two) // MOST_FRAMES)
    some, theirs = one[::every], two[::their_every]
    cost = ((some[:, None] - theirs[None]) ** 2).mean(axis=-1)
    nearest = (cost.argmin(axis=1) * their_every).repeat(every)[: len(one)]
    if np.sqrt(np.median(cost.min(axis=1))) > MOST_DIFFERENT and np.sqrt(np.median(cost.min(axis=0))) > MOST_DIFFERENT:
        return None
    places = np.arange(len(one))
    ratio = len(two) / len(one)
    lines = [(ratio, 0.5 * ratio - 0.5), (1.0, float(np.median(nearest - places)))]
    looks = np.unique(np.linspace(0, len(one) - 1, 10).round().astype(int))
    for i, first in enumerate(looks):
        for second in looks[i + 2 :]:
            speed = (nearest[second] - nearest[first]) / (second - first)
            if SPEEDS[0] <= speed <= SPEEDS[1]:
                lines.append((float(speed), float(nearest[first] - speed * first)))
    scored = [(_misfit(one, two, *line), line) for line in lines]
    misfit, line = min(scored)
    if misfit > MOST_DIFFERENT**2:
        return None
    for step in (0.02, 0.005, 0.001):  # refine in small steps around the middle of the clip
        middle = (len(one) - 1) / 2
        around = [
            (line[0] * (1 + i * step), line[1] + (line[0] - line[0] * (1 + i * step)) * middle + j * step * 10)
            for i in range(-3, 4)
            for j in range(-3, 4)
        ]
        misfit, line = min((_misfit(one, two, *other), other) for other in around)
    return line


def _misfit(one: np.ndarray, two: np.ndarray, speed: float, start: float) -> float:
    """Return the mean squared difference of joint distances; infinite if the overlap in time is too small."""
    time = start + speed * np.arange(len(one))
    over = (time >= -0.5) & (time <= len(two) - 0.5)
    if over.sum() < max(2, MIN_OVERLAP * min(len(one), len(two) / speed)):
        return float("inf")
    return float(((one[over] - _at(two, time[over])) ** 2).mean())


def _at(rows: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Interpolate rows (T, ...) linearly at the given times."""
    time = time.clip(0, len(rows) - 1)
    before = np.minimum(time.astype(int), max(0, len(rows) - 2))
    part = (time - before).reshape(-1, *(1,) * (rows.ndim - 1))
    return rows[before] * (1 - part) + rows[np.minimum(before + 1, len(rows) - 1)] * part


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the source frames rigidly aligned to the target, the angle in degrees and the translation in metres."""
    one, two = source.reshape(-1, 3), target.reshape(-1, 3)
    centre, to = one.mean(axis=0), two.mean(axis=0)
    rotation, _ = Rotation.align_vectors(two - to, one - centre)
    moved = rotation.apply(one - centre) + to
    shift = float(np.linalg.norm(to - centre))
    return moved.reshape(source.shape), float(np.degrees(rotation.magnitude())), shift
