"""MPDP: multi-interval pose displacement prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ulna.core import Skeleton, one_of, within
from ulna.data import Batch
from ulna.encoders import Encoder, FrameEncoder, GLTransformer
from ulna.encoders.released import head_weights, read_state
from ulna.pretext.base import Pretext

EarlyFrames = Literal["first", "zero"]

NUM_DIRECTIONS, NUM_MAGNITUDES, ABSENT = 27, 16, 15
STEP = 0.01  # metres between magnitude classes


class MPDP(Pretext):
    """Multi-interval pose displacement prediction: Kim et al. 2022 (arXiv 2207.06101), section 3.3.

    From every frame's feature, predicts for each slot and interval n the direction (27 classes) and magnitude (16
    classes of 1 cm) of d = x[t-n] - x[t]. `early_frames` says what stands before a clip's first frame: "first", that
    frame (released), or "zero" displacement (paper). `magnitude` off is Table 1 up to row 3. `mask_absent` leaves
    persons that a clip's first frame lacks out of the loss, where the paper predicts their absence. `hide` is the
    share of places (a slot in a frame) whose input is zero while training, though their displacement is asked for
    (ours; the paper hides nothing).
    """

    takes = FrameEncoder
    encoder: FrameEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        intervals: tuple[int, ...] = (1, 5, 10),
        magnitude: bool = True,
        early_frames: EarlyFrames = "first",
        lambda_global: float = 0.05,
        lambda_magnitude: float = 1.0,
        mask_absent: bool = False,
        hide: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        within("hide", hide, 0, 0.99)
        one_of("early_frames", early_frames, EarlyFrames)
        within("lambda_global", lambda_global, 0)
        within("lambda_magnitude", lambda_magnitude, 0)
        if not intervals or min(intervals) < 1:
            raise ValueError(f"expected intervals of at least 1 frame, got {intervals}")
        self.intervals, self.early_frames = intervals, early_frames
        self.lambda_global, self.lambda_magnitude, self.mask_absent = lambda_global, lambda_magnitude, mask_absent
        self.hide = hide
        self.interval: Tensor
        self.register_buffer("interval", torch.tensor(intervals), persistent=False)
        num = len(intervals) * len(encoder.slots) * encoder.num_persons
        self.direction_head = nn.Linear(self.encoder.frame_width, num * NUM_DIRECTIONS)
        self.magnitude_head = nn.Linear(self.encoder.frame_width, num * NUM_MAGNITUDES) if magnitude else None

    def logits(self, batch: Batch) -> tuple[Float[Tensor, "F N S 27"], Float[Tensor, "F N S 16"] | None]:
        """Class scores of directions and magnitudes; the second is None where magnitudes are switched off."""
        return self._predict(self.encoder(self._hidden(batch)))

    def _hidden(self, batch: Batch) -> Batch:
        """The batch as the encoder sees it."""
        if not self.training or not self.hide:
            return batch
        shown = torch.rand(batch.position.shape[:3], device=batch.position.device) >= self.hide
        return replace(batch, position=torch.where(shown[..., None], batch.position, 0))

    def _predict(self, features: Float[Tensor, "F W"]) -> tuple[Tensor, Tensor | None]:
        num = len(self.intervals)
        direction = self.direction_head(features).unflatten(-1, (num, -1, NUM_DIRECTIONS))
        if self.magnitude_head is None:
            return direction, None
        return direction, self.magnitude_head(features).unflatten(-1, (num, -1, NUM_MAGNITUDES))

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Int[Tensor, "F N S"], Int[Tensor, "F N S"]]:
        """Direction and magnitude classes of every frame, interval and slot; slots joint-major, person fastest."""
        packing = batch.packing
        time = packing.time[:, None] - self.interval  # (F, N)
        reference = packing.start[:, None] + time.clamp(min=0)
        x = batch.position.transpose(1, 2).flatten(1, 2)  # (F, S, 3)
        seen = batch.present.transpose(1, 2).flatten(1)
        comparable = seen[reference] & seen[:, None]
        if self.early_frames == "zero":
            comparable = comparable & (time >= 0)[..., None]
        displacement = torch.where(comparable[..., None], x[reference] - x[:, None], 0)  # (F, N, S, 3)
        absent = batch.absent.repeat(1, len(batch.slots))[packing.clip]  # (F, S)
        return _directions(displacement), _magnitudes(displacement).masked_fill(absent[:, None], ABSENT)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " F"]]:
        return self._weighted(batch, self._weights(batch))

    def loss(self, batch: Batch, *, released: bool = False) -> Float[Tensor, ""]:
        """Mean over the batch's frames. `released` reproduces the authors' code, whose global term covers only the
        first interval while the other intervals' global slots count as local joints."""
        if not released:
            return super().loss(batch)
        losses = self._weighted(batch, self._released_weights(batch))
        return sum((values.mean() for values in losses.values()), start=batch.position.new_zeros(()))

    def _weighted(self, batch: Batch, weight: Tensor) -> dict[str, Tensor]:
        """Per-frame losses; `weight` (F or 1, N, S) sums each frame's terms."""
        directions, magnitudes = self.logits(batch)
        direction_target, magnitude_target = self.targets(batch)
        losses = {"direction": (_entropies(directions, direction_target) * weight).sum(dim=(1, 2))}
        if magnitudes is not None:
            entropies = _entropies(magnitudes, magnitude_target)
            losses["magnitude"] = self.lambda_magnitude * (entropies * weight).sum(dim=(1, 2))
        return losses

    def _weights(self, batch: Batch) -> Float[Tensor, "F N S"]:
        """Mean over local slots plus lambda_global times the mean over global slots, of persons that count."""
        slots, num = self.encoder.slots, len(self.intervals)
        counts = batch.position.new_ones(1, self.encoder.num_persons)
        if self.mask_absent:
            counts = (~batch.absent).to(counts.dtype)[batch.packing.clip]  # (F, P)
        share = counts.new_full((len(slots),), 1 / (len(slots) - (slots.global_slot is not None)))
        if slots.global_slot is not None:
            share[slots.global_slot] = self.lambda_global
        weight = share[:, None] * (counts / counts.sum(dim=1, keepdim=True))[:, None]  # (F, K, P)
        return (weight.flatten(1) / num)[:, None].expand(-1, num, -1)

    def _released_weights(self, batch: Batch) -> Float[Tensor, "1 N S"]:
        num, slots, persons = len(self.intervals), len(self.encoder.slots), self.encoder.num_persons
        weight = batch.position.new_ones(num, slots, persons)
        if self.encoder.slots.global_slot is not None:
            weight[0, self.encoder.slots.global_slot] = 0
        weight /= weight.sum()
        if self.encoder.slots.global_slot is not None:
            weight[0, self.encoder.slots.global_slot] = self.lambda_global / persons
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
        """Encoder and heads with the authors' pretraining weights, as `GLTransformer.from_released`."""
        bare = read_state(state)
        encoder = GLTransformer.from_released(bare, num_heads=num_heads, skeleton=skeleton)
        pretext = cls(encoder, intervals=tuple(int(n) for n in intervals))
        for kind, head in (("direction", pretext.direction_head), ("magnitude", pretext.magnitude_head)):
            assert head is not None
            weight, bias = head_weights(bare, kind, len(pretext.intervals))
            head.to(weight.dtype).load_state_dict({"weight": weight, "bias": bias})
        return pretext


def _directions(displacement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """0, 1, 2 for negative, exactly zero, positive on each axis; x counts 1, y 3, z 9."""
    x, y, z = (displacement.sign().long() + 1).unbind(dim=-1)
    return x + 3 * y + 9 * z


def _magnitudes(displacement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """0 where nothing moved, else centimetres + 1, at most 14; floor division in float64."""
    metres = displacement.norm(dim=-1)
    classes = torch.floor_divide(metres.double(), STEP).long() + 1
    return torch.where(metres == 0, 0, classes.clamp(max=ABSENT - 1))


def _entropies(logits: Float[Tensor, "F N S L"], target: Int[Tensor, "F N S"]) -> Float[Tensor, "F N S"]:
    return cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none").view(target.shape)
