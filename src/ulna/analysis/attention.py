"""Attention analysis (GL-Transformer, figures 4 and 5): what a run's encoder looks at, in figures and on a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ulna.analysis.report import FIGURES, animation, bones, write_page
from ulna.core import counted, within
from ulna.data import Batch, Store, load_batch
from ulna.encoders.base import AttentionMaps
from ulna.protocols.features import widen
from ulna.train.run import Run

PAGE = "attention.html"
FRAMES = 30  # of a clip that the average temporal maps show
FRAMES_AT_ONCE = 1024
NUM_CLIPS, MOST_BYTES = 6, 6_000_000  # on the page


@dataclass(frozen=True)
class Attention:
    """Averages over clips. `spatial` (N, h, S, S) and `temporal` (N, h, 30, 30) over blocks and heads, queries first.

    Slots are person-major with each person's global slot first (`names`); `distance` (N, h) is the mean distance in
    frames between a query and what it attends to; `positions` one (T, T) a block: cosine similarity of the learned
    positional embeddings between frames.
    """

    run: str
    intervals: tuple[int, ...]
    names: list[str]
    num_persons: int
    has_global: bool
    num_clips: int
    spatial: np.ndarray
    temporal: np.ndarray
    distance: np.ndarray
    positions: list[np.ndarray]


def attention(run: Run, store: Store, *, split: str | None = None, num_clips: int = 300) -> Attention:
    """Average attention over clips of a split's test part (of all clips without a split), at most `num_clips`.

    The temporal maps are over each clip's first 30 frames. Raises ValueError where the run's encoder gives none.
    """
    within("num_clips", num_clips, 1)
    run.check(store)
    order = _order(run)
    clips = _some(store, split, num_clips)
    _, first = _attend(run, store, clips[:1])
    blocks, heads, num_slots = len(first), _of(first[0]).shape[1], len(order)
    spatial = torch.zeros(blocks, heads, num_slots, num_slots)
    temporal, seen = torch.zeros(blocks, heads, FRAMES, FRAMES), torch.zeros(FRAMES, FRAMES)
    distance, num_frames = torch.zeros(blocks, heads), 0
    for part in _parts(store, clips, run.form.max_frames):
        batch, maps = _attend(run, store, part)
        spatial += torch.stack([_of(block)[:, :, order][..., order].sum(dim=0) for block in maps])
        num_frames += batch.num_frames
        for place, length in enumerate(batch.lengths):
            own = torch.stack([block.temporal[place] for block in maps])  # (N, h, T, T)
            time = torch.arange(length, dtype=torch.float32)
            distance += (own * (time[:, None] - time).abs()).sum(dim=-1).mean(dim=-1)
            short = min(length, FRAMES)
            temporal[..., :short, :short] += own[..., :short, :short]
            seen[:short, :short] += 1
    return Attention(
        run.path.name,
        tuple(run.recipe.pretext.to_json().get("intervals", ())),
        _names(run),
        run.num_persons,
        run.encoder.slots.global_slot is not None,
        len(clips),
        (spatial / num_frames).numpy(),
        (temporal / seen.clamp(min=1)).numpy(),
        (distance / len(clips)).numpy(),
        [_similarity(table) for table in run.encoder.positions()],
    )


def write_attention(runs: Sequence[Run], store: Store, *, split: str | None = None, num_clips: int = 300) -> list[Path]:
    """Write the figures and the page of each run into it, the attended distances of all runs beside one another.

    Gives the files: RUN/figures/attention_*.png and RUN/attention.html.
    """
    store.verify()
    found = [attention(run, store, split=split, num_clips=num_clips) for run in runs]
    written = []
    for run, own in zip(runs, found, strict=True):
        folder = run.path / FIGURES
        folder.mkdir(exist_ok=True)
        written += [
            _draw_spatial(own, folder / "attention_spatial.png"),
            _draw_temporal(own, folder / "attention_temporal.png"),
            _draw_distance(found, folder / "attention_distance.png"),
        ]
        if own.positions:
            written.append(_draw_positions(own, folder / "attention_positions.png"))
        written.append(_write_page(run, store, own, split))
    return written


def _some(store: Store, split: str | None, num_clips: int) -> np.ndarray:
    clips = np.arange(store.num_clips) if split is None else store.split(split)[1]
    if not len(clips):
        raise ValueError(f"{store.path}: expected test clips in split {split!r}, got none")
    if len(clips) > num_clips:
        clips = np.sort(counted(0, "attention").choice(clips, num_clips, replace=False))
    return clips


def _parts(store: Store, clips: np.ndarray, max_frames: int) -> list[np.ndarray]:
    """Clips in groups of about FRAMES_AT_ONCE frames: maps of frames take memory."""
    filled = np.cumsum(np.minimum(store.lengths[clips], max_frames)) // FRAMES_AT_ONCE
    return [part for part in np.split(clips, np.flatnonzero(np.diff(filled)) + 1) if len(part)]


@torch.inference_mode()
def _attend(run: Run, store: Store, clips: np.ndarray) -> tuple[Batch, list[AttentionMaps]]:
    device = next(run.encoder.parameters()).device
    raw = load_batch(store, clips, max_frames=run.form.crop).to(device)
    batch = run.form(widen(raw, run.encoder.num_persons))
    _, maps = run.encoder.attend(batch)
    return batch, [
        AttentionMaps(_of(block).float().cpu(), tuple(own.float().cpu() for own in block.temporal)) for block in maps
    ]


def _of(block: AttentionMaps) -> Tensor:
    if block.spatial is None:
        raise ValueError("this encoder has no attention among joints")
    return block.spatial


def _order(run: Run) -> list[int]:
    """Slots person by person, each person's global slot first; they are joint-major in the encoder."""
    persons = run.num_persons
    return [joint * persons + person for person in range(persons) for joint in _joints(run)]


def _joints(run: Run) -> list[int]:
    """One person's slots, the global one first."""
    slots = run.encoder.slots
    return sorted(range(len(slots)), key=lambda k: k != slots.global_slot)


def _names(run: Run) -> list[str]:
    slots = run.encoder.slots
    own = ["(global)" if k == slots.global_slot else slots.names[k].replace("_", " ") for k in _joints(run)]
    return own * run.num_persons


def _similarity(table: Tensor) -> np.ndarray:
    """(T, S, D) -> (T, T) cosine similarity of the embeddings of frames."""
    rows = normalize(table.detach().float().cpu().flatten(1), dim=1)
    return np.asarray((rows @ rows.T).numpy())


def _grid(own: Attention, size: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    blocks, heads = own.distance.shape
    figure = Figure(figsize=(1.0 + size * heads, 0.9 + size * blocks), layout="constrained")
    return figure, figure.subplots(blocks, heads, squeeze=False, sharex=True, sharey=True)


def _draw_spatial(own: Attention, path: Path) -> Path:
    num = len(own.names)
    figure, axes = _grid(own, max(2.1, num * 0.085))
    persons = np.arange(1, own.num_persons) * (num // own.num_persons) - 0.5
    for block, row in enumerate(axes):
        for head, axis in enumerate(row):
            axis.imshow(own.spatial[block, head], cmap="viridis", vmin=0, vmax=own.spatial[block].max())
            axis.set_title(f"block {block + 1}, head {head + 1}", fontsize=7)
            for place in persons:
                axis.axhline(place, color="white", linewidth=0.8)
                axis.axvline(place, color="white", linewidth=0.8)
            axis.set_xticks(range(num), own.names, rotation=90, fontsize=4.5)
            axis.set_yticks(range(num), own.names, fontsize=4.5)
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
                if label.get_text() == "(global)":
                    label.set_color("#c2410c")
                    label.set_fontweight("bold")
    figure.suptitle(
        f"Attention among joints, {own.num_clips} clips: rows are queries; (global) is translation", fontsize=9
    )
    figure.savefig(path, dpi=150)
    return path


def _draw_temporal(own: Attention, path: Path) -> Path:
    figure, axes = _grid(own, 1.7)
    for block, row in enumerate(axes):
        for head, axis in enumerate(row):
            axis.imshow(own.temporal[block, head], cmap="magma", vmin=0)
            axis.set_title(f"block {block + 1}, head {head + 1}: {own.distance[block, head]:.1f} frames", fontsize=7)
            axis.tick_params(labelsize=6)
    figure.suptitle(
        f"Attention over the first {FRAMES} frames, {own.num_clips} clips: rows are queries, each with its own "
        "scale;\ntitles give the mean attended distance",
        fontsize=9,
    )
    figure.savefig(path, dpi=150)
    return path


def _draw_distance(runs: Sequence[Attention], path: Path) -> Path:
    """The mean attended distance of every head, block by block, for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    colours = ["#0f766e", "#c2410c", "#2563eb", "#9b51c9", "#d99a00", "#697080"]
    for number, own in enumerate(runs):
        blocks, heads = own.distance.shape
        shift = (number - (len(runs) - 1) / 2) * 0.8 / len(runs)
        colour = colours[number % len(colours)]
        interval = "{" + ", ".join(map(str, own.intervals)) + "}" if own.intervals else ""
        for block in range(blocks):
            place = np.full(heads, block + 1 + shift)
            axis.plot(place, own.distance[block], "o", color=colour, alpha=0.5, markersize=5)
        mean = own.distance.mean(axis=1)
        axis.plot(np.arange(blocks) + 1 + shift, mean, "_", markersize=16, color=colour, label=f"{own.run} {interval}")
    axis.set_xticks(range(1, max(len(own.distance) for own in runs) + 1))
    axis.set_xlabel("block")
    axis.set_ylabel("frames")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e4e2dc")
    axis.legend(frameon=False, fontsize=8)
    axis.set_title("Mean attended frame distance: a dot a head, a dash their mean", fontsize=9, loc="left")
    figure.savefig(path, dpi=150)
    return path


def _draw_positions(own: Attention, path: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.6 + 2.6 * len(own.positions), 2.9), layout="constrained")
    axes = figure.subplots(1, len(own.positions), squeeze=False)[0]
    for block, (axis, similarity) in enumerate(zip(axes, own.positions, strict=True)):
        drawn = axis.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"block {block + 1}" if len(own.positions) > 1 else "all blocks", fontsize=8)
        axis.tick_params(labelsize=6)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    figure.suptitle("Similarity of positional embeddings between frames (cosine)", fontsize=9)
    figure.savefig(path, dpi=150)
    return path


def _write_page(run: Run, store: Store, own: Attention, split: str | None) -> Path:
    """The page on which one picks block and head and sees the attention on a moving skeleton."""
    clips = _for_page(run, store, split)
    shown, order = [], _order(run)
    for clip in clips:
        batch, maps = _attend(run, store, np.array([clip]))
        frames, whole = _frames(run, int(store.lengths[clip]), batch.num_frames), store.clip(int(clip))
        if not whole.present[frames].any():
            continue  # whoever is in it comes after the frames that the encoder sees
        moving = animation(whole, frames=frames)
        moving["spatial"] = _packed(torch.stack([_of(block)[:, :, order][..., order] for block in maps], dim=1))
        moving["temporal"] = _packed(torch.stack([block.temporal[0] for block in maps]))
        moving["label"] = int(store.labels[clip])
        shown.append(moving)
    slots = run.encoder.slots
    content = {
        "run": run.path.name,
        "recipe": run.recipe.name,
        "names": own.names,
        "joints": [store.skeleton.index(slots.names[k]) for k in _joints(run)],
        "persons": run.num_persons,
        "global": own.has_global,
        "shape": list(own.distance.shape),
        "distance": own.distance.round(2).tolist(),
        "bones": bones(store.skeleton),
        "classes": list(store.classes),
        "clips": shown,
    }
    return write_page(PAGE, content, run.path / PAGE)


def _for_page(run: Run, store: Store, split: str | None) -> np.ndarray:
    """A few clips of different classes, fewer where their maps are large."""
    clips = _some(store, split, 300)
    encoder = run.encoder
    num_slots = len(encoder.slots) * run.num_persons
    lengths = np.minimum(store.lengths[clips], run.form.max_frames)
    order = sorted(range(len(clips)), key=lambda i: (lengths[i] < 20, i))
    chosen: list[int] = []
    labels: set[int] = set()
    spent = 0
    for place in order:
        label = int(store.labels[clips[place]])
        cost = int(lengths[place]) * num_slots**2 * 16
        if len(chosen) < NUM_CLIPS and label not in labels | {-1} and (not chosen or spent + cost < MOST_BYTES):
            chosen.append(place)
            labels.add(label)
            spent += cost
    return clips[chosen or order[:1]]


def _frames(run: Run, length: int, num: int) -> np.ndarray:
    """The frames of a clip that the encoder sees, the nearest where the form resamples it."""
    if run.form.crop is not None:
        return np.arange(num)
    return ((np.arange(num) + 0.5) * length / num - 0.5).round().astype(int).clip(0, length - 1)


def _packed(maps: Tensor) -> str:
    """Attention as one byte a number, 255 for the largest of each row."""
    scaled = maps / maps.amax(dim=-1, keepdim=True).clamp(min=1e-9)
    return base64.b64encode((scaled * 255).round().to(torch.uint8).contiguous().numpy().tobytes()).decode()
