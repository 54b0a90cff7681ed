"""What cross masking sees: scores by hierarchy and attention, what they show of a skeleton, joints in the ball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.attention import some_clips
from ulna.core import within
from ulna.data import Batch, Store, load_batch
from ulna.data.segments import Segments
from ulna.nn.hyperbolic import exp0
from ulna.pretext import CrossMasking
from ulna.pretext.masks import ranked
from ulna.protocols.features import widen
from ulna.train.run import Run

CLIPS_AT_ONCE = 16
BINS = 6  # of a clip's time
UPPER = 0.2  # of the others may score more


@dataclass(frozen=True)
class Masks:
    """Averages over clips and persons; J joints that are tokens, BINS parts of a clip.

    `hierarchy` and `attention` (BINS, J): score of a token in odd and even segments, over the mean of its group in its
    clip; `shown` (2, BINS, J): how often it was shown, even segments first. NaN where a part has no such segment.
    `highest` (2, 2): of what is shown in even and in odd segments the share that has one of its group's highest scores
    (less than a fifth score more), and the share that chance would show; where both are alike scores decide nothing.
    `points` (J + torso, D): the joints' mean tokens in the ball, those of the torso last; `radius` is the ball's.
    """

    run: str
    names: list[str]
    num_torso: int
    num_clips: int
    titles: tuple[str, str]
    keep_ratio: float
    attention: np.ndarray
    hierarchy: np.ndarray
    shown: np.ndarray
    highest: np.ndarray
    points: np.ndarray
    radius: float


def task_of(run: Run) -> CrossMasking:
    """ValueError if a run was not pretrained by cross masking."""
    if not isinstance(run.pretext, CrossMasking):
        raise ValueError(f"{run.path}: expected a run of cross masking, got one of {run.recipe.pretext.component}")
    return run.pretext


def masks(run: Run, store: Store, *, split: str | None = None, num_clips: int = 100, draws: int = 20) -> Masks:
    """Average scores and draws over clips of a split's test part (of all clips without a split)."""
    within("num_clips", num_clips, 1)
    within("draws", draws, 1)
    task, clips = task_of(run), some_clips(store, split, num_clips)
    run.check(store)
    num_joints = len(task.encoder.joints)
    table = torch.zeros(4, 2, BINS * num_joints, dtype=torch.float64)  # score and shown, their counts; two groups
    highest = torch.zeros(2, 2, 2, dtype=torch.float64)  # group; shown, there; highest fifth, all
    points = torch.zeros(num_joints + len(task.encoder.torso), task.encoder.width + 1, dtype=torch.float64)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        for part in np.array_split(clips, -(-len(clips) // CLIPS_AT_ONCE)):
            batch = seen_by(run, store, part)
            segments = task.encoder.cut(batch)
            tokens = task.encoder.tokens(segments)
            scores = task.scores(segments, tokens)
            score, group = _over_mean(task, segments, scores)
            upper = ranked(segments, -scores, task.groups, "clip") < UPPER
            shown = sum(task.choose(segments, tokens).is_shown.double() for _ in range(draws))
            time = segments.segment * BINS // segments.packing.of_clips(segments.packing.lengths)[segments.row]
            cell = (time * num_joints + segments.joint).cpu()
            for half in range(2):
                own = (group == half).cpu()
                counts = torch.ones(int(own.sum()), dtype=torch.float64)
                for row, values in enumerate(
                    (score.cpu()[own], counts, torch.as_tensor(shown).cpu()[own], draws * counts)
                ):
                    table[row, half].index_add_(0, cell[own], values)
                for row, values in enumerate((torch.as_tensor(shown), torch.ones_like(score))):
                    of_half = values * (group == half)
                    highest[half, row] += torch.stack([of_half[upper].sum(), of_half.sum()]).cpu()
            points += _points(task, segments, tokens).cpu()
    score, shown_share = (table[row] / table[row + 1] for row in (0, 2))  # NaN where there is nothing
    over_time, by_body = score.unflatten(1, (BINS, num_joints)).numpy()
    return Masks(
        run.path.name,
        [task.encoder.slots.names[k].replace("_", " ") for k in (*task.encoder.joints, *task.encoder.torso)],
        len(task.encoder.torso),
        len(clips),
        titles(task),
        task.keep_ratio,
        over_time,
        by_body,
        shown_share.unflatten(1, (BINS, num_joints)).numpy(),
        (highest[..., 0] / highest[..., 1]).numpy(),
        (points[:, :-1] / points[:, -1:].clamp(min=1)).numpy(),
        task.encoder.curvature**-0.5,
    )


def titles(task: CrossMasking) -> tuple[str, str]:
    """What tokens of the first and of the second group are scored by."""
    source = f", {task.attention_source}" if task.temporal == "attention" else ""
    return f"{task.temporal}{source}", task.hierarchy if task.groups == 2 else "no second group"


def seen_by(run: Run, store: Store, clips: np.ndarray) -> Batch:
    """Clips as the encoder of a run takes them."""
    device = next(run.encoder.parameters()).device
    return run.form(widen(load_batch(store, clips, max_frames=run.form.crop).to(device), run.encoder.num_persons))


def _over_mean(task: CrossMasking, segments: Segments, score: Tensor) -> tuple[Tensor, Tensor]:
    """Scores over the mean of their group in their row, and the group."""
    group = segments.segment % task.groups
    number = segments.row * 2 + group
    total, count = (
        score.new_zeros(2 * segments.num_rows).index_add(0, number, values)
        for values in (score, torch.ones_like(score))
    )
    return score / (total / count.clamp(min=1)).clamp(min=1e-12)[number], group


def _points(task: CrossMasking, segments: Segments, tokens: Tensor) -> Tensor:
    """(J + torso, D + 1): sums over segments of the joints' places in the ball, and how many these are."""
    encoder = task.encoder
    torso = encoder.patches(segments, encoder.torso).flatten(0, 1)
    places = torch.arange(len(torso), device=torso.device) % max(1, len(encoder.torso)) + len(encoder.joints)
    mapped = exp0(encoder.ball_scale * torch.cat([tokens, torso]).double(), encoder.curvature)
    counted = torch.cat([mapped, mapped.new_ones(len(mapped), 1)], dim=1)
    sums = mapped.new_zeros(len(encoder.joints) + len(encoder.torso), counted.shape[1])
    return sums.index_add(0, torch.cat([segments.joint, places]), counted)
