"""Figures of cross masking: scores and draws over joints and time, and the joints' places in the ball."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulna.analysis.masks import BINS, Masks
from ulna.core import Skeleton

LIMB_COLOURS = {
    "trunk": "#697080",
    "left_arm": "#0f766e",
    "right_arm": "#2563eb",
    "left_leg": "#d99a00",
    "right_leg": "#c2410c",
}


def draw_scores(own: Masks, path: Path) -> Path:
    """Scores above, how often a token was shown below; the two groups side by side."""
    from matplotlib.figure import Figure

    num = len(own.names) - own.num_torso
    figure = Figure(figsize=(9.2, 1.6 + 0.3 * num), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    rows = ((own.attention, own.hierarchy), tuple(100 * own.shown))
    labels = ("score over its group's mean", "shown, % of draws")
    for row, (pair, label) in enumerate(zip(rows, labels, strict=True)):
        most = max((float(np.nanmax(values)) for values in pair if np.isfinite(values).any()), default=1.0)
        for column, values in enumerate(pair):
            axis = axes[row, column]
            drawn = axis.imshow(values.T, cmap=("viridis", "magma")[row], vmin=0, vmax=most or 1, aspect="auto")
            axis.set_yticks(range(num), own.names[:num], fontsize=6)
            axis.set_xticks([-0.5, BINS / 2 - 0.5, BINS - 0.5], ["first", "middle", "last"], fontsize=7)
            title = f"{('even', 'odd')[column]} segments: {own.titles[column]}" if row == 0 else _highest(own, column)
            axis.set_title(title, fontsize=8)
        figure.colorbar(drawn, ax=list(axes[row]), shrink=0.9).set_label(label, fontsize=8)
    figure.suptitle(f"What masks are drawn by, {own.num_clips} clips", fontsize=9)
    figure.savefig(path, dpi=150)
    return path


def _highest(own: Masks, group: int) -> str:
    """Whether scores decide what is shown; all scores are highest where all are equal."""
    shown, chance = own.highest[group]
    if not chance < 1:
        return "shown by chance"
    return f"of what is shown {shown:.0%} have the highest scores, by chance {chance:.0%}"


def draw_ball(own: Masks, skeleton: Skeleton, path: Path) -> Path:
    """Joints in the ball: the direction is that of their main plane, the distance from the middle their own.

    The distance is drawn as it is in the ball of the encoder; at its edge all that is far lies close together, so a
    second picture shows the hyperbolic distance from the middle beside the bones from the torso.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 4.6), layout="constrained")
    ball, ranks = figure.subplots(1, 2)
    norm = np.linalg.norm(own.points, axis=1) / own.radius  # 0 to 1
    centred = own.points - own.points.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    plane = plane / np.maximum(np.linalg.norm(plane, axis=1, keepdims=True), 1e-12) * norm[:, None]
    names = [name.replace(" ", "_") for name in own.names]
    part_of = {joint: part for part, joints in skeleton.parts.items() for joint in joints}
    colours = [LIMB_COLOURS.get(part_of.get(name, "trunk"), "#697080") for name in names]
    angle = np.linspace(0, 2 * np.pi, 200)
    ball.plot(np.cos(angle), np.sin(angle), color="#c9cbd1", linewidth=1)
    for one, two in skeleton.bones:
        ends = [names.index(skeleton.joints[k]) for k in (one, two) if skeleton.joints[k] in names]
        if len(ends) == 2:
            ball.plot(*plane[ends].T, color="#c9cbd1", linewidth=0.8, zorder=1)
    ball.scatter(*plane.T, c=colours, s=26, zorder=2)
    for name, place in zip(own.names, plane, strict=True):
        ball.annotate(name, place, (3, 3), textcoords="offset points", fontsize=5.5, color="#1d2330")
    ball.set_aspect("equal")
    ball.axis("off")
    ball.set_title("in the ball (main plane; distance from the middle as it is)", fontsize=8)

    torso = [skeleton.index(joint) for joint in skeleton.torso]
    hops = [
        int(np.min([h for h in skeleton.hops[skeleton.index(name), torso] if h >= 0], initial=99)) for name in names
    ]
    depth = 2 * np.arctanh(np.minimum(norm, 1 - 1e-7)) * own.radius
    ranks.scatter(hops, depth, c=colours, s=22)
    for name, x, y in zip(own.names, hops, depth, strict=True):
        ranks.annotate(name, (x, y), (5, -2), textcoords="offset points", fontsize=5.5)
    ranks.set_xticks(sorted(set(hops)))
    ranks.set_xlabel("bones from the torso", fontsize=8)
    ranks.set_ylabel("hyperbolic distance from the middle", fontsize=8)
    ranks.tick_params(labelsize=7)
    ranks.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"The joints' mean tokens, {own.num_clips} clips", fontsize=9)
    figure.savefig(path, dpi=150)
    return path
