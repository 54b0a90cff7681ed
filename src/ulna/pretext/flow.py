"""Flow: what moves where from one frame to the next, at frames that are hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from ulna.core import one_of, within
from ulna.data import Batch, Packing
from ulna.encoders import Encoder, FrameEncoder
from ulna.pretext.base import Pretext

Objective = Literal["octant", "flow", "both", "pose"]
NUM_OCTANTS = 8
UNIT = 0.01  # of real-valued flow, in what the input form measures in


class Flow(Pretext):
    """Flow prediction: Cheng et al., Motion-Transformer (2020) and Hierarchical Transformer (ICME 2021).

    `share` of each clip's frames are chosen at random, one by one or in runs of `block`; the encoder predicts there how
    every slot moves to the next frame. `objective`: "octant", the signs of the three axes as one of 8 classes
    (released); "flow", the movement itself under a smooth L1 loss; "both"; "pose" asks for the frame itself under a
    squared loss (the released code's inpainting, which has blocks of 4). `corrupt_input`: of the chosen frames 80 % are
    zeros in the input, 10 % another frame of the clip, 10 % as they are; off, the encoder sees them all, and can read
    the answer off the next frame (as H-Transformer was released). Movements shorter than `least` do not count.
    `units` is the width for each slot in the head. The released head chooses among all pairs of joint and octant; here
    a slot's 8 octants compete by themselves.
    """

    takes = FrameEncoder
    encoder: FrameEncoder

    def __init__(
        self,
        encoder: Encoder,
        *,
        objective: Objective = "octant",
        share: float = 0.15,
        block: int = 1,
        corrupt_input: bool = True,
        units: int = 16,
        least: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        one_of("objective", objective, Objective)
        within("share", share, 0, 1, open_low=True)
        within("block", block, 1)
        within("units", units, 1)
        within("least", least, 0)
        self.objective, self.share, self.block = objective, share, block
        self.corrupt_input, self.least = corrupt_input, least
        self.num_slots = len(encoder.slots) * encoder.num_persons
        width = self.encoder.frame_width
        self.head = _PoseHead(width, self.num_slots) if objective == "pose" else _FlowHead(width, self.num_slots, units)
        self.octant = nn.Linear(4 * units, NUM_OCTANTS) if objective in ("octant", "both") else None
        self.flow = nn.Linear(4 * units, 3) if objective in ("flow", "both") else None

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " N"]]:
        chosen = choose(batch.packing, self.share, self.block)
        features = self.encoder(self._corrupted(batch, chosen))[chosen]
        if self.objective == "pose":
            shown = batch.present[chosen].flatten(1)  # (N, S)
            missed = (self.head(features) - batch.position[chosen].flatten(1, 2)) ** 2
            return {"pose": _mean(missed.mean(dim=2), shown)}
        movement, counts = (values[chosen] for values in self.targets(batch))
        hidden = self.head(features)  # (N, S, 4 u)
        losses = {}
        if self.octant is not None:
            scores = self.octant(hidden).float().flatten(0, 1)
            entropy = cross_entropy(scores, octants(movement).flatten(), reduction="none").view(counts.shape)
            losses["octant"] = _mean(entropy, counts)
        if self.flow is not None:
            missed = smooth_l1_loss(self.flow(hidden).float(), movement / UNIT, reduction="none")
            losses["flow"] = _mean(missed.mean(dim=2), counts)
        return losses

    def logits(self, batch: Batch) -> Float[Tensor, "F S 8"]:
        """Class scores of the octants of every frame, of the batch as it is."""
        if self.octant is None:
            raise ValueError(f"objective {self.objective!r} predicts no octants; choose 'octant' or 'both'")
        scores: Tensor = self.octant(self.head(self.encoder(batch)))
        return scores

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Float[Tensor, "F S 3"], Bool[Tensor, "F S"]]:
        """How each slot moves to the next frame, and whether that is known and long enough to count.

        Slots are in the order of the batch: person by person. A clip's last frame moves nowhere (released).
        """
        following = batch.packing.following
        movement = (batch.position[following] - batch.position).flatten(1, 2)
        counts = (batch.present & batch.present[following]).flatten(1)
        if self.least:
            counts = counts & (movement.norm(dim=-1) >= self.least)
        return movement, counts

    def _corrupted(self, batch: Batch, chosen: Int[Tensor, " N"]) -> Batch:
        """The batch as the encoder sees it."""
        if not self.corrupt_input:
            return batch
        packing = batch.packing
        fate = torch.rand(len(chosen), device=chosen.device)
        clip = packing.clip[chosen]
        lengths = packing.of_clips(packing.lengths)[clip]
        other = packing.first[clip] + (torch.rand(len(chosen), device=chosen.device) * lengths).long()
        source = torch.where((fate >= 0.8) & (fate < 0.9), other, chosen)
        position = batch.position.clone()
        position[chosen] = torch.where((fate < 0.8)[:, None, None, None], 0, batch.position[source])
        return replace(batch, position=position)


def choose(packing: Packing, share: float, block: int) -> Int[Tensor, " N"]:
    """Rows of `share` of each clip's frames (rounded down, at least one), at random, in runs of `block` frames."""
    kept = Packing((packing.lengths * share + 1e-9).astype(int).clip(min=1), packing.device)
    drawn = torch.rand(packing.num_frames, device=packing.device)
    shift = (torch.rand(packing.num_clips, device=packing.device) * block).long()[packing.clip]
    run = (packing.time + shift) // block  # (F,) counted from the clip's first
    order = torch.argsort(packing.clip + drawn[packing.start + run].double(), stable=True)  # clip by clip, run by run
    return order[packing.first[kept.clip] + kept.time].sort().values


def octants(movement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """[dx > 0] + 2 [dy > 0] + 4 [dz > 0]."""
    x, y, z = (movement > 0).long().unbind(dim=-1)
    return x + 2 * y + 4 * z


class _FlowHead(nn.Module):
    """A frame's feature -> (S, 4 u): a part for each slot, and layers that all slots share."""

    def __init__(self, width: int, num_slots: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.of_slots = nn.Sequential(nn.Linear(width, num_slots * units), nn.GELU(), nn.LayerNorm(num_slots * units))
        self.shared = nn.Sequential(nn.Linear(units, 4 * units), nn.GELU(), nn.LayerNorm(4 * units))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N S U"]:
        return self.shared(self.of_slots(x).unflatten(1, (-1, self.units)))


class _PoseHead(nn.Module):
    """A frame's feature -> its slots' coordinates."""

    def __init__(self, width: int, num_slots: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, 3 * num_slots)
        )

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N S 3"]:
        return self.layers(x).float().unflatten(1, (-1, 3))


def _mean(values: Float[Tensor, "N S"], counts: Bool[Tensor, "N S"]) -> Float[Tensor, " N"]:
    """The mean over the slots that count; 0 where none does."""
    return (values * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
