"""The head of a classifier: embeddings are standardised, then one linear layer."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

MOMENTUM = 0.1


class Head(nn.Module):
    """One linear layer on embeddings (B, E) that are scaled by the mean and spread of those it has seen."""

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, num_classes)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def see(self, features: Float[Tensor, "B E"], share: float = 1.0) -> None:
        """Take mean and spread from embeddings, or move them there by a share."""
        features = features.detach().float()
        mean, variance = features.mean(dim=0), features.var(dim=0, unbiased=False)
        between = share * (1 - share) * (mean - self.mean) ** 2
        self.variance.lerp_(variance, share).add_(between)
        self.mean.lerp_(mean, share)

    @property
    def sd(self) -> Float[Tensor, " E"]:
        """A feature that never changes is left as it is."""
        sd = self.variance.sqrt()
        return torch.where(sd > 1e-8, sd, 1.0)

    def scaled(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        return (features.float() - self.mean) / self.sd

    def forward(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B L"]:
        return self.layer(self.scaled(features))

    def folded(self) -> tuple[Float[Tensor, "L E"], Float[Tensor, " L"]]:
        """Weight and bias that do to plain embeddings what this does."""
        weight = (self.layer.weight / self.sd).detach()
        return weight.cpu(), (self.layer.bias - weight @ self.mean).detach().cpu()


def train_epoch(
    layer: nn.Linear,
    optimizer: torch.optim.Optimizer,
    features: Float[Tensor, "B E"],
    labels: Int[Tensor, " B"],
    generator: np.random.Generator,
    *,
    batch_size: int = 1024,
) -> None:
    """Once over all clips in the order that a generator draws; the last batch may be smaller."""
    order = torch.from_numpy(generator.permutation(len(features)))
    for part in order.split(batch_size):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(features[part]), labels[part]).backward()
        optimizer.step()
