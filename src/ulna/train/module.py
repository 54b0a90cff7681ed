"""The Lightning module: one training step, from raw batch to loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ulna.core import torch_seed
from ulna.data import Augmentation, Batch, BatchPlan, Store, load_batch
from ulna.inputs import InputForm
from ulna.pretext import Pretext
from ulna.train.recipe import Recipe


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""


class Pretraining(L.LightningModule):
    """Trains a pretext task; everything random in step s follows from (seed, s)."""

    def __init__(self, recipe: Recipe, form: InputForm, pretext: Pretext, plan: BatchPlan) -> None:
        super().__init__()
        self.recipe, self.form, self.pretext, self.plan = recipe, form, pretext, plan

    def configure_optimizers(self) -> Any:
        training = self.recipe.training
        optimizer = torch.optim.AdamW(
            self.pretext.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, training.lr_decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "epoch"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        step, seed = self.global_step, self.recipe.training.seed
        torch.manual_seed(torch_seed(seed, "dropout", step, self.global_rank))
        with torch.autocast(self.device.type, enabled=False):  # targets are centimetres: they need every bit
            formed = self._augmented(self.form(batch), step)
        losses = self.pretext.losses(formed)
        means = {name: self._global_mean(values) for name, values in losses.items()}
        loss = torch.stack(list(means.values())).sum()
        self._check(loss, step)
        logged = {"loss": loss, **means} if len(means) > 1 else {"loss": loss}
        self.log_dict(
            {name: value.detach() for name, value in logged.items()},
            batch_size=batch.num_clips, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True,
        )  # fmt: skip
        return loss

    def _augmented(self, batch: Batch, step: int) -> Batch:
        draw = Augmentation.draw(self.plan.generator(step), len(self.plan.clips(step)))
        share = slice(self.global_rank, None, self.trainer.world_size)
        return self.recipe.augmentation(batch, draw[share], max_frames=self.form.max_frames)

    def _global_mean(self, values: Tensor) -> Tensor:
        """Mean over the items of all processes, once gradients are averaged over them."""
        world = self.trainer.world_size
        if world == 1:
            return values.mean()
        count = torch.tensor(float(len(values)), device=values.device)
        torch.distributed.all_reduce(count)
        return values.sum() / count * world

    def _check(self, loss: Tensor, step: int) -> None:
        if not torch.isfinite(loss):
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise NonFiniteLoss(
                f"the loss became {loss.item()} at step {step} with learning rate {rate:.3g}; "
                "lower --training.learning-rate or use --training.precision 32-true"
            )


class PlannedBatches(IterableDataset[Batch]):
    """Gives this process's part of each planned batch of an epoch, from the step that training has come to."""

    def __init__(self, store: Store, clips: np.ndarray, module: Pretraining) -> None:
        self.store, self.clips, self.module = store, clips, module

    def __iter__(self) -> Iterator[Batch]:
        module, plan = self.module, self.module.plan
        first = module.global_step
        end = (first // plan.steps_per_epoch + 1) * plan.steps_per_epoch
        for step in range(first, end):
            share = plan.clips(step)[module.global_rank :: module.trainer.world_size]
            yield load_batch(self.store, self.clips[share], max_frames=module.form.crop)

    def __len__(self) -> int:
        return self.module.plan.steps_per_epoch

    def loader(self) -> DataLoader[Batch]:
        return DataLoader(self, batch_size=None)
