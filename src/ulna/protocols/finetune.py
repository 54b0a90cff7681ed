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
from torch import Tensor, nn

from ulna.core import counted, one_of, torch_seed, within
from ulna.data import Augmentation, BatchPlan, ClipLoader
from ulna.data.subsets import label_subset
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.classifier import Classifier
from ulna.protocols.features import extract, widen
from ulna.protocols.head import MOMENTUM, Head, train_epoch
from ulna.protocols.outcome import SeedOutcome
from ulna.train.memory import kept_memory

Precision = Literal["32-true", "bf16-mixed"]
PROBE_LEARNING_RATE = 3e-3
TIMES_TO_LOOK = 10  # epochs at which the test part is looked at, for the curve and the oracle


class FineTune(Protocol):
    """Trains the whole encoder and a head on labels: AdamW, warm-up, cosine to zero, the last epoch counts.

    The head is one linear layer on standardised embeddings. `share` of each class's labels are used (GL-Transformer's
    semi-supervised protocol, section 4.3, at 0.05 and 0.1); which ones follows from the seed alone and is kept in the
    store. `pretrained` off starts from fresh weights of the same make. `layer_decay` multiplies the learning rate of
    each stage of the encoder as seen from the one after it (Clark et al. 2020). The head starts as a linear probe of
    `probe_epochs` epochs on the same labels, so that an untaught one does not spoil the encoder (Kumar et al. 2022).
    `warmup` is the share of steps during which the learning rate rises. `steps` is a floor under the number of steps,
    so that few labels are trained on for longer. Training clips are changed anew in each epoch as in pretraining, by
    `time` and `shear`.
    """

    def __init__(
        self,
        *,
        share: float = 1.0,
        pretrained: bool = True,
        epochs: int = 50,
        steps: int = 400,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        layer_decay: float = 0.8,
        probe_epochs: int = 100,
        warmup: float = 0.1,
        label_smoothing: float = 0.1,
        time: float = 0.1,
        shear: float = 0.3,
        precision: Precision = "bf16-mixed",
    ) -> None:
        within("share", share, 0, 1, open_low=True)
        for name, value in {"epochs": epochs, "batch_size": batch_size}.items():
            within(name, value, 1)
        within("steps", steps, 0)
        within("probe_epochs", probe_epochs, 0)
        within("learning_rate", learning_rate, 0, open_low=True)
        within("weight_decay", weight_decay, 0)
        within("layer_decay", layer_decay, 0, 1, open_low=True)
        within("warmup", warmup, 0, 1)
        within("label_smoothing", label_smoothing, 0, 0.99)
        one_of("precision", precision, Precision)
        self.share, self.pretrained, self.epochs, self.steps, self.batch_size = (
            share, pretrained, epochs, steps, batch_size,
        )  # fmt: skip
        self.learning_rate, self.weight_decay, self.layer_decay = learning_rate, weight_decay, layer_decay
        self.probe_epochs = probe_epochs
        self.warmup, self.label_smoothing, self.precision = warmup, label_smoothing, precision
        self.augmentation = Augmentation(time=time, shear=shear)
        self.variant = f"{100 * share:g}pct" if share < 1 else ""

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, Classifier]]:
        ids = data.store.ids
        for seed in seeds:
            clips = label_subset(data.store, data.split, self.share, seed)
            known = [ids[clip] for clip in clips] if self.share < 1 else []
            with kept_memory():
                judged = self._fit(copy.deepcopy(encoder), form, replace(data, train=clips), seed, known)
            yield judged

    def _fit(
        self, encoder: Encoder, form: InputForm, data: Labelled, seed: int, known: list[str]
    ) -> tuple[SeedOutcome, Classifier]:
        device = next(encoder.parameters()).device
        plan = BatchPlan(len(data.train), self.batch_size, seed)
        epochs = max(self.epochs, math.ceil(self.steps / plan.steps_per_epoch))
        looks = {round(epochs * (i + 1) / TIMES_TO_LOOK) for i in range(TIMES_TO_LOOK)}
        curve: dict[int, float] = {}
        with torch.random.fork_rng():
            torch.manual_seed(torch_seed(seed, "classifier"))
            head = self._first_head(encoder, form, data, seed).to(device)
            optimizer = self._optimizer(encoder, head)
            load = ClipLoader(data.store, max_frames=form.crop, device=device)
            for epoch in range(1, epochs + 1):
                encoder.train()
                for step in range((epoch - 1) * plan.steps_per_epoch, epoch * plan.steps_per_epoch):
                    self._schedule(optimizer, (step + 0.5) / (epochs * plan.steps_per_epoch))
                    torch.manual_seed(torch_seed(seed, "fine-tuning", step))
                    loss = self._loss(encoder, head, form, load, data, plan, step)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                if epoch in looks:
                    features = extract(encoder, form, data.store, data.test)
                    with torch.no_grad():
                        predicted = head(features.to(device)).argmax(dim=1).tolist()
                    curve[epoch] = float(np.mean(np.array(predicted) == data.test_labels))
        best = max(curve, key=curve.__getitem__)
        outcome = SeedOutcome(seed, predicted, curve[best], best, list(curve.values()), labelled=known)
        weights = {name: value.detach().cpu() for name, value in encoder.state_dict().items()}
        return outcome, Classifier(*head.folded(), data.store.classes, data.split, weights)

    def _first_head(self, encoder: Encoder, form: InputForm, data: Labelled, seed: int) -> Head:
        features, labels = extract(encoder, form, data.store, data.train), torch.from_numpy(data.train_labels)
        head = Head(encoder.embedding_width, len(data.store.classes))
        head.see(features)
        probe = torch.optim.Adam(head.layer.parameters(), PROBE_LEARNING_RATE)
        scaled = head.scaled(features)
        for epoch in range(self.probe_epochs):
            train_epoch(head.layer, probe, scaled, labels, counted(seed, "probe order", epoch))
        return head

    def _optimizer(self, encoder: Encoder, head: Head) -> torch.optim.AdamW:
        """One group of parameters a stage; `rate` is the share of the learning rate that it gets."""
        stages = [*encoder.stages(), (head,)]
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

    def _loss(
        self,
        encoder: Encoder,
        head: Head,
        form: InputForm,
        load: ClipLoader,
        data: Labelled,
        plan: BatchPlan,
        step: int,
    ) -> Tensor:
        clips = plan.clips(step)
        batch = form(widen(load(data.train[clips]), encoder.num_persons))
        draw = Augmentation.draw(plan.generator(step), len(clips))
        batch = self.augmentation(batch, draw, max_frames=form.max_frames)
        with torch.autocast(batch.position.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            features = encoder.embed(batch)
        head.see(features, MOMENTUM)
        return nn.functional.cross_entropy(head(features), batch.label, label_smoothing=self.label_smoothing)


few_labels = functools.partial(FineTune, share=0.05)
scratch = functools.partial(FineTune, pretrained=False)
