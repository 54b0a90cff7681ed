"""Drawings of skeletons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ulna.core import Skeleton, joint_names, new_file

# Front view of a standing person, by anatomical name: to the person's left, and height.
MIDDLE = {
    "joint_root": (0, 0.0), "hip_centre": (0, 0.95), "spine_base": (0, 0.95), "pelvis": (0, 0.95), "hips": (0, 0.95),
    "hip": (0, 0.95), "mid_hip": (0, 0.95), "waist": (0, 1.02), "spine": (0, 1.15), "spine1": (0, 1.1),
    "spine_naval": (0, 1.1), "spine_mid": (0, 1.15), "torso": (0, 1.15), "spine2": (0, 1.22), "spine3": (0, 1.33),
    "spine_chest": (0, 1.28), "chest": (0, 1.35), "thorax": (0, 1.42), "spine_shoulder": (0, 1.45),
    "shoulder_centre": (0, 1.45), "neck": (0, 1.5), "head": (0, 1.64), "nose": (0, 1.6), "head_top": (0, 1.78),
    "head_tip": (0, 1.78),
}  # fmt: skip
SIDES = {
    "eye": (0.04, 1.66), "eye_inner": (0.025, 1.66), "eye_outer": (0.055, 1.66), "ear": (0.09, 1.63),
    "mouth": (0.03, 1.55), "clavicle": (0.07, 1.43), "collar": (0.07, 1.43), "shoulder": (0.19, 1.42),
    "elbow": (0.32, 1.15), "wrist": (0.42, 0.92), "hand": (0.46, 0.84), "hand_tip": (0.5, 0.75), "thumb": (0.4, 0.83),
    "index": (0.48, 0.8), "pinky": (0.52, 0.82), "hip": (0.1, 0.92), "knee": (0.12, 0.5), "ankle": (0.13, 0.1),
    "foot": (0.19, 0.02), "toes": (0.2, 0.02), "heel": (0.1, 0.0), "foot_index": (0.22, 0.0), "big_toe": (0.2, 0.0),
    "small_toe": (0.25, 0.02),
}  # fmt: skip


def draw_skeletons(skeletons: Sequence[Skeleton], path: Path) -> Path:
    """Draw skeletons as standing people, with the names of their joints if there is only one.

    Args:
        skeletons: The skeletons.
        path: Image to write (.png or .svg).

    Returns:
        The path.
    """
    columns = min(6, len(skeletons))
    rows = -(-len(skeletons) // columns)
    figure = Figure(figsize=(2.6 * columns, 4.2 * rows) if len(skeletons) > 1 else (7, 8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, skeleton in zip(axes, skeletons, strict=False):
        place = standing(skeleton)
        for joint, parent in skeleton.bones:
            axis.plot(*zip(place[joint], place[parent], strict=True), color="#b9bdc7", linewidth=2.5, zorder=1)
        recorded = np.arange(skeleton.num_joints) < skeleton.num_recorded
        axis.scatter(*place[recorded].T, s=22, color="#0f766e", zorder=2)
        axis.scatter(*place[~recorded].T, s=22, facecolors="white", edgecolors="#c2410c", zorder=2)
        if len(skeletons) == 1:
            for (x, y), name in zip(place, skeleton.joints, strict=True):
                axis.annotate(name, (x, y), (4, 3), textcoords="offset points", fontsize=7)
        axis.set_title(f"{skeleton.name} ({skeleton.num_recorded})", fontsize=10)
        axis.set_aspect("equal")
        axis.margins(0.08)
    with new_file(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png", dpi=110)
    return path


def standing(skeleton: Skeleton) -> np.ndarray:
    """Return positions (K, 2) of the joints of a standing person, seen from the front.

    Joints of unknown names hang below their parents.
    """
    place = np.full((skeleton.num_joints, 2), np.nan)
    for joint, name in enumerate(joint_names(skeleton)):
        side, _, rest = name.partition("_")
        if name in MIDDLE:
            place[joint] = MIDDLE[name]
        elif side in ("left", "right") and rest in SIDES:
            x, y = SIDES[rest]
            place[joint] = (x if side == "left" else -x), y
    for joint, parent in enumerate(skeleton.parents):
        if np.isnan(place[joint, 0]):
            above = place[parent] if parent >= 0 and not np.isnan(place[parent, 0]) else np.array([0.0, 1.0])
            place[joint] = above + np.array([0.03 * (joint % 5 - 2), -0.06])
    return place
