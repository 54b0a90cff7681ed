"""Standardisation of features, and their principal directions."""

from __future__ import annotations

import torch
from torch import Tensor


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (E,) of features; constant features get a standard deviation of 1."""
    sd = features.std(dim=0, unbiased=False)
    return features.mean(dim=0), torch.where(sd > 1e-8, sd, 1.0)


def principal_directions(rows: Tensor, most: int) -> Tensor:
    """Return the orthonormal directions (E, R) of the largest variance of standardised features.

    Args:
        rows: (N, E) standardised features of fewer clips than there are features, or about as many.
        most: Largest number of directions; those without variance are left out.
    """
    rows = rows.double()
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = values > 1e-9 * values[-1].clamp(min=1e-12)
    kept[:-most] = False
    return (rows.T @ vectors[:, kept] / values[kept].sqrt()).float()
