"""Two recordings of one motion laid over one another: in time by a line, in space by one rigid motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

HOPELESS = 0.05  # metres by which joints' distances differ in clips that no line through time makes alike
OF_MOVEMENT = 0.3  # the most that a copy may be off, as a share of how far its joints move: stillness is no copy
MOST_FRAMES = 500  # of a clip that are compared frame by frame to find the line
FEWEST_FRAMES = 5  # of two clips that lie over one another
SHARE = 0.6  # of the shorter clip that must lie over the other
SPEEDS = (0.3, 3.3)


@dataclass(frozen=True)
class Alignment:
    """How one clip becomes another.

    `distance` is the root mean square distance of joints in metres once they lie over one another; the clip is the
    known one turned by `degrees`, moved by `metres`, played at `speed` times its pace (2: in half the frames), and
    shares `overlap` of its own frames with it.
    """

    distance: float = 0.0
    degrees: float = 0.0
    metres: float = 0.0
    speed: float = 1.0
    overlap: float = 1.0


def joint_distances(position: np.ndarray) -> np.ndarray:
    """(T, k, 3) -> (T, k (k - 1) / 2) distances between joints: the same however a body is turned and moved."""
    one, two = np.triu_indices(position.shape[1], 1)
    return np.linalg.norm(position[:, one] - position[:, two], axis=-1)


def align(clip: np.ndarray, known: np.ndarray, threshold: float) -> Alignment | None:
    """How a known clip (U, k, 3) becomes a clip (T, k, 3); None where it is more than `threshold` metres off."""
    if len(known) < 2:
        return None
    line = _line(joint_distances(clip), joint_distances(known))
    if line is None:
        return None
    speed, start = line
    time = start + speed * np.arange(len(clip))
    over = (time >= -0.5) & (time <= len(known) - 0.5)
    num = int(over.sum())
    if num < FEWEST_FRAMES or num < SHARE * min(len(clip), len(known) / speed):
        return None
    mine = clip[over]
    moved, degrees, metres = _rigid(_at(known, time[over]), mine)
    distance = float(np.sqrt(((moved - mine) ** 2).sum(axis=-1).mean()))
    movement = float(np.sqrt(((mine - mine.mean(axis=0)) ** 2).sum(axis=-1).mean()))
    if distance > min(threshold, OF_MOVEMENT * movement):
        return None
    return Alignment(distance, degrees, metres, float(speed), num / len(clip))


def _line(one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """Speed and start of the line through time along which two clips' distances agree best."""
    every, their_every = -(-len(one) // MOST_FRAMES), -(-len(two) // MOST_FRAMES)
    some, theirs = one[::every], two[::their_every]
    cost = ((some[:, None] - theirs[None]) ** 2).mean(axis=-1)
    nearest = (cost.argmin(axis=1) * their_every).repeat(every)[: len(one)]
    if np.sqrt(np.median(cost.min(axis=1))) > HOPELESS and np.sqrt(np.median(cost.min(axis=0))) > HOPELESS:
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
    if misfit > HOPELESS**2:
        return None
    for step in (0.02, 0.005, 0.001):  # the rest of the way, by small steps about the clip's middle
        middle = (len(one) - 1) / 2
        around = [
            (line[0] * (1 + i * step), line[1] + (line[0] - line[0] * (1 + i * step)) * middle + j * step * 10)
            for i in range(-3, 4)
            for j in range(-3, 4)
        ]
        misfit, line = min((_misfit(one, two, *other), other) for other in around)
    return line


def _misfit(one: np.ndarray, two: np.ndarray, speed: float, start: float) -> float:
    """Mean square difference of distances along a line; infinite where too little lies over one another."""
    time = start + speed * np.arange(len(one))
    over = (time >= -0.5) & (time <= len(two) - 0.5)
    if over.sum() < max(2, SHARE * min(len(one), len(two) / speed)):
        return float("inf")
    return float(((one[over] - _at(two, time[over])) ** 2).mean())


def _at(rows: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Rows (T, ...) at places between them."""
    time = time.clip(0, len(rows) - 1)
    before = np.minimum(time.astype(int), max(0, len(rows) - 2))
    part = (time - before).reshape(-1, *(1,) * (rows.ndim - 1))
    return rows[before] * (1 - part) + rows[np.minimum(before + 1, len(rows) - 1)] * part


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Source frames moved onto the target by one rotation and one shift; its angle in degrees, the shift in metres."""
    one, two = source.reshape(-1, 3), target.reshape(-1, 3)
    centre, to = one.mean(axis=0), two.mean(axis=0)
    rotation, _ = Rotation.align_vectors(two - to, one - centre)
    moved = rotation.apply(one - centre) + to
    shift = float(np.linalg.norm(to - centre))
    return moved.reshape(source.shape), float(np.degrees(rotation.magnitude())), shift
