"""What cross masking sees: scores by hierarchy and attention, what they show of a skeleton, joints in the ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.attention import some_clips
from ulna.core import within
from ulna.data import Batch, Dataset, load_batch
from ulna.batch.segments import Segments
from ulna.encoders import SegmentTransformer
from ulna.nn.hyperbolic import distance, exp0
from ulna.pretext import CrossMasking
from ulna.pretext.masks import group_of, ranked
from ulna.evaluation.features import widen
from ulna.models.model import Run

CLIPS_AT_ONCE = 16
BINS = 6  # of a clip's time
UPPER = 0.2  # of the others may score more


@dataclass(frozen=True)
class Masks:
    """Averages over clips and persons; J joints that are tokens, T parts of a clip (a group's segments, 6 at most).

    `attention` and `hierarchy` (T, J): score of a token in even and odd segments, over the mean of its group in its
    clip; `shown` (2, T, J): how often it was shown, even segments first. NaN where a part has no such segment.
    `highest` (2, 2): of what is shown in even and in odd segments the share that has one of its group's highest scores
    (less than a fifth score more), and the share that chance would show; where both are alike scores decide nothing.
    `points` (J + torso, D): the joints' mean tokens in the ball, those of the torso last; `depth` (J + torso,): how far
    their tokens lie from its middle, the mean of hyperbolic distances.
    """

    run: str
    names: list[str]
    labels: list[str]
    num_torso: int
    num_clips: int
    titles: list[str]
    keep_ratio: float
    attention: np.ndarray
    hierarchy: np.ndarray
    shown: np.ndarray
    highest: np.ndarray
    points: np.ndarray
    depth: np.ndarray


def task_of(run: Run) -> CrossMasking:
    """ValueError if a run was not pretrained by cross masking."""
    if not isinstance(run.pretext, CrossMasking):
        raise ValueError(f"{run.path}: expected a run of cross masking, got one of {run.recipe.pretext.component}")
    return run.pretext


def masks(run: Run, dataset: Dataset, *, split: str | None = None, num_clips: int = 100, draws: int = 20) -> Masks:
    """Average scores and draws over clips of a split's test part (of all clips without a split)."""
    within("num_clips", num_clips, 1)
    within("draws", draws, 1)
    task, clips = task_of(run), some_clips(dataset, split, num_clips)
    run.check(dataset)
    sums = _Sums.empty(task)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        for part in np.array_split(clips, -(-len(clips) // CLIPS_AT_ONCE)):
            sums.add(task, seen_by(run, dataset, part), draws)
    score, shown = (values[..., 0] / values[..., 1] for values in (sums.score, sums.shown))  # NaN where nothing is
    over_time, by_body = score.numpy()
    points = sums.points[:, :-1] / sums.points[:, -1:].clamp(min=1)
    return Masks(
        run.path.name,
        [task.encoder.layout.names[k] for k in (*task.encoder.joints, *_torso(task))],
        labels(task.encoder, (*task.encoder.joints, *_torso(task))),
        len(_torso(task)),
        len(clips),
        titles(task),
        task.keep_ratio,
        over_time,
        by_body,
        shown.numpy(),
        (sums.highest[..., 0] / sums.highest[..., 1]).numpy(),
        points[:, :-1].numpy(),
        points[:, -1].numpy(),
    )


@dataclass(frozen=True)
class _Sums:
    """What averages are made of; two groups, of `score` and `shown` the last axis is sum and count."""

    score: Tensor  # (2, bins, J, 2)
    shown: Tensor  # (2, bins, J, 2)
    highest: Tensor  # (2, 2, 2): what is shown, what is there; of the highest scores, of all
    points: Tensor  # (J + torso, D + 2): places in the ball, depths, counts

    @classmethod
    def empty(cls, task: CrossMasking) -> _Sums:
        own = task.encoder
        segments_of_group = own.num_segments // task.groups
        cells = (2, max(1, min(BINS, segments_of_group)), len(own.joints), 2)
        sizes = (cells, cells, (2, 2, 2), (len(own.joints) + len(_torso(task)), own.width + 2))
        return cls(*(torch.zeros(size, dtype=torch.float64) for size in sizes))

    def add(self, task: CrossMasking, batch: Batch, draws: int) -> None:
        segments = task.encoder.cut(batch)
        tokens = task.encoder.tokens(segments)
        scores = task.scores(segments, tokens)
        relative, group = _over_mean(task, segments, scores)
        upper = (ranked(segments, -scores, task.groups, "clip") < UPPER).cpu()
        shown = torch.stack([task.show(segments, scores).is_shown.double() for _ in range(draws)]).mean(dim=0).cpu()
        bins = self.score.shape[1]
        lengths = segments.packing.of_clips(segments.packing.lengths)[segments.row]
        in_group = (lengths - group + task.groups - 1) // task.groups  # segments of the token's group
        cell = (group * bins + segments.segment // task.groups * bins // in_group) * len(segments.joints)
        one = segments.shows_someone[segments.row].cpu().double()
        shown = shown * one
        for sums, values in ((self.score, relative.cpu() * one), (self.shown, shown)):
            sums.view(-1, 2).index_add_(0, (cell + segments.joint).cpu(), torch.stack([values, one], dim=1))
        for row, values in enumerate((shown, one)):
            self.highest[:, row].index_add_(0, group.cpu(), torch.stack([values * upper, values], dim=1))
        self.points.add_(_points(task, segments, tokens).cpu())


def labels(encoder: SegmentTransformer, places: Sequence[int]) -> list[str]:
    """Names of nodes for people."""
    own = encoder.layout
    return ["translation" if k == own.root else own.names[k].replace("_", " ") for k in places]


def titles(task: CrossMasking) -> list[str]:
    """What tokens of each group are scored by."""
    source = f", {task.attention_source}" if task.temporal == "attention" else ""
    return [f"{task.temporal}{source}", task.hierarchy][: task.groups]


def seen_by(run: Run, dataset: Dataset, clips: np.ndarray) -> Batch:
    """Clips as the encoder of a run takes them."""
    device = next(run.encoder.parameters()).device
    return run.form(widen(load_batch(dataset, clips, max_frames=run.form.crop).to(device), run.encoder.num_persons))


def _torso(task: CrossMasking) -> list[int]:
    """The torso's joints that are no tokens."""
    return [joint for joint in task.encoder.torso if joint not in task.encoder.joints]


def _over_mean(task: CrossMasking, segments: Segments, score: Tensor) -> tuple[Tensor, Tensor]:
    """Scores over the mean of their group in their row, and the group."""
    number = group_of(segments, task.groups)
    total, count = (
        score.new_zeros(task.groups * segments.num_rows).index_add(0, number, values)
        for values in (score, torch.ones_like(score))
    )
    return score / (total / count.clamp(min=1)).clamp(min=1e-12)[number], number % task.groups


def _points(task: CrossMasking, segments: Segments, tokens: Tensor) -> Tensor:
    """(J + torso, D + 2): sums over segments that show somebody of the joints' places in the ball and of their depths,
    and how many these are."""
    encoder, first, pruned = task.encoder, len(task.encoder.joints), _torso(task)
    number = torch.arange(len(pruned), device=tokens.device).repeat(segments.packing.num_frames) + first
    torso = encoder.patches(segments, pruned).flatten(0, 1)
    there = segments.shows_someone[torch.cat([segments.row, segments.packing.clip.repeat_interleave(len(pruned))])]
    mapped = exp0(encoder.ball_scale * torch.cat([tokens, torso]).double(), encoder.curvature)
    depth = distance(mapped, torch.zeros_like(mapped), encoder.curvature)
    counted = torch.cat([mapped, depth[:, None], mapped.new_ones(len(mapped), 1)], dim=1) * there[:, None]
    sums = mapped.new_zeros(first + len(pruned), counted.shape[1])
    return sums.index_add(0, torch.cat([segments.joint, number]), counted)
