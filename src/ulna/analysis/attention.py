"""Attention analysis (GL-Transformer, figures 4 and 5): what a run's encoder looks at, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ulna.core import random_stream, within
from ulna.data import Batch, Dataset, load_batch
from ulna.encoders.base import AttentionMaps
from ulna.evaluation.features import widen
from ulna.models.model import Run

FRAMES = 30  # of a clip that the average temporal maps show
FRAMES_AT_ONCE = 1024


@dataclass(frozen=True)
class Attention:
    """Averages over clips. `spatial` (N, h, S, S) and `temporal` (N, h, 30, 30) over blocks and heads, queries first.

    NodeLayout are person-major with each person's global node first (`names`); `distance` (N, h) is the mean distance in
    frames between a query and what it attends to; `positions` one (T, T) a block: cosine similarity of the learned
    pos_embed embeddings between frames. Where a block has fewer heads than others, the rest is NaN; `spatial` is None
    for an encoder that attends over time alone.
    """

    run: str
    intervals: tuple[int, ...]
    names: list[str]
    num_persons: int
    has_global: bool
    num_clips: int
    spatial: np.ndarray | None
    temporal: np.ndarray
    distance: np.ndarray
    positions: list[np.ndarray]


@dataclass(frozen=True)
class Maps:
    """A block's attention: `spatial` (F, h, S, S) person by person, each person's global node first, if it attends
    among joints, and `temporal`, one (h, T, T) a clip."""

    spatial: Tensor | None
    temporal: tuple[Tensor, ...]


def attention(run: Run, dataset: Dataset, *, split: str | None = None, num_clips: int = 300) -> Attention:
    """Average attention over clips of a split's test part (of all clips without a split), at most `num_clips`.

    The temporal maps are over each clip's first 30 frames. Raises ValueError where the run's encoder gives none.
    """
    within("num_clips", num_clips, 1)
    run.check(dataset)
    clips = some_clips(dataset, split, num_clips)
    _, first = attend(run, dataset, clips[:1])
    blocks, heads = len(first), len(first[0].temporal[0])
    spatial: Tensor | None = None
    temporal, seen = torch.zeros(blocks, heads, FRAMES, FRAMES), torch.zeros(FRAMES, FRAMES)
    distance, num_frames = torch.zeros(blocks, heads), 0
    for part in _parts(dataset, clips, run.form.max_frames):
        batch, maps = attend(run, dataset, part)
        if (among := spatial_maps(maps)) is not None:
            spatial = among.sum(dim=0) + (0 if spatial is None else spatial)
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
        run.encoder.layout.root is not None,
        len(clips),
        None if spatial is None else (spatial / num_frames).numpy(),
        (temporal / seen.clamp(min=1)).numpy(),
        (distance / len(clips)).numpy(),
        [_similarity(table) for table in run.encoder.positions()],
    )


def some_clips(dataset: Dataset, split: str | None, num_clips: int) -> np.ndarray:
    clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[1]
    if not len(clips):
        raise ValueError(f"{dataset.path}: expected test clips in split {split!r}, got none")
    if len(clips) > num_clips:
        clips = np.sort(random_stream(0, "attention").choice(clips, num_clips, replace=False))
    return clips


def _parts(dataset: Dataset, clips: np.ndarray, max_frames: int) -> list[np.ndarray]:
    """Clips in groups of about FRAMES_AT_ONCE frames: maps of frames take memory."""
    filled = np.cumsum(np.minimum(dataset.lengths[clips], max_frames)) // FRAMES_AT_ONCE
    return [part for part in np.split(clips, np.flatnonzero(np.diff(filled)) + 1) if len(part)]


@torch.inference_mode()
def attend(run: Run, dataset: Dataset, clips: np.ndarray) -> tuple[Batch, list[Maps]]:
    """What the encoder sees of clips, and every block's attention, on the CPU."""
    device = next(run.encoder.parameters()).device
    raw = load_batch(dataset, clips, max_frames=run.form.crop).to(device)
    batch = run.form(widen(raw, run.encoder.num_persons))
    _, blocks = run.encoder.attend(batch)
    order = [joint * run.num_persons + person for person in range(run.num_persons) for joint in joints(run)]
    num_heads = max(len(block.temporal[0]) for block in blocks)
    return batch, [_maps(block, order, num_heads) for block in blocks]


def _maps(block: AttentionMaps, order: list[int], num_heads: int) -> Maps:
    """NodeLayout are joint-major in the encoder; heads that a block does not have are NaN."""
    spatial = None if block.spatial is None else block.spatial[:, :, order][..., order].float().cpu()
    more = (0, 0, 0, 0, 0, num_heads - len(block.temporal[0]))
    return Maps(spatial, tuple(pad(own.float().cpu(), more, value=torch.nan) for own in block.temporal))


def spatial_maps(blocks: list[Maps]) -> Tensor | None:
    """(F, N, h, S, S) of all blocks, if they attend among joints."""
    found = [block.spatial for block in blocks if block.spatial is not None]
    return torch.stack(found, dim=1) if found else None


def joints(run: Run) -> list[int]:
    """One person's layout, the global one first."""
    nodes = run.encoder.layout
    return sorted(range(len(layout)), key=lambda k: k != nodes.root)


def _names(run: Run) -> list[str]:
    nodes = run.encoder.layout
    own = ["(global)" if k == nodes.root else nodes.names[k].replace("_", " ") for k in joints(run)]
    return own * run.num_persons


def _similarity(table: Tensor) -> np.ndarray:
    """(T, S, D) -> (T, T) cosine similarity of the embeddings of frames."""
    rows = normalize(table.detach().float().cpu().flatten(1), dim=1)
    return np.asarray((rows @ rows.T).numpy())
