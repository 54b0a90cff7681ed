"""Attention analysis: attention maps, attended distances, position embeddings (GL-Transformer, figures 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ulna.batch import Batch
from ulna.core import InputError, check_range, random_stream
from ulna.dataset import Dataset
from ulna.encoders.base import AttentionMaps
from ulna.models import Model
from ulna.pretext import MPDP

FRAMES = 30  # first frames of a clip in average temporal maps
FRAMES_AT_ONCE = 1024


@dataclass(frozen=True)
class Attention:
    """Attention averaged over clips, queries first.

    Blocks with fewer heads than others are padded with NaN.

    Args:
        model: Name of the model.
        intervals: Prediction intervals of its pretext task; empty if it has none.
        names: Names of the S nodes of all persons, person by person, each person's root first.
        num_persons: P, the number of persons.
        has_root: Whether each person's first node is a root.
        num_clips: Number of clips averaged over.
        spatial: (N, h, S, S) over blocks and heads; None for an encoder that attends over time only.
        temporal: (N, h, 30, 30) over blocks and heads.
        distance: (N, h) mean attended distance: between a query and the keys it attends to, in frames.
        pos_embeds: (T, T) cosine similarity between the position embeddings of frames, one per block.
    """

    model: str
    intervals: tuple[int, ...]
    names: list[str]
    num_persons: int
    has_root: bool
    num_clips: int
    spatial: np.ndarray | None
    temporal: np.ndarray
    distance: np.ndarray
    pos_embeds: list[np.ndarray]


@dataclass(frozen=True)
class Maps:
    """Attention maps of one block.

    Args:
        spatial: (F, h, S, S), person by person, each person's root first; None if there is no spatial attention.
        temporal: One (h, T, T) per clip.
    """

    spatial: Tensor | None
    temporal: tuple[Tensor, ...]


def attention(model: Model, dataset: Dataset, *, split: str | None = None, num_clips: int = 300) -> Attention:
    """Average the attention of a model over clips.

    Args:
        model: The model.
        dataset: Dataset with the clips.
        split: Split whose test part is used; all clips by default.
        num_clips: Maximum number of clips.

    Raises:
        InputError: If the encoder has no attention maps, or the clips cannot be preprocessed.
    """
    check_range("num_clips", num_clips, 1, 1_000_000)
    embedder = model.embedder(dataset)
    clips = some_clips(dataset, split, num_clips)
    _, first = attention_maps(model, dataset, clips[:1])
    blocks, heads = len(first), len(first[0].temporal[0])
    spatial: Tensor | None = None
    temporal, counts = torch.zeros(blocks, heads, FRAMES, FRAMES), torch.zeros(FRAMES, FRAMES)
    distance, num_frames = torch.zeros(blocks, heads), 0
    for part in _parts(dataset, clips, embedder.preprocessor.config.max_frames):
        batch, maps = attention_maps(model, dataset, part)
        if (among := spatial_maps(maps)) is not None:
            spatial = among.sum(dim=0) + (0 if spatial is None else spatial)
        num_frames += batch.num_frames
        for clip, length in enumerate(batch.lengths):
            own = torch.stack([block.temporal[clip] for block in maps])  # (N, h, T, T)
            time = torch.arange(length, dtype=torch.float32)
            distance += (own * (time[:, None] - time).abs()).sum(dim=-1).mean(dim=-1)
            short = min(length, FRAMES)
            temporal[..., :short, :short] += own[..., :short, :short]
            counts[:short, :short] += 1
    pretext = model.recipe.pretext
    return Attention(
        model.name,
        pretext.intervals if isinstance(pretext, MPDP.Config) else (),
        _names(model),
        model.config.num_persons,
        model.encoder.spec.layout.root is not None,
        len(clips),
        None if spatial is None else (spatial / num_frames).numpy(),
        (temporal / counts.clamp(min=1)).numpy(),
        (distance / len(clips)).numpy(),
        [_similarity(table) for table in model.encoder.pos_embeds()],
    )


def some_clips(dataset: Dataset, split: str | None, num_clips: int) -> np.ndarray:
    """Return the indices of at most `num_clips` clips of a split's test part, or of all clips."""
    clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[1]
    if not len(clips):
        raise InputError(f"{dataset.path}: expected test clips in split {split!r}, found none")
    if len(clips) > num_clips:
        clips = np.sort(random_stream(0, "attention").choice(clips, num_clips, replace=False))
    return clips


def _parts(dataset: Dataset, clips: np.ndarray, max_frames: int) -> list[np.ndarray]:
    """Split clips into groups of about FRAMES_AT_ONCE frames to limit the memory used by attention maps."""
    filled = np.cumsum(np.minimum(dataset.lengths[clips], max_frames)) // FRAMES_AT_ONCE
    return [part for part in np.split(clips, np.flatnonzero(np.diff(filled)) + 1) if len(part)]


@torch.inference_mode()
def attention_maps(model: Model, dataset: Dataset, clips: np.ndarray) -> tuple[Batch, list[Maps]]:
    """Return the preprocessed batch of some clips and the attention maps of every block, on the CPU."""
    batch = model.preprocessor.load(dataset, clips, model.device)
    _, blocks = model.encoder.attention_maps(batch)
    num_persons = model.config.num_persons
    order = [node * num_persons + person for person in range(num_persons) for node in nodes(model)]
    num_heads = max(len(block.temporal[0]) for block in blocks)
    return batch, [_maps(block, order, num_heads) for block in blocks]


def _maps(block: AttentionMaps, order: list[int], num_heads: int) -> Maps:
    """Reorder the nodes, which are joint-major in the encoder, and pad missing heads with NaN."""
    spatial = None if block.spatial is None else block.spatial[:, :, order][..., order].float().cpu()
    more = (0, 0, 0, 0, 0, num_heads - len(block.temporal[0]))
    return Maps(spatial, tuple(pad(own.float().cpu(), more, value=torch.nan) for own in block.temporal))


def spatial_maps(blocks: list[Maps]) -> Tensor | None:
    """Return the spatial maps (F, N, h, S, S) of all blocks, if there are any."""
    found = [block.spatial for block in blocks if block.spatial is not None]
    return torch.stack(found, dim=1) if found else None


def nodes(model: Model) -> list[int]:
    """Return the nodes of one person, the root first."""
    layout = model.encoder.spec.layout
    return sorted(range(len(layout)), key=lambda k: k != layout.root)


def _names(model: Model) -> list[str]:
    layout = model.encoder.spec.layout
    own = ["(root)" if k == layout.root else layout.names[k].replace("_", " ") for k in nodes(model)]
    return own * model.config.num_persons


def _similarity(table: Tensor) -> np.ndarray:
    """Return the cosine similarity (T, T) between the position embeddings (T, S, D) of frames."""
    rows = normalize(table.detach().float().cpu().flatten(1), dim=1)
    return np.asarray((rows @ rows.T).numpy())
