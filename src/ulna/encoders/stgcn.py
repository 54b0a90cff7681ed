"""ST-GCN: graph convolution over the joints of a frame, convolution over the frames of each joint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ulna.batch import Batch, Packing
from ulna.batch.persons import PersonSequences
from ulna.core import InputError, NodeLayout, Rate
from ulna.encoders.base import Dim, Encoder
from ulna.nn.batch_norm import BatchNorm
from ulna.nn.dropout import Dropout
from ulna.preprocessing import InputSpec

WIDTHS = (1, 1, 1, 1, 2, 2, 2, 4, 4)  # of the blocks before the last, in units of `width`
HALVING = (4, 7)  # blocks that halve the frame rate, counted from 0
Partition = Literal["distance", "released"]


class STGCN(Encoder):
    """Spatial-temporal graph convolution: Yan et al. (AAAI 2018, arXiv 1801.07455), section 3.

    With the default width it is the narrow encoder of SkeletonCLR, CrosSCLR and AimCLR. The graph follows from the
    named joints of the skeleton. Each visible person is encoded separately.

    Args:
        config: Options.
        spec: Specification of the encoder's input.
    """

    output: ClassVar[str] = "one vector per joint and frame"

    class Config(Encoder.Config):
        """Options of `STGCN`."""

        width: Dim = 16
        """Width of the first four blocks; the next three have twice, the next two four times this width. (ST-GCN: 64.)
        """
        embed_dim: Dim = 256
        """E, the width of the last block."""
        kernel: Annotated[int, Field(ge=1, le=255)] = 9
        """Number of frames that a convolution over time covers, odd."""
        partition: Partition = "distance"
        """How a joint's neighbours are divided into those closer to the centre and the others: by their distance in
        bones ("distance"), or as in the released code ("released"), which computes distances up to one bone only, so
        that the division has no effect outside the centre's neighbours."""
        dropout: Rate = 0.5
        """Dropout rate of all blocks but the first."""

    config: Config

    def __init__(self, config: Config, spec: InputSpec) -> None:
        super().__init__(config, spec)
        if not config.kernel % 2:
            raise InputError(f"kernel: expected an odd number of frames, found {config.kernel}")
        num_nodes = len(spec.layout)
        self.graph: Tensor
        self.register_buffer(
            "graph", torch.from_numpy(neighbour_graph(spec.layout, config.partition)), persistent=False
        )
        self.input_norm = BatchNorm(num_nodes * self.num_channels)
        widths = [self.num_channels, *(config.width * factor for factor in WIDTHS), config.embed_dim]
        self.blocks = nn.ModuleList(
            _Block(
                widths[k],
                widths[k + 1],
                num_nodes,
                kernel=config.kernel,
                stride=2 if k in HALVING else 1,
                is_residual=k > 0,
                dropout=config.dropout if k else 0.0,
            )
            for k in range(len(widths) - 1)
        )
        self.apply(_init)

    def embedding_dim(self, pooling: str = "mean") -> int:
        """Return E, the width of a clip's embedding."""
        self.check_pooling(pooling)
        if pooling == "mean":
            return self.config.embed_dim
        return (
            2 * len(self.spec.layout) * (sum(self.config.width * factor for factor in WIDTHS) + self.config.embed_dim)
        )

    def embed(self, batch: Batch, pooling: str = "mean") -> Float[Tensor, "B E"]:
        """Return one vector per clip, the mean over its persons.

        Args:
            batch: A preprocessed batch.
            pooling: "mean" over frames and joints of the last block (the papers), or "blocks": mean and standard
                deviation over the frames of each joint, of the output of every block.
        """
        self.check_pooling(pooling)
        self.check(batch)
        persons = PersonSequences.of(batch)
        layers = self.layers(persons.batch)
        if pooling == "mean":
            x, packing = layers[-1]
            pooled = packing.mean(x.mean(dim=1))
        else:
            pooled = torch.cat([packing.moments(x.flatten(1).float()) for x, packing in layers], dim=1)
        return persons.mean(pooled)

    def layers(self, batch: Batch) -> list[tuple[Float[Tensor, "F K D"], Packing]]:
        """Return the output of every block for a batch of one person per clip, and the frames of each clip in it."""
        x, packing = self.channels(batch)[:, 0], batch.packing  # (F, K, C)
        x = self.input_norm(x.flatten(1)).unflatten(1, x.shape[1:])
        layers = []
        for block in self.blocks:
            x, packing = block(x, packing, self.graph)
            layers.append((x, packing))
        return layers

    def layer_groups(self) -> Sequence[Sequence[nn.Module]]:
        """Return the norm of the input and each block."""
        return [[self.input_norm], *([block] for block in self.blocks)]


class _Block(nn.Module):
    """Graph convolution, then convolution over time, with a residual connection."""

    def __init__(
        self, inputs: int, outputs: int, num_nodes: int, *, kernel: int, stride: int, is_residual: bool, dropout: float
    ) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones(3, num_nodes, num_nodes))
        self.spatial = nn.Linear(inputs, 3 * outputs)
        self.spatial_norm = BatchNorm(outputs)
        self.temporal = FrameConvolution(outputs, outputs, kernel, stride)
        self.temporal_norm = BatchNorm(outputs)
        self.dropout = Dropout(dropout)
        self.is_residual = is_residual
        is_same = inputs == outputs and stride == 1
        self.project = None if is_same or not is_residual else FrameConvolution(inputs, outputs, 1, stride)
        self.project_norm = None if self.project is None else BatchNorm(outputs)

    def forward(
        self, x: Float[Tensor, "F K C"], packing: Packing, graph: Float[Tensor, "3 K K"]
    ) -> tuple[Float[Tensor, "G K D"], Packing]:
        """Return the output and the frames of each clip in it."""
        weights = (graph * self.importance).permute(2, 1, 0).flatten(1)  # (K, K * 3), to each joint from its neighbours
        y = weights.to(x.dtype) @ self.spatial(x).unflatten(2, (3, -1)).flatten(1, 2)
        y, shorter = self.temporal(self.spatial_norm(y).relu(), packing)
        y = self.dropout(self.temporal_norm(y))
        if self.project is not None and self.project_norm is not None:
            x = self.project_norm(self.project(x, packing)[0])
        return (y + x if self.is_residual else y).relu(), shorter


class FrameConvolution(nn.Module):
    """Convolution over the frames of each clip, with weights shared across joints and zeros beyond a clip's ends.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Number of frames, odd.
        stride: Distance of the frames that are kept.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "F K C"], packing: Packing) -> tuple[Float[Tensor, "G K D"], Packing]:
        """Return the convolved frames, every `stride`-th of each clip, and their number per clip."""
        kept = packing.divided(self.stride)
        margin = self.kernel // 2
        # All clips in one sequence, with zeros between them; each starts at a multiple of the stride.
        starts, num_kept = kept.apart(-(-margin // self.stride))
        line = x.new_zeros(num_kept * self.stride, *x.shape[1:])
        line = line.index_copy(0, (starts * self.stride)[packing.clip] + packing.time, packing.within(x))
        weight = self.weight.to(x.dtype)[..., None]
        y = conv2d(line.permute(2, 0, 1)[None], weight, self.bias.to(x.dtype), (self.stride, 1), (margin, 0))
        y = y[0].permute(1, 2, 0)  # (rows, K, D)
        return y[starts[kept.clip] + kept.time], kept


def neighbour_graph(layout: NodeLayout, partition: Partition) -> np.ndarray:
    """Return the normalised graph (3, K, K), entry [p, j, i] from joint j to joint i.

    The first matrix holds the joints themselves, the second their neighbours at the same or a larger distance from the
    centre than themselves, the third the neighbours that are closer to it. Neighbours of a joint without a node are
    neighbours of each other.

    Args:
        layout: Layout of the nodes.
        partition: See `STGCN.Config.partition`.

    Raises:
        InputError: If the layout has no skeleton.
    """
    skeleton = layout.skeleton
    if skeleton is None:
        raise InputError("STGCN builds its graph from the bones of a skeleton: expected a layout with one, found none")
    nodes = [skeleton.index(name) for name in layout.names]
    linked = skeleton.hops == 1
    for missing in set(range(skeleton.num_joints)) - set(nodes):
        linked |= np.outer(linked[missing], linked[missing])  # what it connected stays connected
    links = (linked[np.ix_(nodes, nodes)] | np.eye(len(nodes), dtype=bool)).astype(float)
    links /= links.sum(axis=0, keepdims=True)
    hops = skeleton.hops[skeleton.index(skeleton.centre)][nodes].astype(float)
    hops[hops < 0] = np.inf
    if partition == "released":
        hops[hops > 1] = np.inf
    nearer = hops[:, None] < hops[None]  # source j is closer to the centre than target i
    itself = np.eye(len(layout), dtype=bool)
    parts = [itself, ~itself & ~nearer, ~itself & nearer]
    return np.stack([links * part for part in parts]).astype(np.float32)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | FrameConvolution):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, BatchNorm):
        nn.init.normal_(module.weight, 1, 0.02)
