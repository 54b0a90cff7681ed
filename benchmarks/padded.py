"""The padded reference: GL-Transformer with MPDP written plainly, as such code usually is.

Every clip is padded to T_max with a mask, all arithmetic is float32 and eager, clips are augmented one by one on the
CPU. Its modules have the names of ulna's, so that both can hold the same weights and their losses can be compared.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from ulna.batch import AugmentationDraw, Batch
from ulna.encoders.gl_transformer import absent_persons

IGNORED = -100


class Attention(nn.Module):
    """Multi-head attention over the second last axis; `mask` (..., N) says which keys are real."""

    def __init__(self, width: int, num_heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (width // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_dropout, self.dropout = nn.Dropout(attention_dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        scores = q @ k.transpose(-1, -2) * self.scale
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None, None, :], float("-inf"))
        y = self.attention_dropout(scores.softmax(dim=-1)) @ v
        return self.dropout(self.proj(y.transpose(-3, -2).flatten(-2)))


class DropPath(nn.Module):
    """Sets the output of a branch to zero at random, separately for each index of the first `dims` axes."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, dims: int) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(*x.shape[:dims], *(1,) * (x.ndim - dims), device=x.device) < 1 - self.rate
        return x * kept / (1 - self.rate)


class PosEmbed(nn.Module):
    def __init__(self, num_frames: int, num_nodes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_frames, num_nodes, width))


class Block(nn.Module):
    def __init__(
        self, num_frames: int, num_nodes: int, width: int, num_heads: int, rates: tuple[float, float, float]
    ) -> None:
        super().__init__()
        dropout, attention_dropout, drop_path = rates
        wide = num_nodes * width
        self.pos_embed = PosEmbed(num_frames, num_nodes, width)
        self.spatial_norm = nn.LayerNorm(width)
        self.temporal_norm, self.ffn_norm = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.spatial = Attention(width, num_heads, dropout, attention_dropout)
        self.temporal = Attention(wide, num_heads, dropout, attention_dropout)
        self.ffn = nn.Sequential(
            nn.Linear(wide, 2 * wide), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * wide, wide), nn.Dropout(dropout)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, z: Tensor, is_real: Tensor) -> Tensor:
        x = z + self.pos_embed.table  # (B, T, S, D)
        s = x + self.drop_path(self.spatial(self.spatial_norm(x)), 2)
        y = (s + self.pos_embed.table).flatten(2)  # (B, T, W)
        y = y + self.drop_path(self.temporal(self.temporal_norm(y), is_real), 1)
        y = y + self.drop_path(self.ffn(self.ffn_norm(y)), 1)
        return y.unflatten(2, z.shape[2:])


class PaddedGLTransformer(nn.Module):
    """Encoder of padded clips: position (B, T, K, P, 3), is_real (B, T) -> (B, T, W)."""

    def __init__(
        self,
        num_joints: int,
        num_persons: int,
        num_frames: int,
        *,
        centre: int,
        width: int = 48,
        num_heads: int = 8,
        num_blocks: int = 4,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        num_nodes = num_joints * num_persons
        wide = num_nodes * width
        self.centre = centre
        self.embed_local, self.embed_global = nn.Linear(3, width), nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)
        rates = torch.linspace(0, drop_path, num_blocks).tolist()
        self.blocks = nn.ModuleList(
            Block(num_frames, num_nodes, width, num_heads, (dropout, attention_dropout, rate)) for rate in rates
        )
        self.norm = nn.LayerNorm(wide)
        layers = [layer for _ in range(2) for layer in (nn.Linear(wide, wide), nn.GELU(), nn.LayerNorm(wide))]
        self.mlp = nn.Sequential(*layers)

    def forward(self, position: Tensor, is_real: Tensor) -> Tensor:
        is_global = torch.arange(position.shape[2], device=position.device) == self.centre
        z = torch.where(is_global[:, None, None], self.embed_global(position), self.embed_local(position))
        z = self.dropout(z.flatten(2, 3))
        for block in self.blocks:
            z = block(z, is_real)
        return self.mlp(self.norm(z.flatten(2)))


class PaddedMPDP(nn.Module):
    """Displacement prediction from padded clips; absent persons and both loss terms as in the paper's code."""

    def __init__(
        self, encoder: PaddedGLTransformer, num_nodes: int, wide: int, intervals: tuple[int, ...] = (1, 5, 10)
    ):
        super().__init__()
        self.encoder, self.intervals, self.num_nodes = encoder, intervals, num_nodes
        self.direction_head = nn.Linear(wide, len(intervals) * num_nodes * 27)
        self.magnitude_head = nn.Linear(wide, len(intervals) * num_nodes * 16)

    def forward(self, position: Tensor, is_real: Tensor, targets: Tensor) -> Tensor:
        """position (B, T, K, P, 3), targets (2, B, T, N, K, P) with IGNORED where padded -> loss."""
        features = self.encoder(position, is_real)
        persons = position.shape[3]
        node = torch.arange(self.num_nodes, device=position.device)
        is_global = (node // persons == self.encoder.centre).expand(len(self.intervals), -1)
        loss = position.new_zeros(())
        for head, target in ((self.direction_head, targets[0]), (self.magnitude_head, targets[1])):
            logits = head(features).unflatten(-1, (len(self.intervals), self.num_nodes, -1))
            target = target.flatten(3)
            for nodes, weight in ((~is_global, 1.0), (is_global, 0.05)):
                loss = loss + weight * cross_entropy(logits[:, :, nodes].flatten(0, -2), target[:, :, nodes].flatten())
        return loss


def augment(position: Tensor, time_scale: float, matrix: Tensor, centre: int, num_frames: int) -> Tensor:
    """One clip (T, K, P, 3): linear resampling in time, then shear of all but the centre's node."""
    num = max(1, int(len(position) * (1 + time_scale)))
    rows = interpolate(position.flatten(1).T[None], size=num, mode="linear", align_corners=False)[0].T
    position = rows.unflatten(1, position.shape[1:])[:num_frames]
    sheared = position @ matrix.T
    sheared[:, centre] = position[:, centre]
    return sheared


def targets_of(position: Tensor, is_absent: Tensor, intervals: tuple[int, ...]) -> Tensor:
    """Direction and magnitude classes (2, T, N, K, P) of one clip (T, K, P, 3)."""
    time = torch.arange(len(position))
    both = []
    for n in intervals:
        moved = position[(time - n).clamp(min=0)] - position
        direction = ((moved.sign() + 1) * torch.tensor([1, 3, 9])).sum(dim=-1).long()
        metres = moved.norm(dim=-1)
        magnitude = (torch.floor_divide(metres.double(), 0.01) + 1).clamp(max=14).long()
        magnitude = torch.where(metres == 0, 0, magnitude)
        magnitude[:, :, is_absent] = 15
        both.append(torch.stack([direction, magnitude]))
    return torch.stack(both, dim=2)


def assemble(
    batch: Batch, draw: AugmentationDraw, num_frames: int, intervals: tuple[int, ...] = (1, 5, 10)
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment preprocessed clips one by one, make their targets, pad all to `num_frames`."""
    centre, absent = batch.layout.root, absent_persons(batch)
    positions, targets, lengths = [], [], []
    for clip, rows in enumerate(batch.packing.split(batch.position)):
        matrix = torch.from_numpy(np.eye(3) + 0.3 * draw.off_diagonal[clip]).float()
        position = augment(rows.transpose(1, 2), 0.1 * draw.time_scale[clip], matrix, centre, num_frames)
        missing = num_frames - len(position)
        lengths.append(len(position))
        classes = targets_of(position, absent[clip], intervals)
        positions.append(pad(position, (0, 0) * 3 + (0, missing)))
        targets.append(pad(classes, (0, 0) * 3 + (0, missing), value=IGNORED))
    is_real = torch.arange(num_frames) < torch.tensor(lengths)[:, None]
    return torch.stack(positions), is_real, torch.stack(targets, dim=1)
