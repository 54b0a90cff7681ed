"""Output of `ulna masks`: figures, and a page that shows scores and masks on moving skeletons."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulna.analysis.masks import group_titles, joint_labels, masks, pretext_of
from ulna.analysis.masks_figures import draw_ball, draw_scores
from ulna.analysis.report import animation, bones, model_folder, write_page
from ulna.batch import Segments
from ulna.dataset import Dataset
from ulna.models import Model
from ulna.models.folder import FIGURES
from ulna.pretext.ha_cm import HACM, group_index

PAGE = "masks.html"
NUM_CLIPS, NUM_DRAWS = 6, 4


def write_masks(model: Model, dataset: Dataset, *, split: str | None = None, num_clips: int = 100) -> list[Path]:
    """Write figures and a page of scores and masks into a model's folder.

    Args:
        model: A model pretrained with HA-CM.
        dataset: Dataset with the clips.
        split: Split whose test part is shown; all clips by default.
        num_clips: Maximum number of clips to average over.

    Returns:
        The files: MODEL/figures/masks_*.png and MODEL/masks.html.

    Raises:
        InputError: If the model was not pretrained with HA-CM or the clips cannot be preprocessed.
    """
    task = pretext_of(model)
    dataset.verify()
    own = masks(model, dataset, split=split, num_clips=num_clips)
    folder = model_folder(model) / FIGURES
    folder.mkdir(exist_ok=True)
    return [
        draw_scores(own, folder / "masks_scores.png"),
        draw_ball(own, model.config.skeleton, folder / "masks_ball.png"),
        _write_page(model, task, dataset, split),
    ]


def _write_page(model: Model, task: HACM, dataset: Dataset, split: str | None) -> Path:
    shown = [_moving(model, task, dataset, int(clip)) for clip in _clips(dataset, split)]
    layout = task.encoder.spec.layout
    content = {
        "run": model.name,
        "recipe": model.recipe.name,
        "titles": group_titles(task),
        "groups": task.config.groups,
        "segment": task.encoder.config.segment,
        "joints": [dataset.skeleton.index(layout.names[k]) for k in task.encoder.joints],
        "names": joint_labels(task.encoder, task.encoder.joints),
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
        "clips": [clip for clip in shown if clip is not None],
    }
    return write_page(PAGE, content, model_folder(model) / PAGE)


@torch.inference_mode()
def _moving(model: Model, task: HACM, dataset: Dataset, clip: int) -> dict[str, Any] | None:
    """Return a clip to play, with each person's scores and a few masks as bytes: persons x segments x joints."""
    whole = dataset.clip(clip)
    batch = model.preprocessor.load(dataset, np.array([clip]), model.device)
    frames = model.preprocessor.frame_indices(whole.num_frames, whole.fps)
    if not whole.visible[frames].any():
        return None
    segments = task.encoder.segments(batch)
    score = task.score(segments, task.encoder.tokenize(segments))
    groups = task.config.groups
    group = group_index(segments, groups)
    most = score.new_zeros(segments.num_persons * groups).scatter_reduce(0, group, score, "amax")[group]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.stack([task.mask(segments, score).is_visible for _ in range(NUM_DRAWS)])
    return animation(whole, frames=frames) | {
        "label": int(dataset.labels[clip]),
        "rows": segments.persons.visible_persons[0].nonzero()[:, 0].tolist(),
        "segments": int(segments.packing.lengths[0]),
        "score": _bytes(segments, 255 * score / most.clamp(min=1e-12)),
        "draws": [_bytes(segments, draw) for draw in draws],
    }


def _clips(dataset: Dataset, split: str | None) -> np.ndarray:
    """Return the first clip of each of a few classes."""
    clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[1]
    _, first = np.unique(dataset.labels[clips], return_index=True)
    return clips[np.sort(first)][:NUM_CLIPS]


def _bytes(segments: Segments, values: torch.Tensor) -> str:
    """Encode values 0 to 255 of all joints of all segments in base64, one byte each; 0 for missing joints."""
    whole = torch.zeros(segments.num_joint_segments, dtype=torch.uint8)
    whole = whole.index_copy(0, segments.token_index.cpu(), values.byte().cpu())
    return base64.b64encode(whole.numpy().tobytes()).decode()
