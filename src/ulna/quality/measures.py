"""Measures of one clip's quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ulna.core import Clip, Skeleton, joint_names

FASTEST = {
    "metres": 15.0,
    "millimetres": 15_000.0,
}  # per second; faster joints are rare outside of sprinting and throwing
FASTEST_SIZES = 10.0  # body sizes per second, for positions without a physical unit
TOP_WORDS, BOTTOM_WORDS = ("head", "nose", "neck", "shoulder"), ("ankle", "foot", "toe", "heel")
SWAP_GAIN = 0.5  # a frame is swapped if exchanging left and right halves the distance to the frame before


@dataclass(frozen=True)
class ClipQuality:
    """Quality of one clip. Shares are from 0 to 1; NaN where a measure does not apply.

    Args:
        clip: Id of the clip.
        num_frames: T, the number of frames.
        empty: Share of frames without a visible person.
        missing: (K,) share of frames, among frames in which the person is visible, in which each joint is missing.
        confidence: (K,) mean confidence of visible joints, NaN where unknown.
        jitter: (K,) median of the second difference of positions, in percent of the body's size.
        fast: (K,) share of steps in which a joint is implausibly fast.
        num_fast: Number of such steps of all joints.
        bone_spread: (N,) standard deviation of each bone's length divided by its mean; NaN in two dimensions, where
            bones are foreshortened.
        swaps: Number of frames in which left and right joints appear to be swapped.
        repeated: Share of frames that equal the frame before.
        size: Size of the body in the unit of the clip: the median over frames of the bounding-box diagonal.
        height: Its vertical extent when upright, estimated as the 95th percentile over frames of the largest extent.
        up: Axis that points from feet to head, such as "y" or "-y"; "" if undetermined.
        farthest: Largest absolute coordinate.
    """

    clip: str
    num_frames: int
    empty: float
    missing: np.ndarray
    confidence: np.ndarray
    jitter: np.ndarray
    fast: np.ndarray
    num_fast: int
    bone_spread: np.ndarray
    swaps: int
    repeated: float
    size: float
    height: float
    up: str
    farthest: float

    @property
    def score(self) -> float:
        """Score for ranking clips, higher is worse: weighted sum of empty frames, missing, fast and swapped joints, and
        bone spread."""
        parts = [
            self.empty,
            float(np.mean(self.missing)),
            10 * float(np.nanmean(self.fast)),
            self.swaps / self.num_frames,
        ]
        spread = self.bone_spread[np.isfinite(self.bone_spread)]
        return sum(parts) + (float(spread.mean()) if len(spread) else 0.0)


def measure(clip: Clip) -> ClipQuality:
    """Measure the quality of a clip; of several persons, all frames of all persons count."""
    position = np.where(clip.visible[..., None], clip.position, np.nan).astype(np.float64)
    position = position.transpose(1, 0, 2, 3)  # (P, T, K, 3)
    there: np.ndarray = np.any(clip.visible, axis=2)  # (T, P)
    shown = clip.visible[there]  # (n, K)
    num_joints = clip.skeleton.num_joints
    size, height = _extents(position)
    with np.errstate(invalid="ignore", divide="ignore"):
        step = np.linalg.norm(np.diff(position, axis=1), axis=-1)  # (P, T - 1, K)
        bend = np.linalg.norm(np.diff(position, n=2, axis=1), axis=-1)
        limit = FASTEST.get(clip.units, FASTEST_SIZES * size) / clip.fps
        known = np.isfinite(step)
        fast = np.where(known, step > limit, False).sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1)
        jitter = 100 * _nanmedian(bend.reshape(-1, num_joints)) / size
    confidence = np.full(num_joints, np.nan)
    if clip.confidence is not None:
        total = np.where(clip.visible, clip.confidence, 0).sum(axis=(0, 1))
        confidence = total / np.maximum(clip.visible.sum(axis=(0, 1)), 1)
    same = np.diff(position, axis=1)
    both = there[1:].any(axis=1) & there[:-1].any(axis=1)
    equal: np.ndarray = np.all(~np.isfinite(same) | (same == 0), axis=(0, 2, 3)) & both
    return ClipQuality(
        clip=clip.id,
        num_frames=clip.num_frames,
        empty=float(1 - there.any(axis=1).mean()),
        missing=1 - shown.mean(axis=0) if len(shown) else np.ones(num_joints),
        confidence=confidence,
        jitter=jitter,
        fast=fast,
        num_fast=int(np.where(known, step > limit, False).sum()),
        bone_spread=_bone_spread(position, clip),
        swaps=sum(len(swapped_frames(one, clip.skeleton, size)) for one in position),
        repeated=float(equal.mean()) if len(equal) else 0.0,
        size=size,
        height=height,
        up=up_axis(position, clip.skeleton),
        farthest=float(np.nanmax(np.abs(position), initial=0.0)) if clip.visible.any() else 0.0,
    )


def _nanmedian(rows: np.ndarray) -> np.ndarray:
    """Return the median of each column (n, K), NaN for columns without numbers."""
    found = np.full(rows.shape[1], np.nan)
    for column in range(rows.shape[1]):
        known = rows[:, column][np.isfinite(rows[:, column])]
        if len(known):
            found[column] = np.median(known)
    return found


def _extents(position: np.ndarray) -> tuple[float, float]:
    """Return the body's size and height; see `ClipQuality`."""
    rows = position.reshape(-1, *position.shape[2:])
    rows = rows[np.isfinite(rows[..., 0]).sum(axis=1) >= 2]
    if not len(rows):
        return 1.0, float("nan")
    extent = np.nanmax(rows, axis=1) - np.nanmin(rows, axis=1)  # (n, 3)
    size = float(np.median(np.linalg.norm(extent, axis=1)))
    return max(size, 1e-9), float(np.percentile(extent.max(axis=1), 95))


def _bone_spread(position: np.ndarray, clip: Clip) -> np.ndarray:
    spread = np.full(len(clip.skeleton.bones), np.nan)
    if clip.dimensions == 2:
        return spread
    for number, (joint, parent) in enumerate(clip.skeleton.bones):
        lengths = np.linalg.norm(position[:, :, joint] - position[:, :, parent], axis=-1)
        parts = [one[np.isfinite(one)] for one in lengths]
        values = [float(one.std() / one.mean()) for one in parts if len(one) > 1 and one.mean() > 1e-9]
        if values:
            spread[number] = max(values)
    return spread


def swapped_frames(position: np.ndarray, skeleton: Skeleton, size: float) -> list[int]:
    """Return the frames in which left and right joints of one person appear to be swapped.

    A frame counts if exchanging them brings the joints twice as near to where they were in the last frame that showed
    the person, and they are otherwise farther than a twentieth of the body's size from there.

    Args:
        position: Positions (T, K, 3), NaN where missing.
        skeleton: Skeleton of the joints.
        size: Size of the body.
    """
    mirror = np.array(skeleton.mirror)
    sided = np.flatnonzero(mirror != np.arange(len(mirror)))
    if not len(sided):
        return []
    found: list[int] = []
    before: np.ndarray | None = None
    for frame, joints in enumerate(position):
        known = np.isfinite(joints[:, 0])
        if not known[sided].any():
            continue
        if before is not None:
            plain, exchanged = (np.linalg.norm(one[sided] - before[sided], axis=-1) for one in (joints, joints[mirror]))
            both = np.isfinite(plain) & np.isfinite(exchanged)
            if both.sum() >= 4:
                own, other = plain[both].mean(), exchanged[both].mean()
                if own > 0.05 * size and other < SWAP_GAIN * own:
                    found.append(frame)
                    joints = joints[mirror]
        before = joints
    return found


def up_axis(position: np.ndarray, skeleton: Skeleton) -> str:
    """Return the axis along which the head is farthest from the feet, with its sign; "" if undetermined.

    Args:
        position: Positions (..., K, 3), NaN where missing.
        skeleton: Skeleton of the joints.
    """
    names = joint_names(skeleton)
    top = [k for k, name in enumerate(names) if any(word in name for word in TOP_WORDS)]
    bottom = [k for k, name in enumerate(names) if any(word in name for word in BOTTOM_WORDS)]
    if not top or not bottom:
        return ""
    rows = position.reshape(-1, *position.shape[-2:])
    known = np.isfinite(rows[:, top, 0]).any(axis=1) & np.isfinite(rows[:, bottom, 0]).any(axis=1)
    if not known.any():
        return ""
    across = np.nanmean(rows[known][:, top], axis=1) - np.nanmean(rows[known][:, bottom], axis=1)
    mean = across.mean(axis=0)
    axis = int(np.abs(mean).argmax())
    others = np.delete(np.abs(mean), axis).max()
    if np.abs(mean[axis]) < 1.5 * others:
        return ""
    return ("-" if mean[axis] < 0 else "") + "xyz"[axis]
