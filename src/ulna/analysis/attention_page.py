"""Output of `ulna attention`: figures, and a page that shows attention on moving skeletons."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.attention import Attention, attention, attention_maps, nodes, some_clips, spatial_maps
from ulna.analysis.attention_figures import draw_distance, draw_pos_embeds, draw_spatial, draw_temporal
from ulna.analysis.report import animation, bones, writable_folder, write_page
from ulna.dataset import Dataset
from ulna.models import Model
from ulna.models.folder import FIGURES

PAGE = "attention.html"
NUM_CLIPS, MOST_BYTES = 6, 6_000_000


def write_attention(
    models: Sequence[Model], dataset: Dataset, *, split: str | None = None, num_clips: int = 300
) -> list[Path]:
    """Write attention figures and an attention page into each model's folder.

    Args:
        models: The models; their attended distances are drawn side by side.
        dataset: Dataset with the clips.
        split: Split whose test part is shown; all clips by default.
        num_clips: Maximum number of clips to average over.

    Returns:
        The files: MODEL/figures/attention_*.png and MODEL/attention.html.

    Raises:
        InputError: If an encoder has no attention maps, or the clips cannot be preprocessed.
    """
    dataset.verify()
    found = [attention(model, dataset, split=split, num_clips=num_clips) for model in models]
    written = []
    for model, own in zip(models, found, strict=True):
        folder = writable_folder(model) / FIGURES
        folder.mkdir(exist_ok=True)
        if own.spatial is not None:
            written.append(draw_spatial(own, folder / "attention_spatial.png"))
        written.append(draw_temporal(own, folder / "attention_temporal.png"))
        written.append(draw_distance(found, folder / "attention_distance.png"))
        if own.pos_embeds:
            written.append(draw_pos_embeds(own, folder / "attention_positions.png"))
        written.append(_write_page(model, dataset, own, split))
    return written


def _write_page(model: Model, dataset: Dataset, own: Attention, split: str | None) -> Path:
    """Write the page, on which users select a block and a head."""
    clips = _clips_to_show(model, dataset, split)
    shown = []
    for clip in clips:
        _, maps = attention_maps(model, dataset, np.array([clip]))
        whole = dataset.clip(int(clip))
        frames = model.preprocessor.frame_indices(whole.num_frames, whole.fps)
        if not whole.visible[frames].any():
            continue  # persons appear only after the frames that the encoder receives
        moving = animation(whole, frames=frames)
        among = spatial_maps(maps)
        moving["spatial"] = None if among is None else _packed(among)
        moving["temporal"] = _packed(torch.stack([block.temporal[0] for block in maps]))
        moving["label"] = int(dataset.labels[clip])
        shown.append(moving)
    layout = model.encoder.spec.layout
    content = {
        "run": model.name,
        "recipe": model.recipe.name,
        "names": own.names,
        "joints": [dataset.skeleton.index(layout.names[k]) for k in nodes(model)],
        "persons": model.config.num_persons,
        "global": own.has_root,
        "shape": list(own.distance.shape),
        "distance": [[None if np.isnan(far) else round(float(far), 2) for far in row] for row in own.distance],
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
        "clips": shown,
    }
    return write_page(PAGE, content, writable_folder(model) / PAGE)


def _clips_to_show(model: Model, dataset: Dataset, split: str | None) -> np.ndarray:
    """Return a few clips of different classes, fewer if their maps are large."""
    clips = some_clips(dataset, split, 300)
    preprocessor = model.preprocessor
    lengths = [len(preprocessor.frame_indices(int(dataset.lengths[i]), float(dataset.fps[i]))) for i in clips]
    order = sorted(range(len(clips)), key=lambda i: (lengths[i] < 20, i))
    chosen: list[int] = []
    labels: set[int] = set()
    spent = 0
    for i in order:
        label = int(dataset.labels[clips[i]])
        cost = int(lengths[i]) * model.encoder.spec.num_nodes**2 * 16
        if len(chosen) < NUM_CLIPS and label not in labels | {-1} and (not chosen or spent + cost < MOST_BYTES):
            chosen.append(i)
            labels.add(label)
            spent += cost
    return clips[chosen or order[:1]]


def _packed(maps: Tensor) -> str:
    """Encode attention in base64, one byte per value, where 255 is the maximum of each row."""
    maps = maps.nan_to_num()
    scaled = maps / maps.amax(dim=-1, keepdim=True).clamp(min=1e-9)
    return base64.b64encode((scaled * 255).round().to(torch.uint8).contiguous().numpy().tobytes()).decode()
