"""HA-CM: spatial hierarchy and temporal attention guided cross masking."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from ulna.batch import Batch, Packing, Segments
from ulna.core import InputError, NonNegative, Positive, Share
from ulna.encoders import Encoder, SegmentTransformer
from ulna.encoders.base import Depth
from ulna.encoders.segment_transformer import TokenPosEmbed, init_vit
from ulna.nn.all_gather import all_rows
from ulna.nn.attention import FrameAttention
from ulna.nn.ema import update_teacher
from ulna.nn.hyperbolic import exp0
from ulna.nn.scatter import gather_rows
from ulna.nn.streams import motion
from ulna.nn.transformer_block import TransformerBlock
from ulna.pretext.base import Pretext

TORSO_WEIGHT = 0.01  # weight of the distance to the torso in the hierarchy score

RankAmong = Literal["clip", "segment", "joint"]


class HACM(Pretext):
    """Spatial hierarchy and temporal attention guided cross masking (arXiv 2409.17951, 2024).

    Segments alternate between two groups. Tokens of even segments are scored by the attention they receive, tokens of
    odd segments by their position in the hierarchy of the body. Most tokens are masked; the visible tokens are drawn
    with probabilities that depend on the scores. The encoder processes the visible tokens, and a decoder predicts the
    motion of the masked ones. A contrastive loss pulls together the mean features of a person's two groups.

    The methods follow the order of the paper's figure: tokenise, score, mask, encode, decode, reconstruct, contrast.
    With `groups` 1, `temporal` "motion", `visible` "low" and `contrast` 0, the task is MAMP (arXiv 2308.07092).

    Args:
        config: Options; the defaults are those of the paper.
        encoder: A segment transformer.
    """

    takes: ClassVar[type[Encoder]] = SegmentTransformer

    class Config(Pretext.Config):
        """Options of `HACM`."""

        hierarchy: Literal["hyperbolic", "graph", "random"] = "hyperbolic"
        """Score of tokens in odd segments: the summed distance to all joints of the segment in the Poincare ball
        ("hyperbolic", paper), the number of bones from the torso ("graph"), or none ("random")."""
        temporal: Literal["attention", "motion", "random"] = "attention"
        """Score of tokens in even segments: the attention they receive ("attention", paper), how much they move
        ("motion", MAMP), or none ("random")."""
        attention_source: Literal["ema", "encoder", "frozen"] = "ema"
        """Source of the attention scores: attention among all tokens of the group, in an EMA teacher ("ema") or in the
        encoder itself ("encoder"); or attention among the segments of each joint, with random projections that are
        never trained ("frozen", released)."""
        attention_block: Depth = 1
        """Block of the teacher or encoder whose attention is used, counted from 1."""
        ema: Share = 0.996
        """Momentum of the EMA teacher."""
        groups: Annotated[int, Field(ge=1, le=2)] = 2
        """Number of groups of segments; with 1, all segments use the temporal score."""
        visible: Literal["high", "low"] = "high"
        """Which tokens to draw with weights exp(score / (temperature * max score)): the visible tokens ("high",
        released) or the masked tokens ("low", MAMP), which is much more selective if few tokens are visible."""
        mask_ratio: Annotated[float, Field(ge=0.01, lt=1)] = 0.9
        """Share of the tokens of each group that is masked; at least one token stays visible."""
        temperature: Positive = 0.9
        """Temperature of the random draw of tokens."""
        ranks: Literal["none", "clip", "segment", "joint"] = "none"
        """Replace each score by its rank, the share of other tokens that score lower: within its group of the clip
        ("clip"), its segment ("segment") or its joint ("joint"). Hyperbolic scores are so similar that without ranks
        ("none", released) the choice of visible tokens is hardly different from random."""
        contrast: NonNegative = 1.0
        """Weight of the contrastive loss."""
        alpha: Annotated[float, Field(gt=0, le=0.999)] | None = None
        """Alternative to `contrast`, as in the paper's figure: weight alpha for the contrastive loss, which then only
        compares each group with the whole, and weight 1 - alpha for the reconstruction loss."""
        decoder_depth: Depth = 3
        """Number of decoder blocks."""

        @model_validator(mode="after")
        def _fits(self) -> HACM.Config:
            if self.alpha is not None and self.contrast != 1:
                raise ValueError(
                    f"alpha replaces contrast: expected one of them, found {self.alpha} and {self.contrast}"
                )
            if self.groups == 1 and (self.contrast or self.alpha):
                raise ValueError(
                    "the contrastive loss needs two groups: expected contrast 0 and no alpha with groups 1"
                )
            return self

    config: Config
    encoder: SegmentTransformer

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        spec = self.encoder.spec
        if config.attention_block > self.encoder.config.depth:
            depth = self.encoder.config.depth
            raise InputError(f"attention_block: expected at most {depth}, the depth, found {config.attention_block}")
        if config.groups == 2 and config.hierarchy == "graph" and not (spec.layout.skeleton and self.encoder.torso):
            raise InputError(
                "hierarchy 'graph' counts bones from the torso: expected a skeleton with named joints of the torso, "
                "found one without. Name them, or choose 'hyperbolic' or 'random'."
            )
        attends = config.temporal == "attention"
        is_ema, is_frozen = (attends and config.attention_source == source for source in ("ema", "frozen"))
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False) if is_ema else None
        dim = self.encoder.config.embed_dim
        self.frozen = FrameAttention(dim, 1).requires_grad_(False) if is_frozen else None
        self.decoder = SegmentDecoder(self.encoder, config.decoder_depth)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " r"]]:
        """Return the losses, one value per visible person."""
        segments = self.encoder.segments(batch)
        tokens = self.encoder.tokenize(segments)
        visible = self.mask(segments, self.score(segments, tokens))
        encoded = self.encoder.encode(gather_rows(tokens, visible.index), visible.packing)
        predicted = self.decoder(segments, encoded, visible)
        alpha, contrast = self.config.alpha, self.config.contrast
        rebuilt, contrast = (1.0, contrast) if alpha is None else (1 - alpha, alpha)
        losses = {"reconstruction": rebuilt * self.reconstruction_loss(segments, predicted, visible)}
        if contrast:
            losses["contrast"] = contrast * self.contrastive_loss(segments, encoded, visible)
        return losses

    def on_step_end(self) -> None:
        """Update the EMA teacher."""
        if self.teacher is None:
            return
        update_teacher(self.teacher, self.encoder, self.config.ema)

    # Score

    @torch.no_grad()
    def score(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Score the tokens of even segments by the temporal score and those of odd segments by hierarchy, in float64.

        Args:
            segments: Segments of the batch's persons.
            tokens: Their tokens.
        """
        over_time = self._temporal_scores(segments, tokens)
        if self.config.groups == 1:
            return over_time
        return torch.where(segments.segment % 2 == 0, over_time, self._hierarchy_scores(segments, tokens))

    def _temporal_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        zeros = tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.config.temporal == "random":
            return zeros
        if self.config.temporal == "motion":
            return motion_scores(segments)
        among = (segments.segment % self.config.groups == 0).nonzero()[:, 0]
        if len(among) == 0:  # nobody is visible in an even segment
            return zeros
        if self.frozen is not None:  # attention among each joint's segments, summed over queries
            among = among[segments.person_joint[among].argsort(stable=True)]
            packing = _packing_of(segments.person_joint[among])
            lengths = packing.of_clips(packing.lengths)[packing.clip]
            received = self.frozen.attention_received(tokens[among], packing) * lengths
        else:
            teacher = self.encoder if self.teacher is None else self.teacher
            packing = _packing_of(segments.person[among])
            received = teacher.attention_received(
                teacher.tokenize(segments)[among], packing, self.config.attention_block
            )
        return zeros.index_copy(0, among, received.double())

    def _hierarchy_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        if self.config.hierarchy == "hyperbolic":
            return hyperbolic_scores(self.encoder, segments, tokens)
        if self.config.hierarchy == "graph":
            return graph_scores(self.encoder, segments)
        return tokens.new_zeros(len(tokens), dtype=torch.float64)

    # Mask

    def mask(self, segments: Segments, scores: Float[Tensor, " N"]) -> VisibleTokens:
        """Draw the tokens that stay visible, by Gumbel top-k.

        Args:
            segments: Segments of the batch's persons.
            scores: Score of each token; the option `visible` determines how they are used.
        """
        config = self.config
        if config.ranks != "none":
            scores = ranked(segments, scores, config.groups, config.ranks)
        drawn = gumbel_scores(segments, scores, config.groups, config.temperature)
        return keep_highest(
            segments, drawn if config.visible == "high" else -drawn, config.groups, 1 - config.mask_ratio
        )

    # Reconstruct

    def reconstruction_loss(
        self, segments: Segments, predicted: Float[Tensor, "N X"], visible: VisibleTokens
    ) -> Float[Tensor, " r"]:
        """Return the mean squared error over each person's masked tokens; 0 for persons who are never visible.

        Args:
            segments: Segments of the batch's persons.
            predicted: Predicted motion of every token.
            visible: Visible tokens, which are excluded from the loss.
        """
        error = ((predicted - self.targets(segments)) ** 2).mean(dim=-1)
        masked = ~visible.is_visible & segments.is_visible[segments.person]
        total, number = (
            error.new_zeros(segments.num_persons).index_add(0, segments.person, values)
            for values in (error * masked, masked.to(error.dtype))
        )
        return total / number.clamp(min=1)

    @torch.no_grad()
    def targets(self, segments: Segments) -> Float[Tensor, "N X"]:
        """Return the motion to the next frame, mapped into the ball if there is one, normalised per token."""
        moved = motion(segments.persons.batch)[:, 0]
        if self.encoder.config.ball:
            moved = exp0(moved, self.encoder.config.curvature)
        flat = segments.patches(moved, segments.joints).flatten(0, 1)[segments.token_index]
        centred = flat - flat.mean(dim=-1, keepdim=True)
        return centred / (flat.var(dim=-1, keepdim=True) + 1e-6).sqrt()

    # Contrast

    def contrastive_loss(
        self, segments: Segments, encoded: Float[Tensor, "V D"], visible: VisibleTokens
    ) -> Float[Tensor, " r"]:
        """Return the cross-contrastive loss among the persons of all processes who have tokens in both groups.

        Args:
            segments: Segments of the batch's persons.
            encoded: Encoded visible tokens.
            visible: The visible tokens.
        """
        with torch.autocast(encoded.device.type, enabled=False):  # products of features are large
            encoded = encoded.float()
            (first, in_first), (second, in_second) = (
                _mean_per_person(encoded, visible, group, segments.num_persons) for group in (0, 1)
            )
            both = (in_first & in_second & segments.is_visible).nonzero()[:, 0]
            first, second, whole = (x[both] for x in (first, second, visible.packing.mean(encoded)))
            pairs = [(second, whole), (first, whole), (first, second)][: 3 if self.config.alpha is None else 2]
            total = torch.stack([contrastive_distance(x, y) for x, y in pairs]).sum(dim=0)
            return encoded.new_zeros(segments.num_persons).index_copy(0, both, total)


@dataclass(frozen=True)
class VisibleTokens:
    """The tokens that stay visible.

    Args:
        index: (V,) indices of visible tokens among all tokens, sorted.
        packing: Visible tokens of each person.
        group: (V,) group of each visible token.
        is_visible: (N,) True for visible tokens.
    """

    index: Int[Tensor, " V"]
    packing: Packing
    group: Int[Tensor, " V"]
    is_visible: Bool[Tensor, " N"]


class SegmentDecoder(nn.Module):
    """Predicts a 3D vector for every frame of every token from the visible tokens (MAE, MAMP, HA-CM).

    Masked tokens are replaced by a learned mask token; blocks of the encoder's width attend over all tokens.

    Args:
        encoder: Encoder of the visible tokens.
        depth: Number of blocks.
    """

    def __init__(self, encoder: SegmentTransformer, depth: int) -> None:
        super().__init__()
        config = encoder.config
        dim = config.embed_dim
        self.embed = nn.Linear(dim, dim)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02))
        self.pos_embed = TokenPosEmbed(len(encoder.joints), encoder.num_segments, dim, config.pos_embed_scale)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, config.num_heads, hidden_dim=4 * dim, norm="pre", gelu="none") for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.predict = nn.Linear(dim, 3 * config.segment)
        for module in (self.embed, self.blocks, self.predict):
            module.apply(init_vit)

    def forward(
        self, segments: Segments, encoded: Float[Tensor, "V D"], visible: VisibleTokens
    ) -> Float[Tensor, "N X"]:
        """Return three coordinates of each frame of every token."""
        embedded = self.embed(encoded)
        masked = self.mask_token.to(embedded.dtype).repeat(segments.tokens.num_frames, 1)
        x = masked.index_copy(0, visible.index, embedded)
        x = self.pos_embed(x, segments.joint, segments.segment)
        for block in self.blocks:
            x = block(x, segments.tokens)
        return self.predict(self.norm(x)).float()


@torch.no_grad()
def hyperbolic_scores(
    encoder: SegmentTransformer, segments: Segments, tokens: Float[Tensor, "N D"]
) -> Float[Tensor, " N"]:
    """Return the summed distance to all joints of the segment in the ball for tokens of odd segments, 0 for others.

    The distance to the torso is added with a small weight. If joints are missing, the sum is scaled up accordingly.
    """
    ball, num_joints = encoder.ball, len(segments.joints)
    odd = (segments.packing.time % 2 == 1).nonzero()[:, 0]
    grid = tokens.new_zeros(segments.num_joint_segments, tokens.shape[1], dtype=torch.float64)
    grid = grid.index_copy(0, segments.token_index, tokens.double())
    is_token = torch.zeros(segments.num_joint_segments, dtype=torch.bool, device=tokens.device)
    is_token = is_token.index_fill(0, segments.token_index, value=True)
    points, is_token = (values.unflatten(0, (-1, num_joints))[odd] for values in (grid, is_token))  # (O, J, ...)
    points = ball.map(points)
    share = num_joints / is_token.sum(dim=1, keepdim=True).clamp(min=1)
    score = (ball.pairwise_distance(points, points) * is_token[:, None]).sum(dim=-1) * share
    if encoder.torso:
        torso = ball.map(encoder.embed_torso(segments)[odd].double()).mean(dim=1, keepdim=True)
        score = score + TORSO_WEIGHT * ball.pairwise_distance(points, torso)[..., 0]
    whole = score.new_zeros(len(segments.packing.time), num_joints).index_copy(0, odd, score)
    return whole.flatten()[segments.token_index]


def graph_scores(encoder: SegmentTransformer, segments: Segments) -> Float[Tensor, " N"]:
    """Return the number of bones from each token's joint to the nearest joint of the torso; 0 if not connected."""
    layout = encoder.spec.layout
    skeleton = layout.skeleton
    assert skeleton is not None
    torso = [skeleton.index(joint) for joint in skeleton.torso]
    own = [skeleton.index(layout.names[k]) for k in segments.joints]
    found = skeleton.hops[own][:, torso]
    nearest = np.where(found < 0, skeleton.num_joints, found).min(axis=1)
    hops = torch.from_numpy(np.where(nearest < skeleton.num_joints, nearest, 0)).double()
    return hops.to(segments.joint.device)[segments.joint]


@torch.no_grad()
def motion_scores(segments: Segments) -> Float[Tensor, " N"]:
    """Return how much each token's joint moves from frame to frame, averaged over its segment."""
    moved = segments.patches(motion(segments.persons.batch)[:, 0], segments.joints)
    return moved.abs().mean(dim=-1).flatten()[segments.token_index].double()


def ranked(segments: Segments, scores: Float[Tensor, " N"], num_groups: int, among: RankAmong) -> Float[Tensor, " N"]:
    """Return the share of the other tokens of the same group, segment or joint with a lower score."""
    group = group_index(segments, num_groups)
    unit = {
        "clip": group,
        "segment": segments.segment_index,
        "joint": group * len(segments.joints) + segments.joint,
    }[among]
    order = scores.argsort()
    order = order[unit[order].argsort(stable=True)]
    unit, scores = unit[order], scores[order]
    number = torch.arange(len(order), device=order.device)
    is_first = unit.diff(prepend=unit[:1] - 1) != 0
    is_more = is_first | (scores.diff(prepend=scores[:1] - 1) != 0)
    first, less = (torch.where(begins, number, 0).cummax(dim=0).values for begins in (is_first, is_more))
    others = unit.bincount()[unit] - 1
    share = (less - first).double() / others.clamp(min=1)
    return torch.empty_like(share).index_copy(0, order, share)


def gumbel_scores(
    segments: Segments, scores: Float[Tensor, " N"], num_groups: int, temperature: float
) -> Float[Tensor, " N"]:
    """Return score / (temperature * maximum of the group) plus Gumbel noise; the top k are a weighted random draw."""
    group = group_index(segments, num_groups)
    largest = scores.new_zeros(segments.num_persons * num_groups).scatter_reduce(0, group, scores, "amax")
    noise = -torch.log(-torch.log(torch.rand_like(scores) + 1e-10) + 1e-10)
    return scores / (temperature * largest[group] + 1e-10) + noise


def keep_highest(segments: Segments, drawn: Float[Tensor, " N"], num_groups: int, share: float) -> VisibleTokens:
    """Keep the tokens with the highest values: a share of each group (rounded down), at least one per group."""
    number = group_index(segments, num_groups)
    sizes = number.bincount(minlength=segments.num_persons * num_groups).cpu().numpy()  # (persons * groups,)
    kept = np.where(sizes > 0, np.maximum(1, (sizes * share + 1e-9).astype(int)), 0)
    groups, taken = (Packing(counts[sizes > 0], drawn.device) for counts in (sizes, kept))
    order = torch.argsort(drawn, descending=True)
    order = order[torch.argsort(number[order], stable=True)]
    index = order[groups.first[taken.clip] + taken.time].sort().values
    is_visible = torch.zeros(len(drawn), dtype=torch.bool, device=drawn.device).index_fill(0, index, value=True)
    per_person = Packing(kept.reshape(-1, num_groups).sum(axis=1), drawn.device)
    return VisibleTokens(index, per_person, segments.segment[index] % num_groups, is_visible)


def group_index(segments: Segments, num_groups: int) -> Int[Tensor, " N"]:
    """Return the group of each token, counted over all persons."""
    return segments.person * num_groups + segments.segment % num_groups


def contrastive_distance(x: Float[Tensor, "b D"], y: Float[Tensor, "b D"]) -> Float[Tensor, " b"]:
    """Return the mean of each row of (softmax(x y^T) - identity)^2, with `y` gathered from all processes."""
    everybody, first = all_rows(y)
    same = torch.zeros(len(x), len(everybody), dtype=x.dtype, device=x.device)
    own = torch.arange(len(x), device=x.device)
    same[own, first + own] = 1
    return (((x @ everybody.T).softmax(dim=1) - same) ** 2).mean(dim=1)


def _packing_of(sequence: Int[Tensor, " N"]) -> Packing:
    """Return the packing of tokens that are sorted by the sequence they belong to."""
    counts = sequence.bincount().cpu().numpy()
    return Packing(counts[counts > 0], sequence.device)


def _mean_per_person(
    values: Float[Tensor, "V D"], visible: VisibleTokens, group: int, num_persons: int
) -> tuple[Float[Tensor, "r D"], Bool[Tensor, " r"]]:
    """Return the mean of each person's tokens in a group, and whether there are any."""
    own = (visible.group == group).to(values.dtype)
    person = visible.packing.clip
    total = values.new_zeros(num_persons, values.shape[1]).index_add(0, person, values * own[:, None])
    count = values.new_zeros(num_persons).index_add(0, person, own)
    return total / count.clamp(min=1)[:, None], count > 0
