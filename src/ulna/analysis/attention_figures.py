"""Attention figures: among joints, over time, attended distance, similarity of position embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ulna.analysis.attention import FRAMES, Attention


def _grid(own: Attention, size: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    blocks, heads = own.distance.shape
    figure = Figure(figsize=(1.0 + size * heads, 0.9 + size * blocks), layout="constrained")
    return figure, figure.subplots(blocks, heads, squeeze=False, sharex=True, sharey=True)


def draw_spatial(own: Attention, path: Path) -> Path:
    """Draw the attention among nodes of every block and head."""
    assert own.spatial is not None
    num = len(own.names)
    figure, axes = _grid(own, max(2.1, num * 0.085))
    persons = np.arange(1, own.num_persons) * (num // own.num_persons) - 0.5
    for block, row in enumerate(axes):
        for head, axis in enumerate(row):
            axis.imshow(own.spatial[block, head], cmap="viridis", vmin=0, vmax=own.spatial[block].max())
            axis.set_title(f"block {block + 1}, head {head + 1}", fontsize=7)
            for border in persons:
                axis.axhline(border, color="white", linewidth=0.8)
                axis.axvline(border, color="white", linewidth=0.8)
            axis.set_xticks(range(num), own.names, rotation=90, fontsize=4.5)
            axis.set_yticks(range(num), own.names, fontsize=4.5)
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
                if label.get_text() == "(root)":
                    label.set_color("#c2410c")
                    label.set_fontweight("bold")
    figure.suptitle(
        f"Attention among joints, {own.num_clips} clips: rows are queries; (root) is the translation", fontsize=9
    )
    figure.savefig(path, dpi=150)
    return path


def draw_temporal(own: Attention, path: Path) -> Path:
    """Draw the attention among the first frames of every block and head."""
    figure, axes = _grid(own, 1.7)
    for block, row in enumerate(axes):
        for head, axis in enumerate(row):
            if np.isnan(own.distance[block, head]):  # this block has fewer heads
                axis.axis("off")
                continue
            axis.imshow(own.temporal[block, head], cmap="magma", vmin=0)
            axis.set_title(f"block {block + 1}, head {head + 1}: {own.distance[block, head]:.1f} frames", fontsize=7)
            axis.tick_params(labelsize=6)
    figure.suptitle(
        f"Attention over the first {FRAMES} frames, {own.num_clips} clips: rows are queries, each head has its "
        "own scale;\nthe titles give the mean attended distance",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
    return path


def draw_distance(models: Sequence[Attention], path: Path) -> Path:
    """Draw the mean attended distance of every head by block, for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    colours = ["#0f766e", "#c2410c", "#2563eb", "#9b51c9", "#d99a00", "#697080"]
    for number, own in enumerate(models):
        blocks, heads = own.distance.shape
        shift = (number - (len(models) - 1) / 2) * 0.8 / len(models)
        colour = colours[number % len(colours)]
        interval = "{" + ", ".join(map(str, own.intervals)) + "}" if own.intervals else ""
        for block in range(blocks):
            position = np.full(heads, block + 1 + shift)
            axis.plot(position, own.distance[block], "o", color=colour, alpha=0.5, markersize=5)
        mean = np.nanmean(own.distance, axis=1)
        axis.plot(
            np.arange(blocks) + 1 + shift, mean, "_", markersize=16, color=colour, label=f"{own.model} {interval}"
        )
    axis.set_xticks(range(1, max(len(own.distance) for own in models) + 1))
    axis.set_xlabel("block")
    axis.set_ylabel("frames")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e4e2dc")
    axis.legend(frameon=False, fontsize=8)
    axis.set_title("Mean attended distance in frames: dots are heads, dashes are block means", fontsize=9, loc="left")
    figure.savefig(path, dpi=150)
    return path


def draw_pos_embeds(own: Attention, path: Path) -> Path:
    """Draw the similarity of position embeddings between frames, for each block."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 + 2.6 * len(own.pos_embeds), 2.9), layout="constrained")
    axes = figure.subplots(1, len(own.pos_embeds), squeeze=False)[0]
    for block, (axis, similarity) in enumerate(zip(axes, own.pos_embeds, strict=True)):
        drawn = axis.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"block {block + 1}" if len(own.pos_embeds) > 1 else "all blocks", fontsize=8)
        axis.tick_params(labelsize=6)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    figure.suptitle("Cosine similarity of position embeddings between frames", fontsize=9)
    figure.savefig(path, dpi=150)
    return path
