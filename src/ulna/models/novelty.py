"""Novelty: how far a clip is from every clip that a classifier was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ulna.core import InputError, random_stream, spread_evenly
from ulna.models.standardisation import principal_directions, standardisation

MOST_DIRECTIONS = 64
MOST_KNOWN = 2000
MOST_FITTED = 1000  # clips that the directions are computed from
MOST_FOLDS = 5


@dataclass(frozen=True)
class Novelty:
    """Distance of embeddings to the nearest training clip, calibrated by training clips that were held out.

    The distance is one less the cosine similarity of standardised embeddings, of which the principal directions of the
    training clips are kept; any other part of an embedding makes it less similar to all training clips. Which distances
    are normal is measured on training clips that are held out by groups (cross-conformal thresholds).

    Args:
        mean: (E,) mean of the training clips.
        sd: (E,) standard deviation of the training clips.
        directions: (E, R) principal directions.
        known: (N, R) training clips of unit length, projected.
        held_out: (M,) distances of held-out training clips to the nearest of the others, in ascending order.
    """

    mean: Float[Tensor, " E"]
    sd: Float[Tensor, " E"]
    directions: Float[Tensor, "E R"]
    known: Float[Tensor, "N R"]
    held_out: Float[Tensor, " M"]

    @classmethod
    def of(cls, embeddings: Float[Tensor, "N E"], groups: np.ndarray) -> Novelty | None:
        """Return the novelty measure of training clips; None if they are of one group, or of as few as three clips.

        The distances that are normal are measured for one part of the groups after another, by the clips of the others.

        Args:
            embeddings: Embeddings of the clips; of more than 2,000, some are used.
            groups: (N,) what clips have in common that belong together, such as the person or the recording.
        """
        chosen = spread_evenly(len(embeddings), MOST_KNOWN)
        embeddings, groups = embeddings[chosen], np.unique(groups[chosen], return_inverse=True)[1]
        num = int(groups.max()) + 1
        if num < 2 or len(groups) < 4:
            return None
        fold = torch.from_numpy(random_stream(0, "novelty").permutation(num)[groups] % min(num, MOST_FOLDS))
        held_out = []
        for part in range(min(num, MOST_FOLDS)):
            is_own = fold == part
            others = cls._fitted(embeddings[~is_own], embeddings.new_zeros(1))
            held_out.append(others.distance(embeddings[is_own]))
        return cls._fitted(embeddings, torch.cat(held_out).sort().values)

    @classmethod
    def _fitted(cls, embeddings: Float[Tensor, "N E"], held_out: Float[Tensor, " M"]) -> Novelty:
        mean, sd = standardisation(embeddings)
        rows = (embeddings - mean) / sd
        directions = principal_directions(rows[spread_evenly(len(rows), MOST_FITTED)], MOST_DIRECTIONS)
        return cls(mean, sd, directions, normalize(rows, dim=1) @ directions, held_out)

    def distance(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, " B"]:
        """Return the distance to the nearest training clip, 0 to 2."""
        rows = normalize((embeddings - self.mean) / self.sd, dim=1) @ self.directions
        return torch.cat([1 - (part @ self.known.T).amax(dim=1) for part in rows.split(4096)])

    def __call__(self, embeddings: Float[Tensor, "B E"]) -> Float[Tensor, " B"]:
        """Return the share of held-out training clips that are nearer, 0 to 1.

        Of clips like the training clips, about a share a has a novelty above 1 - a.
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
