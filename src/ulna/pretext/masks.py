"""Masks of joint segments: which tokens score how much, and which of them are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulna.data import Packing
from ulna.data.segments import Segments
from ulna.encoders.segment_transformer import SegmentTransformer
from ulna.nn.hyperbolic import exp0, pairwise_distance

Among = Literal["clip", "segment", "joint"]
ROOT_SHARE = 0.01  # of the distance to the torso in the hierarchy score


@torch.no_grad()
def hyperbolic_scores(
    encoder: SegmentTransformer, segments: Segments, tokens: Float[Tensor, "N D"]
) -> Float[Tensor, " N"]:
    """Of tokens in odd segments: the distance to all joints of the segment in the ball; 0 in even ones.

    A little of the distance to the torso comes on top. Where joints are missing the others count for them.
    """
    c, scale = encoder.curvature, encoder.ball_scale
    num_joints = len(segments.joints)
    odd = (segments.packing.time % 2 == 1).nonzero()[:, 0]
    grid = tokens.new_zeros(segments.num_places, tokens.shape[1], dtype=torch.float64)
    grid = grid.index_copy(0, segments.kept, tokens.double())
    there = segments.kept.new_zeros(segments.num_places, dtype=torch.bool).index_fill(0, segments.kept, value=True)
    points, there = (values.unflatten(0, (-1, num_joints))[odd] for values in (grid, there))  # (O, J, D), (O, J)
    points = exp0(scale * points, c)
    share = num_joints / there.sum(dim=1, keepdim=True).clamp(min=1)
    score = (pairwise_distance(points, points, c) * there[:, None]).sum(dim=-1) * share
    if encoder.torso:
        torso = exp0(scale * encoder.patches(segments, encoder.torso)[odd].double(), c).mean(dim=1, keepdim=True)
        score = score + ROOT_SHARE * pairwise_distance(points, torso, c)[..., 0]
    whole = score.new_zeros(len(segments.packing.time), num_joints).index_copy(0, odd, score)
    return whole.flatten()[segments.kept]


def graph_scores(encoder: SegmentTransformer, segments: Segments) -> Float[Tensor, " N"]:
    """Bones from each token's joint to the nearest joint of the torso; 0 where none leads there."""
    skeleton = encoder.slots.skeleton
    assert skeleton is not None
    torso = [skeleton.index(joint) for joint in skeleton.torso]
    own = [skeleton.index(encoder.slots.names[k]) for k in encoder.joints]
    found = skeleton.hops[own][:, torso]
    nearest = np.where(found < 0, skeleton.num_joints, found).min(axis=1)
    hops = torch.from_numpy(np.where(nearest < skeleton.num_joints, nearest, 0)).double()
    return hops.to(segments.joint.device)[segments.joint]


@torch.no_grad()
def motion_scores(encoder: SegmentTransformer, segments: Segments) -> Float[Tensor, " N"]:
    """How much each token's joint moves from frame to frame, the mean over its segment."""
    moved = segments.patches(movement(segments), encoder.joints)
    return moved.abs().mean(dim=-1).flatten()[segments.kept].double()


def ranked(segments: Segments, scores: Float[Tensor, " N"], num_groups: int, among: Among) -> Float[Tensor, " N"]:
    """The share that scores less, of the other tokens of its group of the row ("clip"), of its segment or its joint."""
    unit = {
        "clip": group_of(segments, num_groups),
        "segment": segments.number,
        "joint": group_of(segments, num_groups) * len(segments.joints) + segments.joint,
    }[among]
    order = scores.argsort()
    order = order[unit[order].argsort(stable=True)]
    unit, scores = unit[order], scores[order]
    place = torch.arange(len(order), device=order.device)
    is_first = unit.diff(prepend=unit[:1] - 1) != 0
    is_more = is_first | (scores.diff(prepend=scores[:1] - 1) != 0)
    first, less = (torch.where(begins, place, 0).cummax(dim=0).values for begins in (is_first, is_more))
    others = unit.bincount()[unit] - 1
    share = (less - first).double() / others.clamp(min=1)
    return torch.empty_like(share).index_copy(0, order, share)


def draw(segments: Segments, scores: Float[Tensor, " N"], num_groups: int, temperature: float) -> Float[Tensor, " N"]:
    """Score over the largest of its group, plus Gumbel noise: the first k of these are a weighted draw."""
    group = group_of(segments, num_groups)
    largest = scores.new_zeros(segments.num_rows * num_groups).scatter_reduce(0, group, scores, "amax")
    noise = -torch.log(-torch.log(torch.rand_like(scores) + 1e-10) + 1e-10)
    return scores / (temperature * largest[group] + 1e-10) + noise


@dataclass(frozen=True)
class Shown:
    """The tokens that are shown: their `places` among all, in order, the `group` of each, and those of each row."""

    places: Int[Tensor, " V"]
    packing: Packing
    group: Int[Tensor, " V"]
    is_shown: Bool[Tensor, " N"]


def keep_first(segments: Segments, drawn: Float[Tensor, " N"], num_groups: int, share: float) -> Shown:
    """The first `share` (rounded down, at least one) of each group of each row by what was drawn."""
    number = group_of(segments, num_groups)
    sizes = number.bincount(minlength=segments.num_rows * num_groups).cpu().numpy()  # (rows * groups,)
    kept = np.where(sizes > 0, np.maximum(1, (sizes * share + 1e-9).astype(int)), 0)
    groups, taken = (Packing(counts[sizes > 0], drawn.device) for counts in (sizes, kept))
    order = torch.argsort(drawn, descending=True)
    order = order[torch.argsort(number[order], stable=True)]
    places = order[groups.first[taken.clip] + taken.time].sort().values
    is_shown = torch.zeros(len(drawn), dtype=torch.bool, device=drawn.device).index_fill(0, places, value=True)
    of_rows = Packing(kept.reshape(-1, num_groups).sum(axis=1), drawn.device)
    return Shown(places, of_rows, segments.segment[places] % num_groups, is_shown)


def group_of(segments: Segments, num_groups: int) -> Int[Tensor, " N"]:
    """The group of each token, counted over all rows."""
    return segments.row * num_groups + segments.segment % num_groups


def packed(sequence: Int[Tensor, " N"]) -> Packing:
    """Of tokens sorted by the sequence that they belong to."""
    counts = sequence.bincount().cpu().numpy()
    return Packing(counts[counts > 0], sequence.device)


def movement(segments: Segments) -> Float[Tensor, "R K 3"]:
    """From each frame of the rows to the next; 0 in a row's last frame and where a joint is not seen in both."""
    batch = segments.rows.batch
    following = batch.packing.following
    both = (batch.present[following] & batch.present)[:, 0, :, None]
    return torch.where(both, (batch.position[following] - batch.position)[:, 0], 0)
