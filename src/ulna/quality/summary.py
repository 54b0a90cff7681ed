"""Summary of the quality of several clips, with recommendations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ulna.core import Clip, Skeleton, Units
from ulna.quality.measures import ClipQuality, measure, up_axis

FARTHEST = {"metres": 1000.0, "millimetres": 1e6}  # a kilometre
HEIGHTS = {"metres": (0.3, 3.0), "centimetres": (30.0, 300.0), "millimetres": (300.0, 3000.0)}
MISSING, EMPTY, JITTER, SPREAD, REPEATED = 0.2, 0.1, 2.0, 0.15, 0.2  # shares above which advice is given
FEWEST_FAST = 3  # steps


@dataclass(frozen=True)
class QualityReport:
    """Quality of several clips of one skeleton.

    Args:
        clips: Quality of each clip.
        skeleton: Skeleton of the clips.
        units: Units of the clips.
        dimensions: 3, or 2 for positions in an image.
        fps: Median frames per second.
        advice: What should be done, most important first.
    """

    clips: list[ClipQuality]
    skeleton: Skeleton
    units: Units
    dimensions: int
    fps: float
    advice: list[str] = field(default_factory=list)

    def per_joint(self, name: str) -> np.ndarray:
        """Return the mean (K,) over clips of a measure of each joint, such as "missing", weighted by frames."""
        rows = np.stack([getattr(clip, name) for clip in self.clips])
        weight = np.array([clip.num_frames for clip in self.clips], dtype=float)[:, None] * np.isfinite(rows)
        total = weight.sum(axis=0)
        mean = (np.nan_to_num(rows) * weight).sum(axis=0) / np.maximum(total, 1e-9)
        return np.where(total > 0, mean, np.nan)

    @property
    def worst(self) -> list[ClipQuality]:
        """The clips, the worst first."""
        return sorted(self.clips, key=lambda clip: -clip.score)

    def text(self) -> str:
        """Format the report as text."""
        frames = sum(clip.num_frames for clip in self.clips)
        height = np.nanmedian([clip.height for clip in self.clips])
        ups = Counter(clip.up for clip in self.clips if clip.up)
        up = ups.most_common(1)[0][0] if ups else "unknown"
        lines = [
            f"{_clips(len(self.clips))}, {frames:,} frames at {self.fps:g} per second, "
            f"{self.dimensions}-D in {self.units}",
            f"median body extent {height:.3g} {self.units}, vertical axis {up} (up); "
            f"{100 * np.mean([clip.empty for clip in self.clips]):.1f} % of frames are empty, "
            f"{100 * np.mean([clip.repeated for clip in self.clips]):.1f} % duplicate the previous frame, "
            f"left and right joints are swapped in {sum(clip.swaps for clip in self.clips):,} frames",
            f"{'joint':22} {'missing':>8} {'confidence':>11} {'jitter':>8} {'too fast':>9}",
        ]
        columns = [self.per_joint(name) for name in ("missing", "confidence", "jitter", "fast")]
        for joint, missing, confidence, jitter, fast in zip(self.skeleton.joints, *columns, strict=True):
            known = f"{confidence:.2f}" if np.isfinite(confidence) else "-"
            moving = f"{jitter:.2f} %" if np.isfinite(jitter) else "-"
            lines.append(f"{joint:22} {100 * missing:6.1f} % {known:>11} {moving:>8} {100 * fast:7.2f} %")
        spread = self.per_joint("bone_spread")
        if np.isfinite(spread).any():
            names = self.skeleton.joints
            worst = np.argsort(-np.nan_to_num(spread))[:3]
            listed = ", ".join(
                f"{names[self.skeleton.bones[b][0]]} to {names[self.skeleton.bones[b][1]]} {100 * spread[b]:.0f} %"
                for b in worst
                if np.isfinite(spread[b])
            )
            lines.append(f"bone lengths vary by {100 * np.nanmean(spread):.1f} % on average, most: {listed}")
        lines += [f"- {advice}" for advice in self.advice] or ["no problems found"]
        return "\n".join(lines)


def summarise(clips: Sequence[Clip]) -> QualityReport:
    """Measure clips of one skeleton, and say what should be done about them."""
    fps = float(np.median([clip.fps for clip in clips]))
    return summarise_measures([measure(clip) for clip in clips], clips, fps=fps)


def summarise_measures(measures: Sequence[ClipQuality], some: Sequence[Clip], *, fps: float) -> QualityReport:
    """Say what should be done about clips that were measured.

    Args:
        measures: Quality of each clip.
        some: At least one of the clips, checked for implausible units and axes.
        fps: Median frames per second.
    """
    report = QualityReport(list(measures), some[0].skeleton, some[0].units, some[0].dimensions, fps)
    report.advice.extend([*plausibility(some), *_advice(report)])
    return report


def _advice(report: QualityReport) -> list[str]:
    """Return advice on gaps, noise and exchanged sides."""
    advice = []
    missing, jitter = report.per_joint("missing"), report.per_joint("jitter")
    names = np.array(report.skeleton.joints)
    if (gone := missing >= 0.999).any():
        advice.append(f"{', '.join(names[gone][:8])} never visible; a model cannot use these joints")
    if (often := (missing > MISSING) & ~gone).any():
        advice.append(
            f"{', '.join(names[often][:8])} missing in more than {100 * MISSING:.0f} % of frames; "
            "--repair DATASET interpolates short gaps"
        )
    empty = [clip.clip for clip in report.clips if clip.empty > EMPTY]
    if empty:
        advice.append(f"{_clips(len(empty))} empty in more than {100 * EMPTY:.0f} % of frames, such as {empty[0]}")
    if np.isfinite(jitter).any() and np.nanmedian(jitter) > JITTER:
        advice.append(
            f"joints jitter by {np.nanmedian(jitter):.1f} % of the body's size; --repair DATASET --smooth 7 smooths"
        )
    fast = [clip for clip in report.clips if (clip.fast > 0.01).any() and clip.num_fast >= FEWEST_FAST]
    if fast:
        advice.append(
            f"joints move implausibly fast in {sum(clip.num_fast for clip in fast)} steps of {_clips(len(fast))}; "
            "--repair DATASET removes outliers"
        )
    swaps = [clip for clip in report.clips if clip.swaps]
    if swaps:
        advice.append(
            f"left and right joints are swapped in {sum(clip.swaps for clip in swaps)} frames of {_clips(len(swaps))}; "
            "--repair DATASET swaps them back"
        )
    spread = report.per_joint("bone_spread")
    if np.isfinite(spread).any() and np.nanmean(spread) > SPREAD:
        advice.append(
            f"bone lengths vary by {100 * np.nanmean(spread):.0f} %; positions are noisy or joints are mixed up"
        )
    repeated = float(np.mean([clip.repeated for clip in report.clips]))
    if repeated > REPEATED:
        advice.append(
            f"{100 * repeated:.0f} % of frames duplicate the previous frame: the effective frame rate is about "
            f"{report.fps * (1 - repeated):.1f} frames per second"
        )
    return advice


def plausibility(clips: Sequence[Clip]) -> list[str]:
    """Return warnings about units, the vertical axis, and implausible coordinates."""
    if not clips:
        return []
    messages = []
    far = [c.id for c in clips if c.units in FARTHEST and np.abs(c.position).max() > FARTHEST[c.units]]
    if far:
        messages.append(f"{len(far)} clips have coordinates beyond one kilometre, such as {far[0]}; check their units")
    physical = [clip for clip in clips if clip.units in FARTHEST]
    heights = [height for clip in physical if np.isfinite(height := _height(clip))]
    if heights:
        height, units = float(np.median(heights)), physical[0].units
        low, high = HEIGHTS[units]
        if not low <= height <= high:
            fits = [name for name, (a, b) in HEIGHTS.items() if a <= height <= b and name != units]
            guess = f"the unit is probably {fits[0]}" if fits else "check the unit"
            messages.append(f"median body extent {height:.4g} {units} is implausible; {guess}")
    ups = Counter(
        axis
        for clip in clips
        if (axis := up_axis(np.where(clip.visible[..., None], clip.position, np.nan), clip.skeleton))
    )
    expected = "-y" if clips[0].dimensions == 2 else "y"
    found, count = ups.most_common(1)[0] if ups else (expected, 0)
    is_possible = clips[0].dimensions == 2 and found[-1] == "x"  # people lie down in images
    if found != expected and count > len(clips) / 2 and not is_possible:
        messages.append(
            f"the vertical axis appears to be {found}: expected {expected}. Set it with --up if the format has it."
        )
    return messages


def _clips(number: int) -> str:
    return f"{number:,} clip{'' if number == 1 else 's'}"


def _height(clip: Clip) -> float:
    """Return the largest extent of the body in the frame that shows most joints."""
    counts = clip.visible.sum(axis=2)
    frame, person = np.unravel_index(int(counts.argmax()), counts.shape)
    joints = clip.position[frame, person][clip.visible[frame, person]]
    return float(np.ptp(joints, axis=0).max()) if len(joints) > 1 else float("nan")
