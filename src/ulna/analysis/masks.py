"""Masks of HA-CM: hierarchy and attention scores, visible tokens, and joints in the Poincare ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.attention import some_clips
from ulna.batch import Batch, Segments
from ulna.core import InputError, check_range
from ulna.dataset import Dataset
from ulna.encoders import SegmentTransformer
from ulna.models import Model
from ulna.pretext import HACM
from ulna.pretext.ha_cm import group_index, ranked

CLIPS_AT_ONCE = 16
BINS = 6  # number of parts that a clip is divided into over time
HIGHEST = 0.2  # share of tokens that count as having the highest scores


@dataclass(frozen=True)
class Masks:
    """Scores and masks, averaged over clips and persons.

    J is the number of joints that are tokens, T (at most 6) the number of parts that each group's segments are divided
    into over time. Values are NaN for parts without segments.

    Args:
        model: Name of the model.
        names: Names of the joints, those of the pruned torso last.
        labels: Display names of the joints.
        num_torso: Number of joints of the pruned torso.
        num_clips: Number of clips averaged over.
        titles: Name of each group's score.
        attention: (T, J) scores of tokens in even segments, relative to the mean of their group.
        hierarchy: (T, J) the same for odd segments.
        visible: (2, T, J) share of draws in which a token stayed visible, even segments first.
        highest: (2, 2) for even and odd segments, the share of visible tokens that are among the 20 % with the highest
            scores, and the share expected by chance; if both are equal, the scores have no effect.
        points: (J + torso, D) mean of each joint's tokens in the ball.
        depth: (J + torso,) mean hyperbolic distance of each joint's tokens from the centre of the ball.
    """

    model: str
    names: list[str]
    labels: list[str]
    num_torso: int
    num_clips: int
    titles: list[str]
    attention: np.ndarray
    hierarchy: np.ndarray
    visible: np.ndarray
    highest: np.ndarray
    points: np.ndarray
    depth: np.ndarray


def pretext_of(model: Model) -> HACM:
    """Return the pretext task of a model; raises InputError if it was not pretrained with HA-CM."""
    if not isinstance(model.recipe.pretext, HACM.Config):
        found = type(model.recipe.pretext).__qualname__.partition(".")[0]
        raise InputError(f"model {model.name!r}: expected a model pretrained by HA-CM, found one by {found}")
    pretext = model.pretext
    assert isinstance(pretext, HACM)
    return pretext


def masks(model: Model, dataset: Dataset, *, split: str | None = None, num_clips: int = 100, draws: int = 20) -> Masks:
    """Average scores and masks over clips.

    Args:
        model: A model pretrained with HA-CM.
        dataset: Dataset with the clips.
        split: Split whose test part is used; all clips by default.
        num_clips: Maximum number of clips.
        draws: Number of masks drawn per clip.

    Raises:
        InputError: If the model was not pretrained with HA-CM or the clips cannot be preprocessed.
    """
    check_range("num_clips", num_clips, 1, 1_000_000)
    check_range("draws", draws, 1, 10_000)
    task, clips = pretext_of(model), some_clips(dataset, split, num_clips)
    model.embedder(dataset)
    sums = _Sums.empty(task)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        for part in np.array_split(clips, -(-len(clips) // CLIPS_AT_ONCE)):
            sums.add(task, model.preprocessor.load(dataset, part, model.device), draws)
    score, visible = (values[..., 0] / values[..., 1] for values in (sums.score, sums.visible))  # NaN if empty
    over_time, by_body = score.numpy()
    points = sums.points[:, :-1] / sums.points[:, -1:].clamp(min=1)
    joints = (*task.encoder.joints, *_torso(task))
    return Masks(
        model.name,
        [task.encoder.spec.layout.names[k] for k in joints],
        joint_labels(task.encoder, joints),
        len(_torso(task)),
        len(clips),
        group_titles(task),
        over_time,
        by_body,
        visible.numpy(),
        (sums.highest[..., 0] / sums.highest[..., 1]).numpy(),
        points[:, :-1].numpy(),
        points[:, -1].numpy(),
    )


@dataclass(frozen=True)
class _Sums:
    """Sums and counts from which the averages are computed.

    Args:
        score: (2, T, J, 2) sum and count of scores.
        visible: (2, T, J, 2) sum and count of visible tokens.
        highest: (2, 2, 2) per group: visible tokens and all tokens; those with the highest scores and all.
        points: (J + torso, D + 2) sums of points and depths, and counts.
    """

    score: Tensor
    visible: Tensor
    highest: Tensor
    points: Tensor

    @classmethod
    def empty(cls, task: HACM) -> _Sums:
        own = task.encoder
        cells = (2, max(1, min(BINS, own.num_segments // task.config.groups)), len(own.joints), 2)
        points = (len(own.joints) + len(_torso(task)), own.config.embed_dim + 2)
        return cls(*(torch.zeros(size, dtype=torch.float64) for size in (cells, cells, (2, 2, 2), points)))

    def add(self, task: HACM, batch: Batch, draws: int) -> None:
        """Add the scores and masks of a batch."""
        groups = task.config.groups
        segments = task.encoder.segments(batch)
        tokens = task.encoder.tokenize(segments)
        scores = task.score(segments, tokens)
        relative, group = _over_mean(groups, segments, scores)
        upper = (ranked(segments, -scores, groups, "clip") < HIGHEST).cpu()
        visible = torch.stack([task.mask(segments, scores).is_visible.double() for _ in range(draws)]).mean(dim=0).cpu()
        bins = self.score.shape[1]
        lengths = segments.packing.of_clips(segments.packing.lengths)[segments.person]
        in_group = (lengths - group + groups - 1) // groups  # segments of the token's group
        cell = (group * bins + segments.segment // groups * bins // in_group) * len(segments.joints)
        one = segments.is_visible[segments.person].cpu().double()
        visible = visible * one
        for sums, values in ((self.score, relative.cpu() * one), (self.visible, visible)):
            sums.view(-1, 2).index_add_(0, (cell + segments.joint).cpu(), torch.stack([values, one], dim=1))
        for row, values in enumerate((visible, one)):
            self.highest[:, row].index_add_(0, group.cpu(), torch.stack([values * upper, values], dim=1))
        self.points.add_(_points(task, segments, tokens).cpu())


def joint_labels(encoder: SegmentTransformer, joints: Sequence[int]) -> list[str]:
    """Return the display names of nodes."""
    layout = encoder.spec.layout
    return ["translation" if k == layout.root else layout.names[k].replace("_", " ") for k in joints]


def group_titles(task: HACM) -> list[str]:
    """Return the name of each group's score."""
    config = task.config
    source = f", {config.attention_source}" if config.temporal == "attention" else ""
    return [f"{config.temporal}{source}", config.hierarchy][: config.groups]


def _torso(task: HACM) -> list[int]:
    """Return the joints of the torso that are not tokens."""
    return [joint for joint in task.encoder.torso if joint not in task.encoder.joints]


def _over_mean(num_groups: int, segments: Segments, score: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores relative to the mean over their person's group, and the group."""
    number = group_index(segments, num_groups)
    total, count = (
        score.new_zeros(num_groups * segments.num_persons).index_add(0, number, values)
        for values in (score, torch.ones_like(score))
    )
    return score / (total / count.clamp(min=1)).clamp(min=1e-12)[number], number % num_groups


def _points(task: HACM, segments: Segments, tokens: Tensor) -> Tensor:
    """Return (J + torso, D + 2) sums over visible persons of the joints' points in the ball and depths, and counts."""
    encoder, first, pruned = task.encoder, len(task.encoder.joints), _torso(task)
    number = torch.arange(len(pruned), device=tokens.device).repeat(segments.packing.num_frames) + first
    torso = encoder.embed_torso(segments)[:, [encoder.torso.index(k) for k in pruned]].flatten(0, 1)
    person = torch.cat([segments.person, segments.packing.clip.repeat_interleave(len(pruned))])
    mapped = encoder.ball.map(torch.cat([tokens, torso]).double())
    depth = encoder.ball.depth(mapped)
    values = torch.cat([mapped, depth[:, None], mapped.new_ones(len(mapped), 1)], dim=1)
    values = values * segments.is_visible[person][:, None]
    sums = mapped.new_zeros(first + len(pruned), values.shape[1])
    return sums.index_add(0, torch.cat([segments.joint, number]), values)
