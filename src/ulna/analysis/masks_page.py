"""What `ulna masks` writes: figures, and a page on which scores and masks are seen on moving skeletons."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulna.analysis.masks import labels, masks, seen_by, task_of, titles
from ulna.analysis.masks_figures import draw_ball, draw_scores
from ulna.analysis.report import FIGURES, animation, bones, write_page
from ulna.data import Dataset
from ulna.batch.segments import Segments
from ulna.pretext.masks import group_of
from ulna.models.model import Run

PAGE = "masks.html"
NUM_CLIPS, NUM_DRAWS = 6, 4


def write_masks(run: Run, dataset: Dataset, *, split: str | None = None, num_clips: int = 100) -> list[Path]:
    """Write the figures (RUN/figures/masks_*.png) and the page (RUN/masks.html) of a run of cross masking."""
    task_of(run)
    dataset.verify()
    own = masks(run, dataset, split=split, num_clips=num_clips)
    folder = run.path / FIGURES
    folder.mkdir(exist_ok=True)
    return [
        draw_scores(own, folder / "masks_scores.png"),
        draw_ball(own, run.skeleton, folder / "masks_ball.png"),
        _write_page(run, dataset, split),
    ]


def _write_page(run: Run, dataset: Dataset, split: str | None) -> Path:
    task = task_of(run)
    shown = [_moving(run, dataset, int(clip)) for clip in _clips(dataset, split)]
    content = {
        "run": run.path.name,
        "recipe": run.recipe.name,
        "titles": titles(task),
        "groups": task.groups,
        "segment": task.encoder.segment,
        "joints": [dataset.skeleton.index(task.encoder.layout.names[k]) for k in task.encoder.joints],
        "names": labels(task.encoder, task.encoder.joints),
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
        "clips": [clip for clip in shown if clip is not None],
    }
    return write_page(PAGE, content, run.path / PAGE)


@torch.inference_mode()
def _moving(run: Run, dataset: Dataset, clip: int) -> dict[str, Any] | None:
    """A clip to play, with each person's scores and a few draws as bytes: persons x segments x joints."""
    task, whole = task_of(run), dataset.clip(clip)
    batch = seen_by(run, dataset, np.array([clip]))
    frames = run.form.frames(whole.num_frames)
    if not whole.visible[frames].any():
        return None
    segments = task.encoder.cut(batch)
    tokens = task.encoder.tokens(segments)
    score = task.scores(segments, tokens)
    group = group_of(segments, task.groups)
    most = score.new_zeros(segments.num_rows * task.groups).scatter_reduce(0, group, score, "amax")[group]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.stack([task.show(segments, score).is_shown for _ in range(NUM_DRAWS)])
    rows = segments.rows.there[0].nonzero()[:, 0].tolist()
    return animation(whole, frames=frames) | {
        "label": int(dataset.labels[clip]),
        "rows": rows,
        "segments": int(segments.packing.lengths[0]),
        "score": _bytes(segments, 255 * score / most.clamp(min=1e-12)),
        "draws": [_bytes(segments, draw) for draw in draws],
    }


def _clips(dataset: Dataset, split: str | None) -> np.ndarray:
    """The first clip of each of a few classes."""
    clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[1]
    _, first = np.unique(dataset.labels[clips], return_index=True)
    return clips[np.sort(first)][:NUM_CLIPS]


def _bytes(segments: Segments, values: torch.Tensor) -> str:
    """Whole numbers from 0 to 255 of all tokens, one byte each; 0 for joints that a segment does not show."""
    whole = torch.zeros(segments.num_places, dtype=torch.uint8)
    whole = whole.index_copy(0, segments.kept.cpu(), values.byte().cpu())
    return base64.b64encode(whole.numpy().tobytes()).decode()
