"""Figures of HA-CM's masks: scores and visibility over joints and time, and joints in the Poincare ball."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ulna.analysis.masks import Masks
from ulna.core import Skeleton

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMB_COLOURS = {
    "trunk": "#697080",
    "left_arm": "#0f766e",
    "right_arm": "#2563eb",
    "left_leg": "#d99a00",
    "right_leg": "#c2410c",
}
LABEL = np.array([0.2, 0.026])  # width and height of a joint's name, as shares of the figure


def draw_scores(own: Masks, path: Path) -> Path:
    """Draw the scores (top row) and how often tokens stay visible (bottom row), the two groups side by side."""
    from matplotlib.figure import Figure

    num, parts = len(own.names) - own.num_torso, own.visible.shape[1]
    across = len(own.titles)
    figure = Figure(figsize=(1.2 + 4 * across, 1.6 + 0.3 * num), layout="constrained")
    axes = figure.subplots(2, across, sharex=True, sharey=True, squeeze=False)
    rows = ((own.attention, own.hierarchy)[:across], tuple(100 * own.visible)[:across])
    labels = ("score relative to group mean", "visible, % of draws")
    for row, (pair, label) in enumerate(zip(rows, labels, strict=True)):
        most = max((float(np.nanmax(values)) for values in pair if np.isfinite(values).any()), default=1.0)
        for column, values in enumerate(pair):
            axis = axes[row, column]
            drawn = axis.imshow(values.T, cmap=("viridis", "magma")[row], vmin=0, vmax=most or 1, aspect="auto")
            axis.set_yticks(range(num), own.labels[:num], fontsize=6)
            axis.set_xticks([-0.5, parts / 2 - 0.5, parts - 0.5], ["first", "middle", "last"], fontsize=7)
            which = ("even", "odd")[column] if across == 2 else "all"
            title = f"{which} segments: {own.titles[column]}" if row == 0 else _highest(own, column)
            axis.set_title(title, fontsize=8)
        figure.colorbar(drawn, ax=list(axes[row]), shrink=0.9).set_label(label, fontsize=8)
    figure.suptitle(f"Scores and masks, {own.num_clips} clips", fontsize=9)
    figure.savefig(path, dpi=150)
    return path


def _highest(own: Masks, group: int) -> str:
    """Describe the share of visible tokens that have the highest scores, compared with chance."""
    visible, chance = own.highest[group]
    if not chance < 1:
        return "visible tokens are random"
    return f"{visible:.0%} of visible tokens are among the highest scores ({chance:.0%} by chance)"


def draw_ball(own: Masks, skeleton: Skeleton, path: Path) -> Path:
    """Draw the joints in the ball: direction of their mean in the principal plane, mean distance from the centre.

    Nearly all tokens are close to the edge of the ball, so hyperbolic distances are drawn to scale. A second plot shows
    this distance against the number of bones from the torso, if the skeleton defines a torso.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    torso = [skeleton.index(joint) for joint in skeleton.torso]
    ball, *others = figure.subplots(1, 2 if torso else 1, squeeze=False)[0]
    centred = own.points - own.points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    plane = plane / np.maximum(np.linalg.norm(plane, axis=1, keepdims=True), 1e-12) * own.depth[:, None]
    plane = plane / max(own.depth.max(), 1e-12)
    part_of = {joint: part for part, joints in skeleton.parts.items() for joint in joints}
    colours = [LIMB_COLOURS.get(part_of.get(name, "trunk"), "#697080") for name in own.names]
    angle = np.linspace(0, 2 * np.pi, 200)
    ball.plot(np.cos(angle), np.sin(angle), color="#c9cbd1", linewidth=1)
    for one, two in skeleton.bones:
        ends = [own.names.index(skeleton.joints[k]) for k in (one, two) if skeleton.joints[k] in own.names]
        if len(ends) == 2:
            ball.plot(*plane[ends].T, color="#c9cbd1", linewidth=0.8, zorder=1)
    ball.scatter(*plane.T, c=colours, s=26, zorder=2)
    _annotate(ball, own.labels, plane)
    ball.set_aspect("equal")
    ball.axis("off")
    ball.set_title("Direction in the principal plane, hyperbolic distance to scale", fontsize=8)
    for axis in others:
        hops = skeleton.hops[[skeleton.index(name) for name in own.names]][:, torso]
        bones = np.where(hops < 0, skeleton.num_joints, hops).min(axis=1)
        axis.scatter(bones, own.depth, c=colours, s=22)
        _annotate(axis, own.labels, np.stack([bones, own.depth], axis=1))
        axis.set_xticks(sorted(set(bones.tolist())))
        axis.set_xlabel("bones from the torso", fontsize=8)
        axis.set_ylabel("hyperbolic distance from the centre", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Tokens of each joint in the Poincaré ball, {own.num_clips} clips", fontsize=9)
    figure.savefig(path, dpi=150)
    return path


def _annotate(axis: Axes, labels: Sequence[str], points: np.ndarray) -> None:
    """Write a label to the right of each point, moved up if it would overlap another."""
    extent = np.maximum(np.ptp(points, axis=0), 1e-12)
    written: list[np.ndarray] = []
    for k in np.argsort(points[:, 1], kind="stable"):
        at: np.ndarray = points[k] / extent
        while any((np.abs(at - other) < LABEL).all() for other in written):
            at = at + np.array([0, LABEL[1] / 4])
        written.append(at)
        x, y = at * extent
        axis.text(x, y, f"  {labels[k]}", fontsize=5.5, color="#1d2330", va="center")
