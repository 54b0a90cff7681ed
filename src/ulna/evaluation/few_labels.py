"""Base class of the protocols that train on labels, all of them or few."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, JsonValue

from ulna.core import Count, InputError
from ulna.dataset import label_subset
from ulna.evaluation.protocol import LabelledSplit, Protocol


class FewLabels(Protocol):
    """A protocol that trains on a share of the labels, or on a number of them per class."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each class's labels that is used. Which clips depends on the seed only."""
    per_class: Count | None = None
    """Number of labelled clips of each class, instead of a share."""

    def model_post_init(self, context: Any) -> None:  # noqa: ARG002
        """Refuse a share beside a number."""
        if self.per_class is not None and self.share < 1:
            raise InputError(f"expected share or per_class, found share {self.share:g} and per_class {self.per_class}")

    @property
    def variant(self) -> str:
        """Share or number of the labels."""
        return self.amount_name

    @property
    def amount_name(self) -> str:
        """Share or number of the labels; empty for all."""
        if self.per_class is not None:
            return f"{self.per_class}-per-class"
        return f"{100 * self.share:g}pct" if self.share < 1 else ""

    @property
    def amount(self) -> dict[str, JsonValue]:
        """The option that limits the labels; empty if all are used."""
        if self.per_class is not None:
            return {"per_class": self.per_class}
        return {"share": self.share} if self.share < 1 else {}

    def labelled(self, data: LabelledSplit, seed: int, *, keep: bool = False) -> np.ndarray:
        """Return the training clips (N,) whose labels are used.

        Args:
            data: Labelled training and test clips.
            seed: Seed of the draw.
            keep: Keep the draw in the dataset.
        """
        drawn = label_subset(data.dataset, data.split, self.share, seed, per_class=self.per_class, keep=keep)
        return drawn[np.isin(drawn, data.train)]
