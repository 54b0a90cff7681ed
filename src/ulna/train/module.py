"""The Lightning module: one training step, from raw batch to loss."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ulna.core import torch_seed
from ulna.data import Augmentation, Batch, BatchPlan, ClipLoader, Store
from ulna.inputs import InputForm
from ulna.pretext import Pretext
from ulna.train.checkpoint import NonFinite
from ulna.train.recipe import Recipe

STEPS_TO_LOOK = 50  # an accelerator is asked only now and then whether the loss is finite: asking waits for it


class Pretraining(L.LightningModule):
    """Trains a pretext task; everything random in step s follows from (seed, s)."""

    def __init__(self, recipe: Recipe, form: InputForm, pretext: Pretext, plan: BatchPlan) -> None:
        super().__init__()
        self.recipe, self.form, self.pretext, self.plan = recipe, form, pretext, plan
        self._first_bad: Tensor | None = None

    def configure_optimizers(self) -> Any:
        training = self.recipe.training
        learning = [own for own in self.pretext.parameters() if own.requires_grad]
        vectors = [own for own in learning if own.ndim < 2 and not training.decay_vectors]
        kept = {id(own) for own in vectors}
        groups: list[dict[str, Any]] = [{"params": [own for own in learning if id(own) not in kept]}]
        optimizer = torch.optim.AdamW(
            [*groups, {"params": vectors, "weight_decay": 0.0}] if vectors else groups,
            lr=training.learning_rate,
            betas=(0.9, training.beta2),
            weight_decay=training.weight_decay,
            fused=not training.clip_norm,  # Lightning refuses to clip what a fused step unscales
        )
        rate = functools.partial(training.rate, steps_per_epoch=self.plan.steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        step, seed = self.global_step, self.recipe.training.seed
        torch.manual_seed(torch_seed(seed, "dropout", step, self.global_rank))
        if not self._counts(step):  # shows nobody to tasks that compare persons
            batch = replace(batch, present=torch.zeros_like(batch.present), position=torch.zeros_like(batch.position))
        with torch.autocast(self.device.type, enabled=False):  # targets are centimetres: they need every bit
            formed = self._augmented(self.form(batch), step)
        losses = self.pretext.losses(formed)
        shares = {name: self._share(values, step) for name, values in losses.items()}
        loss = torch.stack(list(shares.values())).sum()
        means = self._over_processes({"loss": loss} | (shares if len(shares) > 1 else {}))
        self._check(means["loss"], step)
        self.log("loss", means["loss"], prog_bar=True, logger=False)
        return {"loss": loss, "means": means, "num_clips": len(self.plan.clips(step))}

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """The step, and what the task does after it: before any checkpoint of this step is written."""
        super().optimizer_step(*arguments, **options)
        self.pretext.after_step()

    def _augmented(self, batch: Batch, step: int) -> Batch:
        num_clips = len(self.plan.clips(step))
        draw = Augmentation.draw(self.plan.generator(step), num_clips)
        share = self.plan.share(num_clips, self.global_rank, self.trainer.world_size)
        return self.recipe.augmentation(batch, draw[share], max_frames=self.form.max_frames)

    def _share(self, values: Tensor, step: int) -> Tensor:
        """What this process adds to the mean over all processes' items, times their number: gradients are averaged."""
        world = self.trainer.world_size
        if world == 1:
            return values.mean()
        counts = self._counts(step)
        count = values.new_full((), len(values) * counts)
        torch.distributed.all_reduce(count)
        return values.sum() * counts / count * world

    def _counts(self, step: int) -> bool:
        """Whether this process has clips of its own in a step: a small last batch may leave none."""
        return self.global_rank < len(self.plan.clips(step))

    def _over_processes(self, shares: dict[str, Tensor]) -> dict[str, Tensor]:
        means = torch.stack([value.detach() for value in shares.values()])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(means)
            means = means / self.trainer.world_size
        return dict(zip(shares, means.unbind(), strict=True))

    def _check(self, loss: Tensor, step: int) -> None:
        """NonFinite if the loss is, or on an accelerator lately became, NaN or infinite."""
        before = loss.new_full((), torch.inf) if self._first_bad is None else self._first_bad
        self._first_bad = torch.where(torch.isfinite(loss), before, before.clamp(max=step))
        is_time = not (step + 1) % STEPS_TO_LOOK or not (step + 1) % self.plan.steps_per_epoch
        if loss.device.type != "cpu" and not is_time:
            return
        first = self._first_bad.item()
        if first != torch.inf:
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise NonFinite(
                f"the loss became NaN or infinite at step {int(first)} with learning rate {rate:.3g}; "
                "lower --training.learning-rate or use --training.precision 32-true"
            )


class PlannedBatches(IterableDataset[Batch]):
    """Gives this process's part of each planned batch of an epoch, from the step that training has come to."""

    def __init__(self, store: Store, clips: np.ndarray, module: Pretraining) -> None:
        self.store, self.clips, self.module = store, clips, module
        self._load: ClipLoader | None = None

    def __iter__(self) -> Iterator[Batch]:
        module, plan = self.module, self.module.plan
        if self._load is None:  # only now is the module on its device
            self._load = ClipLoader(self.store, max_frames=module.form.crop, device=module.device)
        first = module.global_step
        end = (first // plan.steps_per_epoch + 1) * plan.steps_per_epoch
        for step in range(first, end):
            clips = plan.clips(step)
            share = plan.share(len(clips), module.global_rank, module.trainer.world_size)
            yield self._load(self.clips[clips[share]])

    def __len__(self) -> int:
        return self.module.plan.steps_per_epoch

    def loader(self) -> DataLoader[Batch]:
        return DataLoader(self, batch_size=None)
