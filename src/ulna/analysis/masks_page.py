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
from ulna.data import Store
from ulna.data.segments import Segments
from ulna.pretext.masks import group_of
from ulna.train.run import Run

PAGE = "masks.html"
NUM_CLIPS, NUM_DRAWS = 6, 4


def write_masks(run: Run, store: Store, *, split: str | None = None, num_clips: int = 100) -> list[Path]:
    """Write the figures (RUN/figures/masks_*.png) and the page (RUN/masks.html) of a run of cross masking."""
    task_of(run)
    store.verify()
    own = masks(run, store, split=split, num_clips=num_clips)
    folder = run.path / FIGURES
    folder.mkdir(exist_ok=True)
    return [
        draw_scores(own, folder / "masks_scores.png"),
        draw_ball(own, run.skeleton, folder / "masks_ball.png"),
        _write_page(run, store, split),
    ]


def _write_page(run: Run, store: Store, split: str | None) -> Path:
    task = task_of(run)
    shown = [_moving(run, store, int(clip)) for clip in _clips(store, split)]
    content = {
        "run": run.path.name,
        "recipe": run.recipe.name,
        "titles": titles(task),
        "groups": task.groups,
        "segment": task.encoder.segment,
        "joints": [store.skeleton.index(task.encoder.slots.names[k]) for k in task.encoder.joints],
        "names": labels(task.encoder, task.encoder.joints),
        "bones": bones(store.skeleton),
        "classes": list(store.classes),
        "clips": [clip for clip in shown if clip is not None],
    }
    return write_page(PAGE, content, run.path / PAGE)


@torch.inference_mode()
def _moving(run: Run, store: Store, clip: int) -> dict[str, Any] | None:
    """A clip to play, with each person's scores and a few draws as bytes: persons x segments x joints."""
    task, whole = task_of(run), store.clip(clip)
    batch = seen_by(run, store, np.array([clip]))
    frames = run.form.frames(whole.num_frames)
    if not whole.present[frames].any():
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
        "label": int(store.labels[clip]),
        "rows": rows,
        "segments": int(segments.packing.lengths[0]),
        "score": _bytes(segments, 255 * score / most.clamp(min=1e-12)),
        "draws": [_bytes(segments, draw) for draw in draws],
    }


def _clips(store: Store, split: str | None) -> np.ndarray:
    """The first clip of each of a few classes."""
    clips = np.arange(store.num_clips) if split is None else store.split(split)[1]
    _, first = np.unique(store.labels[clips], return_index=True)
    return clips[np.sort(first)][:NUM_CLIPS]


def _bytes(segments: Segments, values: torch.Tensor) -> str:
    """Whole numbers from 0 to 255 of all tokens, one byte each; 0 for joints that a segment does not show."""
    whole = torch.zeros(segments.num_places, dtype=torch.uint8)
    whole = whole.index_copy(0, segments.kept.cpu(), values.byte().cpu())
    return base64.b64encode(whole.numpy().tobytes()).decode()
