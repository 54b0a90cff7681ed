"""Flow: prediction of the movement to the next frame at masked frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from ulna.batch import Batch, Packing
from ulna.core import InputError, NonNegative
from ulna.encoders import Encoder, FrameEncoder
from ulna.encoders.base import Dim
from ulna.pretext.base import Pretext

NUM_OCTANTS = 8
UNIT = 0.01  # unit of real-valued flow, relative to preprocessed positions


class Flow(Pretext):
    """Flow prediction: Cheng et al., Motion-Transformer (2020) and Hierarchical Transformer (ICME 2021).

    A random share of each clip's frames is masked; at these frames, the movement of every node to the next frame is
    predicted. The released head classifies over all pairs of joint and octant; here, each node has its own
    classification over 8 octants.

    Args:
        config: Options.
        encoder: An encoder with one vector per frame.
    """

    takes: ClassVar[type[Encoder]] = FrameEncoder  # type: ignore[type-abstract]

    class Config(Pretext.Config):
        """Options of `Flow`."""

        objective: Literal["octant", "flow", "both", "pose"] = "octant"
        """Prediction target: the signs of the movement along the three axes as one of 8 classes ("octant", released);
        the movement itself with a smooth L1 loss ("flow"); both ("both"); or the frame itself with a squared loss
        ("pose", inpainting in the released code)."""
        mask_ratio: Annotated[float, Field(gt=0, le=1)] = 0.15
        """Share of each clip's frames that is masked."""
        block_length: Annotated[int, Field(ge=1, le=100_000)] = 1
        """Number of consecutive frames that are masked together."""
        corrupt_input: bool = True
        """Corrupt the masked frames in the input: 80 % are set to zero, 10 % are replaced by another frame of the clip,
        10 % are unchanged. If disabled, the input is unchanged (H-Transformer as released), and the next frame reveals
        the target."""
        head_dim: Dim = 16
        """Width of the head per node."""
        min_movement: NonNegative = 0.0
        """Minimum length of a movement; shorter ones are excluded from the loss."""

    config: Config
    encoder: FrameEncoder

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        num_nodes, dim, head_dim = encoder.spec.num_nodes, self.encoder.frame_dim, config.head_dim
        objective = config.objective
        self.head = _PoseHead(dim, num_nodes) if objective == "pose" else _FlowHead(dim, num_nodes, head_dim)
        self.octant = nn.Linear(4 * head_dim, NUM_OCTANTS) if objective in ("octant", "both") else None
        self.flow = nn.Linear(4 * head_dim, 3) if objective in ("flow", "both") else None

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " N"]]:
        """Return the losses, one value per masked frame."""
        chosen = choose_frames(batch.packing, self.config.mask_ratio, self.config.block_length)
        features = self.encoder(self._corrupted(batch, chosen))[chosen]
        if self.config.objective == "pose":
            visible = batch.visible[chosen].flatten(1)  # (N, S)
            error = (self.head(features) - batch.position[chosen].flatten(1, 2)) ** 2
            return {"pose": _mean(error.mean(dim=2), visible)}
        movement, counts = (values[chosen] for values in self.targets(batch))
        hidden = self.head(features)  # (N, S, 4 u)
        losses = {}
        if self.octant is not None:
            scores = self.octant(hidden).float().flatten(0, 1)
            entropy = cross_entropy(scores, octants(movement).flatten(), reduction="none").view(counts.shape)
            losses["octant"] = _mean(entropy, counts)
        if self.flow is not None:
            error = smooth_l1_loss(self.flow(hidden).float(), movement / UNIT, reduction="none")
            losses["flow"] = _mean(error.mean(dim=2), counts)
        return losses

    def logits(self, batch: Batch) -> Float[Tensor, "F S 8"]:
        """Return the logits of the octants of every frame, without masking."""
        if self.octant is None:
            raise InputError(f"objective {self.config.objective!r} predicts no octants. Choose 'octant' or 'both'.")
        scores: Tensor = self.octant(self.head(self.encoder(batch)))
        return scores

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Float[Tensor, "F S 3"], Bool[Tensor, "F S"]]:
        """Return the movement of each node to the next frame, and whether it is included in the loss.

        Nodes are in the order of the batch, person by person. In a clip's last frame, the movement is zero (released).
        """
        following = batch.packing.following
        movement = (batch.position[following] - batch.position).flatten(1, 2)
        counts = (batch.visible & batch.visible[following]).flatten(1)
        if self.config.min_movement:
            counts = counts & (movement.norm(dim=-1) >= self.config.min_movement)
        return movement, counts

    def _corrupted(self, batch: Batch, chosen: Int[Tensor, " N"]) -> Batch:
        """Return the batch with its masked frames corrupted."""
        if not self.config.corrupt_input:
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


def choose_frames(packing: Packing, share: float, block: int) -> Int[Tensor, " N"]:
    """Return a random share of each clip's frames (rounded down, at least one), in blocks of `block` frames."""
    kept = Packing((packing.lengths * share + 1e-9).astype(int).clip(min=1), packing.device)
    drawn = torch.rand(packing.num_frames, device=packing.device)
    shift = (torch.rand(packing.num_clips, device=packing.device) * block).long()[packing.clip]
    run = (packing.time + shift) // block  # (F,) counted from the clip's first
    order = torch.argsort(
        packing.clip + drawn[packing.start + run].double(), stable=True
    )  # clip by clip, block by block
    return order[packing.first[kept.clip] + kept.time].sort().values


def octants(movement: Float[Tensor, "*any 3"]) -> Int[Tensor, "*any"]:
    """Return the class [dx > 0] + 2 [dy > 0] + 4 [dz > 0]."""
    x, y, z = (movement > 0).long().unbind(dim=-1)
    return x + 2 * y + 4 * z


class _FlowHead(nn.Module):
    """Maps a frame's feature to (S, 4 u): one projection per node, then layers shared by all nodes."""

    def __init__(self, dim: int, num_nodes: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.per_node = nn.Sequential(
            nn.Linear(dim, num_nodes * head_dim), nn.GELU(), nn.LayerNorm(num_nodes * head_dim)
        )
        self.shared = nn.Sequential(nn.Linear(head_dim, 4 * head_dim), nn.GELU(), nn.LayerNorm(4 * head_dim))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N S U"]:
        return self.shared(self.per_node(x).unflatten(1, (-1, self.head_dim)))


class _PoseHead(nn.Module):
    """Maps a frame's feature to the coordinates of its nodes."""

    def __init__(self, dim: int, num_nodes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim), nn.Linear(dim, 3 * num_nodes))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N S 3"]:
        return self.layers(x).float().unflatten(1, (-1, 3))


def _mean(values: Float[Tensor, "N S"], counts: Bool[Tensor, "N S"]) -> Float[Tensor, " N"]:
    """Return the mean over the nodes that are included; 0 if there are none."""
    return (values * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
