"""Monitoring without labels: the effective rank of embeddings while an encoder is pretrained, and an online k-NN."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulna.core import InputError, UlnaWarning, new_file, spread_evenly
from ulna.dataset import Dataset
from ulna.models import Embedder
from ulna.models.standardisation import standardisation

MOST_CLIPS = 512  # that are embedded for the effective rank
LOWEST_RANK = 2.0  # below which a warning says that features collapsed
FEWEST_CLIPS = 100  # for that warning
NEIGHBOURS = 5


def effective_rank(embeddings: Float[Tensor, "B E"]) -> float:
    """Return the effective rank of embeddings: RankMe (Garrido et al., ICML 2023, arXiv 2210.02885), equation 1.

    It is the exponential of the entropy of the singular values, between 1 and the smaller of B and E. Unlike in the
    paper, the mean is subtracted, which would count as one direction.

    Args:
        embeddings: (B, E) embeddings, at least two.
    """
    values = torch.linalg.svdvals((embeddings - embeddings.mean(dim=0)).double())
    shares = values / values.sum().clamp(min=1e-12) + 1e-12
    return float(torch.exp(-(shares * shares.log()).sum()))


def nearest_neighbours_accuracy(
    train: Float[Tensor, "B E"], test: Float[Tensor, "b E"], train_labels: np.ndarray, test_labels: np.ndarray
) -> float:
    """Return the share of clips whose nearest neighbours by cosine similarity have mostly the right label.

    Args:
        train: (B, E) embeddings of the neighbours.
        test: (b, E) embeddings of the clips.
        train_labels: (B,) class indices.
        test_labels: (b,) class indices.
    """
    mean, sd = standardisation(train)
    one, two = (torch.nn.functional.normalize((values - mean) / sd, dim=1) for values in (test, train))
    nearest = (one @ two.T).topk(min(NEIGHBOURS, len(train)), dim=1).indices.numpy()
    votes = np.eye(int(train_labels.max()) + 1)[train_labels[nearest]].sum(axis=1)
    return float((votes.argmax(axis=1) == test_labels).mean())


class EmbeddingMonitor(L.Callback):
    """Writes the effective rank of some clips' embeddings to a file, and the accuracy of an online k-NN.

    It warns once if the embeddings collapse to a few directions. Neither changes the training.

    Args:
        path: File to write; rows of an interrupted run are kept.
        embedder: The encoder that is trained, with its preprocessor and pooling.
        dataset: Dataset of the clips.
        clips: (B,) indices of the clips; at most `MOST_CLIPS` are used.
        every: Epochs between measurements; the last epoch is always measured.
        labelled: A dataset with labels and one of its splits, for the online k-NN.
    """

    def __init__(
        self,
        path: Path,
        embedder: Embedder,
        dataset: Dataset,
        clips: np.ndarray,
        *,
        every: int,
        labelled: tuple[Dataset, str] | None = None,
    ) -> None:
        self.path, self.embedder, self.dataset, self.every = path, embedder, dataset, every
        self.clips = clips[spread_evenly(len(clips), MOST_CLIPS)]
        self.labelled = labelled
        self.rows: list[dict[str, Any]] = []
        self._has_warned = False
        if labelled is not None:
            own, split = labelled
            train, test = own.split(split)
            self.train, self.test = (part[own.labels[part] >= 0] for part in (train, test))
            if not len(self.train) or not len(self.test):
                raise InputError(f"{own.path}: expected labelled clips in both parts of split {split!r}, found none")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or (epoch % self.every and epoch != trainer.max_epochs):
            return
        was_training = pl_module.training
        measured = self.measure()
        pl_module.train(was_training)
        if not measured:  # the weights are not finite, which stops the training with a message of its own
            return
        row = {"epoch": epoch, "step": trainer.global_step, **measured}
        self.rows.append(row)
        with new_file(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(row), lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        for logger in trainer.loggers:
            logger.log_metrics(measured, trainer.global_step)

    def measure(self) -> dict[str, float]:
        """Return the effective rank and, if there are labels, the accuracy of the k-NN.

        Returns nothing if embeddings are not finite.
        """
        embeddings = self.embedder.embed_dataset(self.dataset, self.clips)
        if not embeddings.isfinite().all():
            return {}
        found = {"effective_rank": round(effective_rank(embeddings), 3)}
        is_low = found["effective_rank"] < LOWEST_RANK and len(self.clips) >= FEWEST_CLIPS
        if is_low and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the embeddings collapse: their effective rank is {found['effective_rank']:.1f}, expected at least "
                f"{LOWEST_RANK:g}. Lower the learning rate, or the weight of terms that pull views together.",
                UlnaWarning,
                stacklevel=2,
            )
        if self.labelled is not None:
            own, _ = self.labelled
            train, test = (self.embedder.embed_dataset(own, part) for part in (self.train, self.test))
            accuracy = nearest_neighbours_accuracy(train, test, own.labels[self.train], own.labels[self.test])
            found["knn"] = round(accuracy, 4)
        return found
