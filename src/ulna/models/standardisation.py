"""Standardisation of features."""

from __future__ import annotations

import torch
from torch import Tensor


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (E,) of features; constant features get a standard deviation of 1."""
    sd = features.std(dim=0, unbiased=False)
    return features.mean(dim=0), torch.where(sd > 1e-8, sd, 1.0)
