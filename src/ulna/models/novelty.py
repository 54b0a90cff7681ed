"""Novelty: how far a clip is from every clip that a classifier was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import InputError, spread_evenly
from ulna.models.standardisation import standardisation

MOST_DIRECTIONS = 64
MOST_KNOWN = 2000


@dataclass(frozen=True)
class Novelty:
    """Distance of embeddings to the nearest training clip, calibrated by training clips that were held out.

    The distance is one less the cosine similarity of standardised embeddings, of which the principal directions of the
    training clips are kept; what lies outside of them makes a clip unlike all training clips. Which distances are
    normal is known from the training clips themselves, compared with those of other groups (a conformal threshold).

    Args:
        mean: (E,) mean of the training clips.
        sd: (E,) standard deviation of the training clips.
        directions: (E, R) principal directions.
        known: (N, R) training clips of unit length, projected.
        held_out: (M,) distances of training clips to the nearest one of another group, in ascending order.
    """

    mean: Float[Tensor, " E"]
    sd: Float[Tensor, " E"]
    directions: Float[Tensor, "E R"]
    known: Float[Tensor, "N R"]
    held_out: Float[Tensor, " M"]

    @classmethod
    def of(cls, embeddings: Float[Tensor, "N E"], groups: np.ndarray | None = None) -> Novelty:
        """Return the novelty measure of training clips.

        Args:
            embeddings: Embeddings of at least two clips; of more than 2,000, some are used.
            groups: (N,) what clips of one group share, such as the person; every clip is a group by default, and where
                all clips are of one group.
        """
        chosen = np.array(spread_evenly(len(embeddings), MOST_KNOWN))
        embeddings = embeddings[chosen]
        groups = np.arange(len(chosen)) if groups is None else groups[chosen]
        if len(np.unique(groups)) < 2:
            groups = np.arange(len(chosen))
        mean, sd = standardisation(embeddings)
        rows = (embeddings - mean) / sd
        values, vectors = torch.linalg.eigh(
            (rows @ rows.T).double()
        )  # of clips, of which there are fewer than features
        kept = values > 1e-9 * values[-1].clamp(min=1e-12)
        kept[:-MOST_DIRECTIONS] = False
        directions = (rows.T.double() @ vectors[:, kept] / values[kept].sqrt()).float()
        known = normalize(rows, dim=1) @ directions
        similarity = known @ known.T
        similarity[torch.from_numpy(groups[:, None] == groups)] = -1.0
        held_out = (1 - similarity.amax(dim=1)).sort().values
        return cls(mean, sd, directions, known, held_out)

    def distance(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, " B"]:
        """Return the distance to the nearest training clip, 0 to 2."""
        rows = normalize((embeddings - self.mean) / self.sd, dim=1) @ self.directions
        return torch.cat([1 - (part @ self.known.T).amax(dim=1) for part in rows.split(4096)])

    def __call__(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, " B"]:
        """Return the share of held-out training clips that are nearer, 0 to 1.

        Of clips like the training clips, at most a share a has a novelty above 1 - a.
        """
        nearer = torch.searchsorted(self.held_out, self.distance(embeddings).contiguous())
        return nearer.float() / (len(self.held_out) + 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the measure as tensors by name; directions and clips in half precision."""
        return {
            "mean": self.mean,
            "sd": self.sd,
            "directions": self.directions.half(),
            "known": self.known.half(),
            "held_out": self.held_out,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Novelty:
        """Return the measure of tensors that `tensors` returned; raises InputError if they do not fit."""
        try:
            found = cls(**{name: tensor.float() for name, tensor in tensors.items()})
        except TypeError:
            raise InputError(f"expected the tensors of a novelty measure, found {', '.join(sorted(tensors))}") from None
        width, rank = found.directions.shape if found.directions.ndim == 2 else (0, 0)
        fits = (
            found.mean.shape == found.sd.shape == (width,)
            and found.known.ndim == 2
            and found.known.shape[1] == rank
            and found.held_out.ndim == 1
            and len(found.known)
            and len(found.held_out)
            and bool((found.held_out.diff() >= 0).all())
        )
        if not fits:
            raise InputError("expected a novelty measure of fitting shapes, found others")
        return found
