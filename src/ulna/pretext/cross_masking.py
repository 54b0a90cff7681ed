"""Cross masking: most of a skeleton is hidden, by body hierarchy in half of the time and by attention in the other."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulna.core import one_of, within
from ulna.data import Batch
from ulna.data.segments import Segments
from ulna.encoders import Encoder
from ulna.encoders.segment_transformer import SegmentTransformer
from ulna.nn.attention import FrameAttention
from ulna.nn.gather import all_rows
from ulna.nn.hyperbolic import exp0
from ulna.pretext.base import Pretext
from ulna.pretext.masks import (
    Shown,
    draw,
    graph_scores,
    hyperbolic_scores,
    keep_first,
    motion_scores,
    movement,
    packed,
    ranked,
)
from ulna.pretext.segment_decoder import SegmentDecoder

Hierarchy = Literal["hyperbolic", "graph", "random"]
Temporal = Literal["attention", "motion", "random"]
AttentionSource = Literal["ema", "encoder", "frozen"]
Keep = Literal["high", "low"]
Ranks = Literal["none", "clip", "segment", "joint"]


class CrossMasking(Pretext):
    """HA-CM: spatial hierarchy and temporal attention guided cross masking (arXiv 2409.17951, 2024).

    A person's segments fall into two groups by turns. In the even group a token's score is the attention that it
    receives (`temporal` "attention"; "motion": how much it moves), in the odd group its place in the hierarchy of the
    body (`hierarchy` "hyperbolic": its distance to all joints of its segment in the Poincare ball; "graph": bones from
    the torso); "random" scores nothing. Of each group `keep_ratio` of the tokens are shown, drawn by Gumbel-top-k with
    weights exp(score / (`temperature` max score)) (`keep` "high", released); with "low" the hidden ones are drawn so
    (MAMP), which is much sharper where little is shown. The encoder sees the shown tokens of both groups; a decoder
    predicts how the others move (mean squared error of the movement to the next frame, each token's normalised).

    Ours: `ranks` puts in place of a score how many of the other tokens score less, of its group ("clip"), its segment
    ("segment": joints are compared, not moments) or its joint ("joint": moments, not joints). As released ("none")
    scores that lie close together, and hyperbolic ones do, show hardly other tokens than chance does.

    `contrast` weighs the loss that holds the groups' mean features together and those of different persons apart;
    `alpha` in (0, 1) takes its place: the paper's figure, which weighs it against the reconstruction with 1 - alpha and
    compares each group with the whole alone. `attention_source`: that of the `attention_block`-th block of a slow copy
    of the encoder ("ema", of which a share `ema` stays in a step) or of the encoder itself, among all tokens of the
    group; or that of random projections which never learn, among the segments of each joint ("frozen", released).
    `groups` 1 with `temporal` "motion", `keep` "low" and `contrast` 0 is MAMP (arXiv 2308.07092).
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
        ranks: Ranks = "none",
        contrast: float = 1.0,
        alpha: float | None = None,
        decoder_blocks: int = 3,
    ) -> None:
        super().__init__(encoder)
        one_of("hierarchy", hierarchy, Hierarchy)
        one_of("temporal", temporal, Temporal)
        one_of("attention_source", attention_source, AttentionSource)
        one_of("keep", keep, Keep)
        one_of("ranks", ranks, Ranks)
        within("attention_block", attention_block, 1, len(self.encoder.blocks))
        within("ema", ema, 0, 1)
        within("groups", groups, 1, 2)
        within("keep_ratio", keep_ratio, 0, 0.99, open_low=True)
        within("temperature", temperature, 0, open_low=True)
        within("contrast", contrast, 0)
        within("decoder_blocks", decoder_blocks, 1)
        if alpha is not None:
            within("alpha", alpha, 0, 0.999, open_low=True)
            if contrast != 1:
                raise ValueError(f"alpha takes the place of contrast, expected one of them, got {alpha} and {contrast}")
        if groups == 1 and (contrast or alpha):
            raise ValueError("contrast ties two groups together, expected contrast 0 and no alpha with groups 1")
        self.hierarchy, self.temporal, self.attention_source = hierarchy, temporal, attention_source
        self.attention_block, self.ema, self.groups = attention_block, ema, groups
        self.keep, self.keep_ratio, self.temperature = keep, keep_ratio, temperature
        self.ranks: Ranks = ranks
        self.alpha, self.weights = alpha, (1.0, contrast) if alpha is None else (1 - alpha, alpha)
        if groups == 2 and hierarchy == "graph" and not (encoder.slots.skeleton and encoder.slots.skeleton.torso):
            raise ValueError(
                "hierarchy 'graph' counts bones from the torso, expected a skeleton that names its torso's joints, got "
                "one without; name them, or choose 'hyperbolic' or 'random'"
            )
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False) if self._needs("ema") else None
        self.frozen = FrameAttention(self.encoder.width, 1).requires_grad_(False) if self._needs("frozen") else None
        self.decoder = SegmentDecoder(self.encoder, decoder_blocks)

    def _needs(self, source: AttentionSource) -> bool:
        return self.temporal == "attention" and self.attention_source == source

    def after_step(self) -> None:
        """Move the slow copy a little towards the encoder."""
        if self.teacher is None:
            return
        slow: list[Tensor] = list(self.teacher.parameters())
        now = [own.detach() for own in self.encoder.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(slow, now, 1 - self.ema)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " r"]]:
        """One value a person who is seen."""
        segments = self.encoder.cut(batch)
        tokens = self.encoder.tokens(segments)
        shown = self.choose(segments, tokens)
        encoded = self.encoder.encode(self.encoder.mapped(tokens[shown.places]), shown.packing)
        filled = self.decoder.filled(segments, encoded, shown)
        rebuilt, contrast = self.weights
        losses = {"reconstruction": rebuilt * self.missed(segments, filled, shown)}
        if contrast:
            losses["contrast"] = contrast * self._contrast(segments, encoded, shown)
        return losses

    def choose(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Shown:
        """The tokens that the encoder is shown, drawn by their scores."""
        return self.show(segments, self.scores(segments, tokens))

    def show(self, segments: Segments, scores: Float[Tensor, " N"]) -> Shown:
        if self.ranks != "none":
            scores = ranked(segments, scores, self.groups, self.ranks)
        drawn = draw(segments, scores, self.groups, self.temperature)
        return keep_first(segments, drawn if self.keep == "high" else -drawn, self.groups, self.keep_ratio)

    @torch.no_grad()
    def scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Of even segments by time, of odd ones by hierarchy; float64, without gradient."""
        over_time = self._temporal_scores(segments, tokens)
        if self.groups == 1:
            return over_time
        return torch.where(segments.segment % 2 == 0, over_time, self._hierarchy_scores(segments, tokens))

    def _temporal_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        if self.temporal == "random":
            return tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.temporal == "motion":
            return motion_scores(self.encoder, segments)
        among = (segments.segment % self.groups == 0).nonzero()[:, 0]
        if len(among) == 0:  # nobody is seen in an even segment
            return tokens.new_zeros(len(tokens), dtype=torch.float64)
        if self.frozen is not None:  # each joint's segments by themselves, sums over queries: all joints have mean 1
            among = among[segments.row_joint[among].argsort(stable=True)]
            packing = packed(segments.row_joint[among])
            received = self.frozen.received(tokens[among], packing) * packing.of_clips(packing.lengths)[packing.clip]
        else:
            looked_by = self.encoder if self.teacher is None else self.teacher
            own = looked_by.mapped(looked_by.tokens(segments)[among])
            received = looked_by.received(own, packed(segments.row[among]), self.attention_block)
        return tokens.new_zeros(len(tokens), dtype=torch.float64).index_copy(0, among, received.double())

    def _hierarchy_scores(self, segments: Segments, tokens: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        if self.hierarchy == "hyperbolic":
            return hyperbolic_scores(self.encoder, segments, tokens)
        if self.hierarchy == "graph":
            return graph_scores(self.encoder, segments)
        return tokens.new_zeros(len(tokens), dtype=torch.float64)

    def missed(self, segments: Segments, filled: Float[Tensor, "N D"], shown: Shown) -> Float[Tensor, " r"]:
        """The mean over each row's hidden tokens of their squared errors; 0 where nobody is seen."""
        predicted = self.decoder(segments, filled)
        error = ((predicted - self.targets(segments)) ** 2).mean(dim=-1)
        counts = ~shown.is_shown & segments.shows_someone[segments.row]
        total, number = (
            error.new_zeros(segments.num_rows).index_add(0, segments.row, values)
            for values in (error * counts, counts.to(error.dtype))
        )
        return total / number.clamp(min=1)

    @torch.no_grad()
    def targets(self, segments: Segments) -> Float[Tensor, "N X"]:
        """Movement to the next frame, in the ball if there is one; each token's numbers have mean 0 and spread 1, those
        of stillness are 0."""
        moved = movement(segments)
        if self.encoder.ball:
            moved = exp0(moved, self.encoder.curvature)
        flat = segments.patches(moved, self.encoder.joints).flatten(0, 1)[segments.kept]
        centred = flat - flat.mean(dim=-1, keepdim=True)
        return centred / (flat.var(dim=-1, keepdim=True) + 1e-6).sqrt()

    def _contrast(self, segments: Segments, encoded: Float[Tensor, "V D"], shown: Shown) -> Float[Tensor, " r"]:
        """Cross contrast among persons, of all processes, who are seen and have tokens in both groups."""
        with torch.autocast(encoded.device.type, enabled=False):  # products of features are large
            encoded = encoded.float()
            (first, in_first), (second, in_second) = (
                _mean_by_row(encoded, shown, group, segments.num_rows) for group in (0, 1)
            )
            whole = (in_first & in_second & segments.shows_someone).nonzero()[:, 0]
            first, second, everything = (x[whole] for x in (first, second, shown.packing.mean(encoded)))
            pairs = [(second, everything), (first, everything), (first, second)][: 3 if self.alpha is None else 2]
            found = torch.stack([apart(x, y) for x, y in pairs]).sum(dim=0)
            return encoded.new_zeros(segments.num_rows).index_copy(0, whole, found)


def _mean_by_row(
    values: Float[Tensor, "V D"], shown: Shown, group: int, num_rows: int
) -> tuple[Float[Tensor, "r D"], Bool[Tensor, " r"]]:
    """The mean of a group's tokens in each row, and whether there are any."""
    own = (shown.group == group).to(values.dtype)
    row = shown.packing.clip
    total = values.new_zeros(num_rows, values.shape[1]).index_add(0, row, values * own[:, None])
    count = values.new_zeros(num_rows).index_add(0, row, own)
    return total / count.clamp(min=1)[:, None], count > 0


def apart(x: Float[Tensor, "b D"], y: Float[Tensor, "b D"]) -> Float[Tensor, " b"]:
    """(softmax of x y^T over each row - 1 on the diagonal)^2, the mean over each row; `y` is that of all processes."""
    everybody, first = all_rows(y)
    same = torch.zeros(len(x), len(everybody), dtype=x.dtype, device=x.device)
    places = torch.arange(len(x), device=x.device)
    same[places, first + places] = 1
    return (((x @ everybody.T).softmax(dim=1) - same) ** 2).mean(dim=1)
