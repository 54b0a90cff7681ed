"""Fine-tuning: the whole encoder and a linear layer are trained on labels."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ulna.core import counted, one_of, torch_seed, within
from ulna.data import Augmentation, BatchPlan, ClipLoader
from ulna.data.subsets import label_subset
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.classifier import Classifier
from ulna.protocols.features import extract, extract_parts, widen
from ulna.protocols.head import MOMENTUM, Head, train_epoch
from ulna.protocols.outcome import SeedOutcome
from ulna.train.memory import kept_memory

Precision = Literal["32-true", "bf16-mixed"]
PROBE_RATE = 3e-3
TIMES_TO_LOOK = 5  # epochs at which the test part is looked at, for the curve and the oracle


class FineTune(Protocol):
    """Trains the whole encoder and a head on labels: AdamW, warm-up, cosine to zero, the last epoch counts.

    The head is one linear layer on standardised embeddings. `share` of each class's labels are used (GL-Transformer's
    semi-supervised protocol, section 4.3, at 0.05 and 0.1); which ones follows from the seed alone and is kept in the
    store. `pretrained` off starts from fresh weights of the same make. `layer_decay` multiplies the learning rate of
    each stage of the encoder as seen from the one after it (Clark et al. 2020). The head starts as a linear probe of
    `probe_epochs` epochs on the same labels, so that an untaught one does not spoil the encoder (Kumar et al. 2022).
    While it trains, embeddings are standardised by a moving mean and spread; when it is tested, about the mean of the
    training clips' embeddings without dropout and augmentation, which is another. `warmup` is the share of steps during
    which the learning rate rises. `steps` is a floor under the number of steps, so that few labels are trained on for
    longer. Training clips are changed anew in each epoch by `time`, `shear`, `turn`, `mirror`, `crop` and `rotate`
    (`Augmentation`), whatever they were changed by in pretraining. `readout` takes the place of the encoder's own.
    """

    def __init__(
        self,
        *,
        share: float = 1.0,
        pretrained: bool = True,
        epochs: int = 30,
        steps: int = 200,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        layer_decay: float = 0.8,
        probe_epochs: int = 100,
        warmup: float = 0.1,
        label_smoothing: float = 0.1,
        time: float = 0.1,
        shear: float = 0.3,
        turn: float = 0.0,
        mirror: float = 0.0,
        crop: float = 0.0,
        rotate: float = 0.0,
        precision: Precision = "bf16-mixed",
        readout: str | None = None,
    ) -> None:
        within("share", share, 0, 1, open_low=True)
        within("epochs", epochs, 1)
        within("batch_size", batch_size, 1)
        within("steps", steps, 0)
        within("probe_epochs", probe_epochs, 0)
        within("learning_rate", learning_rate, 0, open_low=True)
        within("weight_decay", weight_decay, 0)
        within("layer_decay", layer_decay, 0, 1, open_low=True)
        within("warmup", warmup, 0, 1)
        within("label_smoothing", label_smoothing, 0, 0.99)
        one_of("precision", precision, Precision)
        self.share, self.pretrained = share, pretrained
        self.epochs, self.steps, self.batch_size, self.probe_epochs = epochs, steps, batch_size, probe_epochs
        self.learning_rate, self.weight_decay, self.layer_decay = learning_rate, weight_decay, layer_decay
        self.warmup, self.label_smoothing, self.precision = warmup, label_smoothing, precision
        self.augmentation = Augmentation(time=time, shear=shear, mirror=mirror, turn=turn, crop=crop, rotate=rotate)
        self.variant, self.readout = f"{100 * share:g}pct" if share < 1 else "", readout

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, Classifier]]:
        ids = data.store.ids
        for seed in seeds:
            clips = label_subset(data.store, data.split, self.share, seed)
            known = [ids[clip] for clip in clips] if self.share < 1 else []
            with kept_memory(), torch.random.fork_rng():
                torch.manual_seed(torch_seed(seed, "classifier"))
                learner = _Learner(copy.deepcopy(encoder), form, replace(data, train=clips))
                predicted, curve = self._fit(learner, seed)
            best = max(curve, key=curve.__getitem__)
            outcome = SeedOutcome(seed, predicted, curve[best], best, list(curve.values()), labelled=known)
            yield outcome, learner.classifier()

    def _fit(self, learner: _Learner, seed: int) -> tuple[list[int], dict[int, float]]:
        """Train; gives the last epoch's predictions, and the accuracy at the epochs that were looked at."""
        plan = BatchPlan(len(learner.data.train), self.batch_size, seed)
        epochs = max(self.epochs, math.ceil(self.steps / plan.steps_per_epoch))
        looks = {round(epochs * (i + 1) / TIMES_TO_LOOK) for i in range(TIMES_TO_LOOK)}
        learner.probe(self.probe_epochs, seed)
        optimizer = self._optimizer(learner)
        curve: dict[int, float] = {}
        for epoch in range(1, epochs + 1):
            learner.encoder.train()
            for step in range((epoch - 1) * plan.steps_per_epoch, epoch * plan.steps_per_epoch):
                self._schedule(optimizer, (step + 0.5) / (epochs * plan.steps_per_epoch))
                torch.manual_seed(torch_seed(seed, "fine-tuning", step))
                with torch.autocast(learner.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                    logits, labels = learner.logits(plan, step, self.augmentation)
                    loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in looks:
                predicted = learner.predict()
                curve[epoch] = float(np.mean(np.array(predicted) == learner.data.test_labels))
        return predicted, curve

    def _optimizer(self, learner: _Learner) -> torch.optim.AdamW:
        """One group of parameters a stage; `rate` is the share of the learning rate that it gets."""
        stages = [*learner.encoder.stages(), (learner.head,)]
        seen: set[int] = set()
        groups = []
        for depth, stage in enumerate(stages):
            own = [p for module in stage for p in module.parameters() if id(p) not in seen]
            seen |= {id(p) for p in own}  # what stages share belongs to the first
            groups.append({"params": own, "rate": self.layer_decay ** (len(stages) - 1 - depth)})
        return torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay)

    def _schedule(self, optimizer: torch.optim.Optimizer, done: float) -> None:
        rising = done / self.warmup if done < self.warmup else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * max(0.0, done - self.warmup) / max(1e-9, 1 - self.warmup)))
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * group["rate"] * rising * falling


class _Learner:
    """An encoder and a head, and the clips that they learn from and are tested on."""

    def __init__(self, encoder: Encoder, form: InputForm, data: Labelled) -> None:
        self.encoder, self.form, self.data = encoder, form, data
        self.device = next(encoder.parameters()).device
        self.head = Head(encoder.embedding_width, len(data.store.classes))
        self.load = ClipLoader(data.store, max_frames=form.crop, device=self.device)

    def probe(self, epochs: int, seed: int) -> None:
        """Give the head a start: the spread of the frozen encoder's embeddings, and a linear probe on them."""
        features = extract(self.encoder, self.form, self.data.store, self.data.train)
        self.head.see(features)
        labels = torch.from_numpy(self.data.train_labels)
        scaled, optimizer = self.head.scaled(features), torch.optim.Adam(self.head.layer.parameters(), PROBE_RATE)
        for epoch in range(epochs):
            train_epoch(self.head.layer, optimizer, scaled, labels, counted(seed, "probe order", epoch))
        self.head.to(self.device)

    def logits(self, plan: BatchPlan, step: int, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Class scores and labels of a batch of training clips, changed as its step draws it."""
        clips = plan.clips(step)
        with torch.autocast(self.device.type, enabled=False):  # centimetres need every bit
            batch = self.form(widen(self.load(self.data.train[clips]), self.encoder.num_persons))
            draw = Augmentation.draw(plan.generator(step), len(clips))
            batch = augmentation(batch, draw, max_frames=self.form.max_frames)
        features = self.encoder.embed(batch).float()
        with torch.autocast(self.device.type, enabled=False):
            self.head.see(features, MOMENTUM)
            return self.head(features), batch.label

    @torch.no_grad()
    def predict(self) -> list[int]:
        train, features = extract_parts(self.encoder, self.form, self.data, standardise=False)
        self.head.mean.copy_(train.mean(dim=0))
        return self.head(features.to(self.device)).argmax(dim=1).tolist()

    def classifier(self) -> Classifier:
        weights = {name: value.detach().cpu() for name, value in self.encoder.state_dict().items()}
        store = self.data.store
        return Classifier(*self.head.folded(), store.classes, self.data.split, store.fingerprint, weights)


few_labels = functools.partial(FineTune, share=0.05)
scratch = functools.partial(FineTune, pretrained=False)
