"""Batch norm over the rows of all processes, so that one device and several take the same step."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over all rows (..., C) of the global batch.

    Args:
        num_features: C, the number of channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        rows = x.flatten(0, -2)
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not self.training or not several:
            return super().forward(rows).view(x.shape)
        return self._over_processes(rows).view(x.shape)

    def _over_processes(self, rows: Tensor) -> Tensor:
        from torch.distributed.nn.functional import all_reduce

        rows = rows.float()
        own = torch.cat([rows.sum(dim=0), rows.pow(2).sum(dim=0), rows.new_full((1,), len(rows))])
        total = all_reduce(own)
        mean, square = (total[:-1] / total[-1]).chunk(2)
        variance = (square - mean**2).clamp(min=0)
        with torch.no_grad():
            momentum, count = self.momentum or 0.0, total[-1]
            self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)  # type: ignore[union-attr]
        return (rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
