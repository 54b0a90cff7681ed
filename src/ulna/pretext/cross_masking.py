"""Cross masking: most of a skeleton is hidden, by body hierarchy in half of the time and by attention in the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ulna.core import one_of, within
from ulna.data import Batch, Packing
from ulna.data.segments import Segments, group_sizes
from ulna.encoders import Encoder
from ulna.encoders.segment_transformer import SegmentTransformer, TokenPlaces, start_as_vit
from ulna.nn.attention import FrameAttention
from ulna.nn.hyperbolic import exp0, pairwise_distance
from ulna.nn.time_block import TimeBlock
from ulna.pretext.base import Pretext

Hierarchy = Literal["hyperbolic", "graph", "random"]
Temporal = Literal["attention", "motion", "random"]
AttentionSource = Literal["ema", "encoder", "frozen"]
Keep = Literal["high", "low"]
ROOT_SHARE = 0.01  # of the distance to the torso in the hierarchy score


class CrossMasking(Pretext):
    """HA-CM: spatial hierarchy and temporal attention guided cross masking (arXiv 2409.17951, 2024).

    A person's segments fall into two groups by turns. In the even group a token's score is the attention that it
    receives (`temporal` "attention"; "motion": how much it moves), in the odd group its place in the hierarchy of the
    body (`hierarchy` "hyperbolic": its distance to all joints of its segment in the Poincare ball; "graph": bones from
    the torso); "random" scores nothing. Of each group `keep_ratio` of the tokens are shown, drawn by Gumbel-top-k with
    weights exp(score / (`temperature` max score)), high scores more often (`keep` "high", released) or less ("low").
    The encoder sees the shown tokens of both groups; a decoder predicts how the others move (mean squared error of the
    movement to the next frame, each token's normalised).

    `contrast` weighs the loss that holds the groups' mean features together and those of different persons apart;
    `alpha` in (0, 1) instead weighs it against the reconstruction with 1 - alpha (the paper's figure).
    `attention_source`: of the `attention_block`-th block of a slow copy of the encoder ("ema", of which a share `ema`
    stays in a step), of the encoder itself, or random projections that never learn ("frozen", released). `groups` 1
    with `temporal` "motion", `keep` "low" and `contrast` 0 is MAMP (arXiv 2308.07092).
    """

    takes = SegmentTransformer
    encoder: SegmentTransformer

    def __init__(
        self,
        encoder: Encoder,
        *,
        hierarchy: Hierarchy = "hyperbolic",
        temporal: Temporal = "attention",
        attention_source: AttentionSource = "ema",
        attention_block: int = 1,
        ema: float = 0.996,
        groups: int = 2,
        keep: Keep = "high",
        keep_ratio: float = 0.1,
        temperature: float = 0.9,
        contrast: float = 1.0,
        alpha: float | None = None,
        decoder_blocks: int = 3,
    ) -> None:
        super().__init__(encoder)
        one_of("hierarchy", hierarchy, Hierarchy)
        one_of("temporal", temporal, Temporal)
        one_of("attention_source", attention_source, AttentionSource)
        one_of("keep", keep, Keep)
        within("attention_block", attention_block, 1, len(self.encoder.blocks))
        within("ema", ema, 0, 1)
        within("groups", groups, 1, 2)
        within("keep_ratio", keep_ratio, 0, 0.99, open_low=True)
        within("temperature", temperature, 0, open_low=True)
        within("contrast", contrast, 0)
        within("decoder_blocks", decoder_blocks, 1)
        if alpha is not None:
            within("alpha", alpha, 0, 1)
        if groups == 1 and (contrast or alpha):
            raise ValueError("contrast ties two groups together, expected contrast 0 and no alpha with groups 1")
        self.hierarchy, self.temporal, self.attention_source = hierarchy, temporal, attention_source
        self.attention_block, self.ema, self.groups = attention_block, ema, groups
        self.keep, self.keep_ratio, self.temperature = keep, keep_ratio, temperature
        self.weights = (1.0, contrast) if alpha is None else (1 - alpha, alpha)

        width = self.encoder.width
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False) if self._needs("ema") else None
        self.frozen = FrameAttention(width, 1).requires_grad_(False) if self._needs("frozen") else None
        self.to_decoder = nn.Linear(width, width)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.place = TokenPlaces(len(self.encoder.joints), -(-encoder.max_frames // self.encoder.segment), width)
        self.decoder = nn.ModuleList(
            TimeBlock(width, self.encoder.num_heads, hidden=4 * width, norm="pre", gelu="none")
            for _ in range(decoder_blocks)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, 3 * self.encoder.segment)
        for module in (self.to_decoder, self.decoder, self.predict):
            module.apply(start_as_vit)

    def _needs(self, source: AttentionSource) -> bool:
        return self.temporal == "attention" and self.attention_source == source

    def after_step(self) -> None:
        """Move the slow copy a little towards the encoder."""
        if self.teacher is None:
            return
        with torch.no_grad():
            for slow, now in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
                slow.lerp_(now.detach(), 1 - self.ema)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " r"]]:
        """One value a person who is seen."""
        segments = self.encoder.cut(batch)
        tokens = self.encoder.tokens(segments)
        shown = self.choose(segments, tokens)
        encoded = self.encoder.encode(self.encoder.mapped(tokens)[shown.places], shown.packing)
        rebuilt, contrast = self.weights
        losses = {"reconstruction": rebuilt * self.missed(segments, self.filled(segments, encoded, shown), shown)}
        if contrast:
            losses["contrast"] = contrast * self._contrast(segments, encoded, shown)
        return losses

    def choose(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Shown:
        """The tokens that the encoder is shown, drawn by their scores."""
        with torch.no_grad():
            drawn = self._drawn(segments, self.scores(segments, tokens))
        return _keep(segments, drawn, self.groups, self.keep_ratio)

    @torch.no_grad()
    def scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Of even segments by time, of odd ones by hierarchy; float64, without gradient."""
        over_time = self._temporal_scores(segments, tokens)
        if self.groups == 1:
            return over_time
        return torch.where(segments.segment % 2 == 0, over_time, self._hierarchy_scores(segments, tokens))

    def _drawn(self, segments: Segments, scores: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Score over the largest of its group, plus Gumbel noise: the first k of these are a weighted draw."""
        group = segments.row * self.groups + segments.segment % self.groups
        largest = scores.new_zeros(segments.num_rows * self.groups).scatter_reduce(0, group, scores, "amax")
        weight = scores / (self.temperature * largest[group] + 1e-10)
        noise = -torch.log(-torch.log(torch.rand_like(scores) + 1e-10) + 1e-10)
        drawn = weight + noise
        return drawn if self.keep == "high" else -drawn

    def _temporal_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        if self.temporal == "random":
            return tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.temporal == "motion":
            moved = segments.patches(_movement(segments), self.encoder.joints)
            return moved.abs().mean(dim=-1).flatten().double()
        among = (segments.segment % self.groups == 0).nonzero()[:, 0]
        packing = Packing(group_sizes(segments, self.groups)[:, 0], tokens.device)
        score = tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.frozen is not None:
            return score.index_copy(0, among, self.frozen.received(tokens[among], packing).double())
        looked_by = self.encoder if self.teacher is None else self.teacher
        own = looked_by.mapped(looked_by.tokens(segments))[among]
        received = looked_by.received(own, packing, self.attention_block)
        return score.index_copy(0, among, received.double())

    def _hierarchy_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        encoder = self.encoder
        if self.hierarchy == "random":
            return tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.hierarchy == "graph":
            return _hops(encoder, tokens.device)[segments.joint]
        c, scale = encoder.curvature, encoder.ball_scale
        points = exp0(scale * tokens.double(), c).unflatten(0, (-1, len(encoder.joints)))  # (G, J, D)
        score = pairwise_distance(points, points, c).sum(dim=-1)
        if encoder.torso:
            torso = exp0(scale * encoder.patches(segments, encoder.torso).double(), c).mean(dim=1, keepdim=True)
            score = score + ROOT_SHARE * pairwise_distance(points, torso, c)[..., 0]
        return score.flatten()

    def filled(self, segments: Segments, encoded: Float[Tensor, "V D"], shown: Shown) -> Float[Tensor, "N D"]:
        """What the decoder is given: shown tokens at their places, one learnt token everywhere else."""
        visible = self.to_decoder(encoded)
        hidden = self.mask_token.to(visible.dtype).repeat(segments.tokens.num_frames, 1)
        return hidden.index_copy(0, shown.places, visible)

    def missed(self, segments: Segments, filled: Float[Tensor, "N D"], shown: Shown) -> Float[Tensor, " r"]:
        """The mean over each row's hidden tokens that were seen of their squared errors."""
        x = self.place(filled, segments.joint, segments.segment)
        for block in self.decoder:
            x = block(x, segments.tokens)
        predicted = self.predict(self.decoder_norm(x)).float()
        error = ((predicted - self.targets(segments)) ** 2).mean(dim=-1)
        counts = segments.seen(self.encoder.joints).flatten() & ~shown.is_shown
        total, number = (
            error.new_zeros(segments.num_rows).index_add(0, segments.row, values)
            for values in (error * counts, counts.to(error.dtype))
        )
        return total / number.clamp(min=1)

    @torch.no_grad()
    def targets(self, segments: Segments) -> Float[Tensor, "N X"]:
        """Movement to the next frame, in the ball, each token's numbers with mean 0 and spread 1; of stillness 0."""
        moved = exp0(_movement(segments), self.encoder.curvature)
        flat = segments.patches(moved, self.encoder.joints).flatten(0, 1)
        centred = flat - flat.mean(dim=-1, keepdim=True)
        return centred / (flat.var(dim=-1, keepdim=True) + 1e-6).sqrt()

    def _contrast(self, segments: Segments, encoded: Float[Tensor, "V D"], shown: Shown) -> Float[Tensor, " r"]:
        """Cross contrast among persons who are seen and have tokens in both groups."""
        encoded = encoded.float()
        first, second = (_mean_by_row(encoded, shown, group, segments.num_rows) for group in (0, 1))
        is_seen = segments.packing.mean(segments.seen(self.encoder.joints).any(dim=1).float()) > 0
        whole = segments.packing.of_clips(segments.packing.lengths > 1) & is_seen
        everything = shown.packing.mean(encoded)
        pairs = ((second, everything), (first, everything), (first, second))
        found = torch.stack([_apart(x[whole], y[whole]) for x, y in pairs]).sum(dim=0)
        return encoded.new_zeros(segments.num_rows).masked_scatter(whole, found)


@dataclass(frozen=True)
class Shown:
    """The tokens that are shown: their `places` among all, in order, the `group` of each, and those of each row."""

    places: Int[Tensor, " V"]
    packing: Packing
    group: Int[Tensor, " V"]
    is_shown: Bool[Tensor, " N"]


def _keep(segments: Segments, drawn: Float[Tensor, " N"], num_groups: int, share: float) -> Shown:
    """The first `share` (rounded down, at least one) of each group of each row by what was drawn."""
    sizes = group_sizes(segments, num_groups)  # (rows, groups)
    kept = np.where(sizes > 0, np.maximum(1, (sizes * share + 1e-9).astype(int)), 0)
    filled = sizes.flatten() > 0
    groups, taken = (Packing(counts.flatten()[filled], drawn.device) for counts in (sizes, kept))
    number = segments.row * num_groups + segments.segment % num_groups
    order = torch.argsort(drawn, descending=True)
    order = order[torch.argsort(number[order], stable=True)]
    places = order[groups.first[taken.clip] + taken.time].sort().values
    is_shown = torch.zeros(len(drawn), dtype=torch.bool, device=drawn.device).index_fill(0, places, value=True)
    return Shown(places, Packing(kept.sum(axis=1), drawn.device), segments.segment[places] % num_groups, is_shown)


def _movement(segments: Segments) -> Float[Tensor, "R K 3"]:
    """From each frame of the rows to the next; 0 in a row's last frame and where a joint is not seen in both."""
    batch = segments.rows.batch
    packing = batch.packing
    last = packing.start + packing.of_clips(packing.lengths)[packing.clip] - 1
    following = torch.minimum(torch.arange(batch.num_frames, device=packing.device) + 1, last)
    both = (batch.present[following] & batch.present)[:, 0, :, None]
    return torch.where(both, (batch.position[following] - batch.position)[:, 0], 0)


def _hops(encoder: SegmentTransformer, device: torch.device) -> Float[Tensor, " J"]:
    """Bones from each token's joint to the nearest joint of the torso; 0 where none leads there."""
    skeleton = encoder.slots.skeleton
    assert skeleton is not None
    torso = [skeleton.index(encoder.slots.names[k]) for k in encoder.torso]
    own = [skeleton.index(encoder.slots.names[k]) for k in encoder.joints]
    hops = skeleton.hops[own][:, torso]
    nearest = np.where(hops < 0, skeleton.num_joints, hops).min(axis=1)
    return torch.from_numpy(np.where(nearest < skeleton.num_joints, nearest, 0)).double().to(device)


def _mean_by_row(values: Float[Tensor, "V D"], shown: Shown, group: int, num_rows: int) -> Float[Tensor, "r D"]:
    own = (shown.group == group).to(values.dtype)
    row = shown.packing.clip
    total = values.new_zeros(num_rows, values.shape[1]).index_add(0, row, values * own[:, None])
    return total / values.new_zeros(num_rows).index_add(0, row, own).clamp(min=1)[:, None]


def _apart(x: Float[Tensor, "b D"], y: Float[Tensor, "b D"]) -> Float[Tensor, " b"]:
    """(softmax of x y^T over each row - 1 on the diagonal)^2, the mean over each row."""
    same = torch.eye(len(x), dtype=x.dtype, device=x.device)
    return (((x @ y.T).softmax(dim=1) - same) ** 2).mean(dim=1)
