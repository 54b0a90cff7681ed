"""MPDP: multi-interval pose displacement prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ulna.batch import Batch, PersonGroup, join_frames
from ulna.core import NonNegative, Rate, Skeleton
from ulna.encoders import Encoder, FrameEncoder, GLTransformer
from ulna.encoders.gl_transformer import absent_persons
from ulna.encoders.released import head_weights, read_state
from ulna.pretext.base import Pretext
from ulna.pretext.views import hide_nodes

NUM_DIRECTIONS, NUM_MAGNITUDES, ABSENT = 27, 16, 15
STEP = 0.01  # metres between magnitude classes

Interval = Annotated[int, Field(ge=1, le=100_000)]


class MPDP(Pretext):
    """Multi-interval pose displacement prediction: Kim et al. 2022 (arXiv 2207.06101), section 3.3.

    For each node and each interval n, the direction (27 classes) and magnitude (16 classes, in steps of 1 cm) of the
    displacement d = x[t-n] - x[t] are predicted from the feature of frame t.

    Args:
        config: Options; the defaults are those of the paper.
        encoder: An encoder with one vector per frame.
    """

    takes: ClassVar[type[Encoder]] = FrameEncoder  # type: ignore[type-abstract]

    class Config(Pretext.Config):
        """Options of `MPDP`."""

        intervals: Annotated[tuple[Interval, ...], Field(min_length=1, max_length=64)] = (1, 5, 10)
        """Intervals n, in frames."""
        magnitude: bool = True
        """Predict the magnitude as well (disabled in Table 1 up to row 3)."""
        early_frames: Literal["first", "zero"] = "first"
        """Displacement if frame t-n precedes the clip: relative to the first frame ("first", released), or zero
        ("zero", text of the paper)."""
        lambda_global: NonNegative = 0.05
        """Weight of the loss of the root."""
        lambda_magnitude: NonNegative = 1.0
        """Weight of the magnitude loss."""
        mask_absent: bool = False
        """Exclude persons missing from the first frame from the loss; the paper predicts their absence instead."""
        mask_missing: bool = False
        """Leave displacements from or to a missing node out of the loss; the paper predicts no movement there."""
        mask_ratio: Rate = 0.0
        """Share of input nodes set to zero during training; their displacement is predicted as well (paper: 0)."""

    config: Config
    encoder: FrameEncoder

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        self.interval: Tensor
        self.register_buffer("interval", torch.tensor(config.intervals), persistent=False)
        num, dim = len(config.intervals) * encoder.spec.num_nodes, self.encoder.frame_dim
        self.direction_head = nn.Linear(dim, num * NUM_DIRECTIONS)
        self.magnitude_head = nn.Linear(dim, num * NUM_MAGNITUDES) if config.magnitude else None

    def logits(self, batch: Batch) -> tuple[Float[Tensor, "F N S 27"], Float[Tensor, "F N S 16"] | None]:
        """Return the logits of directions and magnitudes; None for magnitudes if they are disabled.

        Those of persons that the encoder skips are zero.
        """
        groups = self.encoder.groups(batch)
        columns = [self.encoder.columns(group) for group in groups]
        parts = [self._predict(group) for group in groups]
        direction = [own.spread(part[0], 2, 1) for own, part in zip(columns, parts, strict=True)]
        magnitude = [own.spread(part[1], 2, 1) for own, part in zip(columns, parts, strict=True) if part[1] is not None]
        return join_frames(groups, direction), join_frames(groups, magnitude) if magnitude else None

    def _masked(self, batch: Batch) -> Batch:
        """Return the batch with a random share of its nodes set to zero."""
        return hide_nodes(batch, self.config.mask_ratio) if self.training else batch

    def _predict(self, group: PersonGroup) -> tuple[Float[Tensor, "F N S 27"], Float[Tensor, "F N S 16"] | None]:
        """Return the logits of a group's persons."""
        num, columns = len(self.config.intervals), self.encoder.columns(group)
        features = self.encoder.encode(replace(group, batch=self._masked(group.batch)))

        def logits(head: nn.Linear, num_classes: int) -> Tensor:
            return columns.linear(features, head, num_classes).unflatten(-1, (num, -1, num_classes))

        direction = logits(self.direction_head, NUM_DIRECTIONS)
        return direction, None if self.magnitude_head is None else logits(self.magnitude_head, NUM_MAGNITUDES)

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Int[Tensor, "F N S"], Int[Tensor, "F N S"]]:
        """Return the direction and magnitude classes of every frame, interval and node.

        Nodes are joint-major with the person fastest.
        """
        packing = batch.packing
        time, reference = self._references(batch)
        x = batch.position.transpose(1, 2).flatten(1, 2)  # (F, S, 3)
        comparable = _comparable(batch, reference)
        if self.config.early_frames == "zero":
            comparable = comparable & (time >= 0)[..., None]
        displacement = torch.where(comparable[..., None], x[reference] - x[:, None], 0)  # (F, N, S, 3)
        absent = absent_persons(batch).repeat(1, len(batch.layout))[packing.clip]  # (F, S)
        return _directions(displacement), _magnitudes(displacement).masked_fill(absent[:, None], ABSENT)

    def _references(self, batch: Batch) -> tuple[Int[Tensor, "F N"], Int[Tensor, "F N"]]:
        """Return the time t-n of every frame and interval, and the index of that frame, or of the clip's first."""
        time = batch.packing.time[:, None] - self.interval
        return time, batch.packing.start[:, None] + time.clamp(min=0)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " F"]]:
        """Return the losses of direction and magnitude, one value per frame.

        Persons that the encoder skips do not count.
        """
        return self._weighted(batch, self._weights)

    def loss(self, batch: Batch, *, released: bool = False) -> Float[Tensor, ""]:
        """Return the mean loss over the batch's frames.

        Args:
            batch: A preprocessed batch.
            released: Weight the loss as in the authors' code, where the root has the global weight for the first
                interval only and is weighted as a local joint for the others.
        """
        if not released:
            return super().loss(batch)
        losses = self._weighted(batch, self._released_weights)
        return sum((values.mean() for values in losses.values()), start=batch.position.new_zeros(()))

    def _weighted(self, batch: Batch, weights: Callable[[Batch], Tensor]) -> dict[str, Tensor]:
        """Return the losses per frame; `weights` returns those of the terms of a frame (F or 1, N, S)."""
        groups = self.encoder.groups(batch)
        parts = [self._group_losses(group, weights(group.batch)) for group in groups]
        return {name: join_frames(groups, [part[name] for part in parts]) for name in parts[0]}

    def _group_losses(self, group: PersonGroup, weight: Tensor) -> dict[str, Tensor]:
        directions, magnitudes = self._predict(group)
        direction_target, magnitude_target = self.targets(group.batch)
        losses = {"direction": (_entropies(directions, direction_target) * weight).sum(dim=(1, 2))}
        if magnitudes is not None:
            entropies = _entropies(magnitudes, magnitude_target)
            losses["magnitude"] = self.config.lambda_magnitude * (entropies * weight).sum(dim=(1, 2))
        return losses

    def _weights(self, batch: Batch) -> Float[Tensor, "F N S"]:
        """Return the weights of the mean over local nodes plus lambda_global times the root, averaged over persons."""
        spec, num = self.encoder.spec, len(self.config.intervals)
        counts = batch.position.new_ones(1, batch.num_persons)
        if self.config.mask_absent:
            counts = (~absent_persons(batch)).to(counts.dtype)[batch.packing.clip]  # (F, P)
        num_nodes, root = len(spec.layout), spec.layout.root
        share = counts.new_full((num_nodes,), 1 / (num_nodes - (root is not None)))
        if root is not None:
            share[root] = self.config.lambda_global
        weight = share[:, None] * (counts / counts.sum(dim=1, keepdim=True))[:, None]  # (F, K, P)
        weight = (weight.flatten(1) / num)[:, None].expand(-1, num, -1)
        return self._without_missing(batch, weight) if self.config.mask_missing else weight

    def _without_missing(self, batch: Batch, weight: Float[Tensor, "f N S"]) -> Float[Tensor, "F N S"]:
        """Return the weights without missing nodes; the others share the sum of all local nodes, if there are any."""
        _, reference = self._references(batch)
        kept = weight * _comparable(batch, reference)
        is_local = torch.ones(len(batch.layout), dtype=torch.bool, device=kept.device)
        if batch.layout.root is not None:
            is_local[batch.layout.root] = False
        is_local = is_local.repeat_interleave(batch.num_persons)  # (S,)
        before, after = ((own * is_local).sum(dim=2, keepdim=True) for own in (weight.expand_as(kept), kept))
        factor = torch.where(after > 0, before / after.clamp(min=1e-12), 1)
        return torch.where(is_local, kept * factor, kept)

    def _released_weights(self, batch: Batch) -> Float[Tensor, "1 N S"]:
        spec, num = self.encoder.spec, len(self.config.intervals)
        weight = batch.position.new_ones(num, len(spec.layout), batch.num_persons)
        root = spec.layout.root
        if root is not None:
            weight[0, root] = 0
        weight /= weight.sum()
        if root is not None:
            weight[0, root] = self.config.lambda_global / batch.num_persons
        return weight.flatten(1)[None]

    @classmethod
    def from_released(
        cls,
        state: Mapping[str, Tensor] | str | Path,
        *,
        num_heads: int,
        intervals: Sequence[int],
        skeleton: str | Skeleton = "kinect_v2",
    ) -> MPDP:
        """Return a pretext task whose encoder and heads have the authors' pretrained weights.

        Args:
            state: A mapping of names to tensors, a .safetensors file or a torch file.
            num_heads: Number of attention heads, which cannot be inferred from the weights.
            intervals: Intervals that the heads were trained for.
            skeleton: Skeleton of the data, or its name.

        Raises:
            InputError: If a tensor is missing or the skeleton does not match.
        """
        bare = read_state(state)
        encoder = GLTransformer.from_released(bare, num_heads=num_heads, skeleton=skeleton)
        pretext = cls(cls.Config(intervals=tuple(int(n) for n in intervals)), encoder)
        for kind, head in (("direction", pretext.direction_head), ("magnitude", pretext.magnitude_head)):
            assert head is not None
            weight, bias = head_weights(bare, kind, len(pretext.config.intervals))
            head.to(weight.dtype).load_state_dict({"weight": weight, "bias": bias})
        return pretext


def _comparable(batch: Batch, reference: Int[Tensor, "F N"]) -> Bool[Tensor, "F N S"]:
    """Return True where a node is visible in a frame and in its reference."""
    seen = batch.visible.transpose(1, 2).flatten(1)
    return seen[reference] & seen[:, None]


def _directions(displacement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """Return the class sx + 3 sy + 9 sz, where s is 0, 1 or 2 for negative, zero or positive on each axis."""
    x, y, z = (displacement.sign().long() + 1).unbind(dim=-1)
    return x + 3 * y + 9 * z


def _magnitudes(displacement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """Return the class: 0 for no movement, otherwise whole centimetres + 1, at most 14; divided in float64."""
    metres = displacement.norm(dim=-1)
    classes = torch.floor_divide(metres.double(), STEP).long() + 1
    return torch.where(metres == 0, 0, classes.clamp(max=ABSENT - 1))


def _entropies(logits: Float[Tensor, "F N S L"], target: Int[Tensor, "F N S"]) -> Float[Tensor, "F N S"]:
    return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape)
