"""Repair of a clip: left-right swaps, outliers, short gaps, and noise."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from ulna.core import Clip, Config, NonNegative, Positive
from ulna.quality.measures import swapped_frames

HALF_WINDOW = 3  # frames on each side that an outlier is compared with
SCALED_MAD = 1.4826  # of a normal distribution


class Repair(Config):
    """What is repaired, in this order: left-right swaps, outliers, gaps, noise."""

    sides: bool = True
    """Swap left and right joints back in frames in which they appear to be swapped."""
    outlier: NonNegative = 5.0
    """Remove a joint's position if it is farther from the median of the seven frames around it than this many standard
    deviations, estimated by the median absolute deviation (Hampel), and than a tenth of the body's size; 0 removes
    none."""
    fill_gap: Positive = 0.25
    """Longest gap in seconds that is interpolated linearly between the visible frames around it."""
    smooth: Annotated[int, Field(ge=0, le=1001)] = 0
    """Window length in frames of a second-order Savitzky-Golay filter; 0 disables smoothing."""


@dataclass(frozen=True)
class Changes:
    """What a repair changed.

    Args:
        swapped: Number of frames whose left and right joints were swapped back.
        removed: Number of outliers removed.
        filled: Number of missing joints interpolated, including removed outliers.
        smoothed: Number of joints that were smoothed.
    """

    swapped: int = 0
    removed: int = 0
    filled: int = 0
    smoothed: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def repair(clip: Clip, options: Repair) -> tuple[Clip, Changes]:
    """Return a repaired copy of a clip, and what was changed.

    Joints that are interpolated become visible with a confidence of 0, if the clip has confidences.

    Args:
        clip: The clip.
        options: What to repair.
    """
    position = np.where(clip.visible[..., None], clip.position, np.nan).astype(np.float64)
    confidence = None if clip.confidence is None else clip.confidence.copy()
    changes = Changes()
    for person in range(clip.num_persons):
        own = position[:, person]
        rows = own[np.isfinite(own[..., 0]).sum(axis=1) >= 2]
        if not len(rows):
            continue
        size = float(np.median(np.linalg.norm(np.nanmax(rows, axis=1) - np.nanmin(rows, axis=1), axis=1)))
        swapped = swapped_frames(own, clip.skeleton, size) if options.sides else []
        mirror = list(clip.skeleton.mirror)
        own[swapped] = own[swapped][:, mirror]
        if confidence is not None:
            confidence[swapped, person] = confidence[swapped, person][:, mirror]
        removed = _outliers(own, options.outlier, 0.1 * size) if options.outlier else np.zeros(own.shape[:2], bool)
        own[removed] = np.nan
        filled = _fill(own, round(options.fill_gap * clip.fps))
        if confidence is not None:
            confidence[:, person][removed | filled] = 0
        smoothed = _smooth(own, options.smooth) if options.smooth else 0
        changes += Changes(len(swapped), int(removed.sum()), int(filled.sum()), smoothed)
    visible: np.ndarray = np.all(np.isfinite(position), axis=-1)
    repaired = np.where(visible[..., None], position, 0).astype(clip.position.dtype)
    return replace(clip, position=repaired, visible=visible, confidence=confidence), changes


def _outliers(position: np.ndarray, threshold: float, least: float) -> np.ndarray:
    """Return the outliers (T, K) of positions (T, K, 3)."""
    padded = np.pad(position, [(HALF_WINDOW, HALF_WINDOW), (0, 0), (0, 0)], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * HALF_WINDOW + 1, axis=0)  # (T, K, 3, 7)
    known = np.isfinite(windows[:, :, 0]).sum(axis=-1) >= 4
    values = np.where(np.isfinite(windows), windows, np.nan)
    with np.errstate(all="ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # windows without any number
            median = np.nanmedian(values, axis=-1)
            deviation = np.linalg.norm(position - median, axis=-1)
            spread = SCALED_MAD * np.nanmedian(np.linalg.norm(values - median[..., None], axis=2), axis=-1)
        found: np.ndarray = known & (deviation > np.maximum(threshold * spread, least))
    return found


def _fill(position: np.ndarray, fill_gap: int) -> np.ndarray:
    """Interpolate gaps of at most `fill_gap` frames in place; returns what was filled (T, K)."""
    missing = ~np.isfinite(position[..., 0])
    filled = np.zeros_like(missing)
    for joint in range(position.shape[1]):
        known = np.flatnonzero(~missing[:, joint])
        for one, two in itertools.pairwise(known.tolist()):
            if 1 < two - one <= fill_gap + 1:
                part = (np.arange(1, two - one) / (two - one))[:, None]
                position[one + 1 : two, joint] = position[one, joint] * (1 - part) + position[two, joint] * part
                filled[one + 1 : two, joint] = True
    return filled


def _smooth(position: np.ndarray, length: int) -> int:
    """Smooth visible stretches that are at least as long as the filter, in place; returns the number of positions."""
    from scipy.signal import savgol_filter

    length += 1 - length % 2
    length = max(length, 3)
    count = 0
    for joint in range(position.shape[1]):
        known = np.isfinite(position[:, joint, 0])
        edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= length:
                position[start:end, joint] = savgol_filter(position[start:end, joint], length, 2, axis=0)
                count += end - start
    return int(count)
