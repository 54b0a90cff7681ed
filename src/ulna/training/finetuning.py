"""Fine-tuning: an encoder and a linear head trained on labels, on the trainer that pretrains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ulna.batch import Augmentation, Batch, BatchPlan
from ulna.core import random_stream
from ulna.dataset import Dataset
from ulna.encoders.pooling import embed_clips
from ulna.models import Embedder
from ulna.nn.all_gather import all_rows
from ulna.training.checkpoints import last_checkpoint
from ulna.training.clips import TrainingClips
from ulna.training.metrics_logger import MetricsLogger
from ulna.training.planned import PlannedBatches, PlannedModule
from ulna.training.trainer import Hardware, TrainingOptions, train

MOMENTUM = 0.1
PROBE_LEARNING_RATE = 3e-3


class Head(nn.Module):
    """A linear layer on standardised embeddings.

    Args:
        dim: E, the width of an embedding.
        num_classes: L, the number of classes.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, num_classes)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def update(self, features: Float[Tensor, "B E"], momentum: float = 1.0) -> None:
        """Move mean and variance towards those of some embeddings; with momentum 1 take them."""
        features = features.detach().float()
        mean, variance = features.mean(dim=0), features.var(dim=0, unbiased=False)
        between = momentum * (1 - momentum) * (mean - self.mean) ** 2
        self.variance.lerp_(variance, momentum).add_(between)
        self.mean.lerp_(mean, momentum)

    @property
    def sd(self) -> Float[Tensor, " E"]:
        """Standard deviation of the embeddings; 1 for constant ones."""
        sd = self.variance.sqrt()
        return torch.where(sd > 1e-8, sd, 1.0)

    def standardised(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        """Return standardised embeddings."""
        return (features.float() - self.mean) / self.sd

    def forward(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B L"]:
        """Return the logits of embeddings."""
        return self.layer(self.standardised(features))

    def folded(self) -> tuple[Float[Tensor, "L E"], Float[Tensor, " L"]]:
        """Return weight and bias that give the same logits for embeddings that are not standardised."""
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
    """Train a layer for one epoch, in an order that a generator draws; the last batch may be smaller."""
    order = torch.from_numpy(generator.permutation(len(features)))
    for part in order.split(batch_size):
        optimizer.zero_grad()
        cross_entropy(layer(features[part]), labels[part]).backward()
        optimizer.step()


@dataclass(frozen=True)
class FineTuneOptions:
    """How an encoder is fine-tuned; see the protocol `FineTune` for the meaning of the fields."""

    epochs: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    layer_decay: float
    probe_epochs: int
    warmup: float
    label_smoothing: float
    precision: str
    tests: int
    augmentation: Augmentation


class FineTuning(PlannedModule):
    """Trains an encoder and a head on labelled clips; all layers of the encoder, each group at its own rate.

    Args:
        embedder: The encoder to train, with its preprocessor and pooling.
        head: The head.
        dataset: The dataset.
        train_clips: Indices of the labelled training clips.
        test_clips: Indices of the test clips, which are predicted now and then but choose nothing.
        options: How to train.
        seed: Seed of order, augmentation and dropout.
    """

    def __init__(
        self,
        embedder: Embedder,
        head: Head,
        dataset: Dataset,
        train_clips: np.ndarray,
        test_clips: np.ndarray,
        options: FineTuneOptions,
        seed: int,
    ) -> None:
        plan = BatchPlan(len(train_clips), options.batch_size, seed)
        super().__init__(plan, embedder.preprocessor, options.augmentation, "fine-tuning")
        self.encoder, self.head, self.options = embedder.encoder, head, options
        self.embedder, self.dataset = embedder, dataset
        self.train_clips, self.test_clips = train_clips, test_clips
        self.epochs = max(options.epochs, math.ceil(options.steps / plan.steps_per_epoch))
        self.test_epochs = {max(1, round(self.epochs * (i + 1) / options.tests)) for i in range(options.tests)}
        self.curve: dict[int, float] = {}
        self.predictions: list[int] = []

    def probe(self, seed: int) -> None:
        """Start the head as a linear probe on the frozen encoder's embeddings."""
        features = self.embedder.embed_dataset(self.dataset, self.train_clips)
        self.head.update(features)
        labels = torch.from_numpy(self.dataset.labels[self.train_clips])
        scaled = self.head.standardised(features)
        optimizer = torch.optim.Adam(self.head.layer.parameters(), PROBE_LEARNING_RATE)
        for epoch in range(self.options.probe_epochs):
            train_epoch(self.head.layer, optimizer, scaled, labels, random_stream(seed, "probe order", epoch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with one group of parameters per layer group; `rate` is its share of the learning rate."""
        groups = [*self.encoder.layer_groups(), (self.head,)]
        seen: set[int] = set()
        parameters = []
        for depth, group in enumerate(groups):
            own = [p for module in group for p in module.parameters() if id(p) not in seen]
            seen |= {id(p) for p in own}  # parameters that groups share belong to the first
            parameters.append({"params": own, "rate": self.options.layer_decay ** (len(groups) - 1 - depth)})
        return torch.optim.AdamW(
            parameters, lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )  # fmt: skip

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Set the learning rates: linear warm-up, then cosine to zero."""
        done = (self.global_step + 0.5) / (self.epochs * self.plan.steps_per_epoch)
        warmup = self.options.warmup
        rising = done / warmup if done < warmup else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * max(0.0, done - warmup) / max(1e-9, 1 - warmup)))
        optimizer = self.optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            group["lr"] = self.options.learning_rate * group["rate"] * rising * falling

    def batch_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each clip."""
        features = embed_clips(self.encoder, batch, self.embedder.pooling).float()
        with torch.autocast(self.device.type, enabled=False):
            own = features.detach() if self._counts(self.global_step) else features.detach()[:0]
            self.head.update(all_rows(own)[0], MOMENTUM)
            logits = self.head(features)
        smoothing = self.options.label_smoothing
        return {"cross_entropy": cross_entropy(logits, batch.label, label_smoothing=smoothing, reduction="none")}

    def blank(self, batch: Batch) -> Batch:
        """Return the batch unchanged: it does not count."""
        return replace(batch)

    def on_train_epoch_end(self) -> None:
        """Predict the test clips after some epochs and after the last."""
        epoch = self.current_epoch + 1
        if epoch in self.test_epochs:
            self.predictions = self.predict()
            self.curve[epoch] = float(np.mean(np.array(self.predictions) == self.dataset.labels[self.test_clips]))

    @torch.no_grad()
    def predict(self) -> list[int]:
        """Return the class of each test clip; the head's mean is that of the training clips without dropout."""
        train_features = self.embedder.embed_dataset(self.dataset, self.train_clips)
        test_features = self.embedder.embed_dataset(self.dataset, self.test_clips)
        self.head.mean.copy_(train_features.mean(dim=0))
        return self.head(test_features.to(self.device)).argmax(dim=1).tolist()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep curve and predictions, so that a resumed run has them."""
        checkpoint["curve"], checkpoint["predictions"] = dict(self.curve), list(self.predictions)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore curve and predictions."""
        self.curve, self.predictions = dict(checkpoint["curve"]), list(checkpoint["predictions"])


def finetune(
    module: FineTuning, *, work: Path | None = None, hardware: Hardware | None = None, seed: int = 0
) -> FineTuning:
    """Fine-tune and return the module.

    Args:
        module: The module.
        work: Folder for checkpoints, from which an interrupted run is continued; None writes nothing.
        hardware: Devices; the encoder's own by default.
        seed: Seed of the probe.
    """
    checkpoint = None if work is None else last_checkpoint(work)
    if checkpoint is None:
        module.probe(seed)
    device = module.embedder.device
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    module.train()  # Lightning keeps the mode it finds
    train(
        module,
        PlannedBatches(TrainingClips.of(module.dataset, module.train_clips), module),
        TrainingOptions(epochs=module.epochs, precision=module.options.precision),
        work=work,
        metrics=None if work is None else MetricsLogger(work / "metrics.csv"),
        checkpoint=checkpoint,
        hardware=hardware or Hardware(device=device.type),
    )
    module.to(device)
    return module
