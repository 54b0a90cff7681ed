"""What `ulna attention` writes: figures, and a page on which one picks block and head and sees a skeleton move."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.attention import Attention, attend, attention, joints, some_clips, spatial_maps
from ulna.analysis.attention_figures import draw_distance, draw_positions, draw_spatial, draw_temporal
from ulna.analysis.report import FIGURES, animation, bones, write_page
from ulna.data import Dataset
from ulna.models.model import Run

PAGE = "attention.html"
NUM_CLIPS, MOST_BYTES = 6, 6_000_000


def write_attention(runs: Sequence[Run], dataset: Dataset, *, split: str | None = None, num_clips: int = 300) -> list[Path]:
    """Write the figures and the page of each run into it, the attended distances of all runs beside one another.

    Gives the files: RUN/figures/attention_*.png and RUN/attention.html.
    """
    dataset.verify()
    found = [attention(run, dataset, split=split, num_clips=num_clips) for run in runs]
    written = []
    for run, own in zip(runs, found, strict=True):
        folder = run.path / FIGURES
        folder.mkdir(exist_ok=True)
        if own.spatial is not None:
            written.append(draw_spatial(own, folder / "attention_spatial.png"))
        written.append(draw_temporal(own, folder / "attention_temporal.png"))
        written.append(draw_distance(found, folder / "attention_distance.png"))
        if own.positions:
            written.append(draw_positions(own, folder / "attention_positions.png"))
        written.append(_write_page(run, dataset, own, split))
    return written


def _write_page(run: Run, dataset: Dataset, own: Attention, split: str | None) -> Path:
    """The page on which one picks block and head and sees the attention on a moving skeleton."""
    clips = _for_page(run, dataset, split)
    shown = []
    for clip in clips:
        _, maps = attend(run, dataset, np.array([clip]))
        frames, whole = run.form.frames(int(dataset.lengths[clip])), dataset.clip(int(clip))
        if not whole.visible[frames].any():
            continue  # whoever is in it comes after the frames that the encoder sees
        moving = animation(whole, frames=frames)
        among = spatial_maps(maps)
        moving["spatial"] = None if among is None else _packed(among)
        moving["temporal"] = _packed(torch.stack([block.temporal[0] for block in maps]))
        moving["label"] = int(dataset.labels[clip])
        shown.append(moving)
    nodes = run.encoder.layout
    content = {
        "run": run.path.name,
        "recipe": run.recipe.name,
        "names": own.names,
        "joints": [dataset.skeleton.index(nodes.names[k]) for k in joints(run)],
        "persons": run.num_persons,
        "global": own.has_global,
        "shape": list(own.distance.shape),
        "distance": [[None if np.isnan(far) else round(float(far), 2) for far in row] for row in own.distance],
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
        "clips": shown,
    }
    return write_page(PAGE, content, run.path / PAGE)


def _for_page(run: Run, dataset: Dataset, split: str | None) -> np.ndarray:
    """A few clips of different classes, fewer where their maps are large."""
    clips = some_clips(dataset, split, 300)
    encoder = run.encoder
    num_nodes = len(encoder.layout) * run.num_persons
    lengths = np.minimum(dataset.lengths[clips], run.form.max_frames)
    order = sorted(range(len(clips)), key=lambda i: (lengths[i] < 20, i))
    chosen: list[int] = []
    labels: set[int] = set()
    spent = 0
    for place in order:
        label = int(dataset.labels[clips[place]])
        cost = int(lengths[place]) * num_nodes**2 * 16
        if len(chosen) < NUM_CLIPS and label not in labels | {-1} and (not chosen or spent + cost < MOST_BYTES):
            chosen.append(place)
            labels.add(label)
            spent += cost
    return clips[chosen or order[:1]]


def _packed(maps: Tensor) -> str:
    """Attention as one byte a number, 255 for the largest of each row."""
    maps = maps.nan_to_num()
    scaled = maps / maps.amax(dim=-1, keepdim=True).clamp(min=1e-9)
    return base64.b64encode((scaled * 255).round().to(torch.uint8).contiguous().numpy().tobytes()).decode()
