"""Training by a batch plan: everything random in a step follows from the seed and the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ulna.batch import Augmentation, Batch, BatchPlan, PersonSequences
from ulna.core import torch_seed
from ulna.preprocessing import Preprocessor
from ulna.training.checkpoints import NonFiniteError
from ulna.training.clips import RawPart, TrainingClipLoader, TrainingClips

STEPS_BETWEEN_CHECKS = 50  # of the loss on an accelerator, since reading it waits for the device


class PlannedModule(L.LightningModule, ABC):
    """A module whose steps follow from (seed, step): the batch, its augmentation and dropout.

    Losses are means over the items of the global batch, so that one device and eight take the same step.

    Args:
        plan: The batches.
        preprocessor: What turns clips into the encoder's input.
        augmentation: Random changes of every clip.
        stream: Name of the random stream of dropout.
    """

    persons_apart: bool = False
    """Whether the persons of a clip become clips of their own, for encoders of one person."""

    def __init__(self, plan: BatchPlan, preprocessor: Preprocessor, augmentation: Augmentation, stream: str) -> None:
        super().__init__()
        self.plan, self.preprocessor, self.augmentation, self.stream = plan, preprocessor, augmentation, stream
        self._first_bad: Tensor | None = None

    @abstractmethod
    def batch_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named losses of a preprocessed, augmented batch, one value per item."""

    @abstractmethod
    def blank(self, batch: Batch) -> Batch:
        """Return a raw batch that must not influence others, for a process without clips of its own."""

    def transfer_batch_to_device(
        self, batch: Sequence[RawPart], device: torch.device, dataloader_idx: int  # noqa: ARG002
    ) -> tuple[RawPart, ...]:  # fmt: skip
        """Move a batch to the device."""
        return tuple(part.to(device) for part in batch)

    def training_step(self, batch: Sequence[RawPart], batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Return loss, mean losses and number of clips of a raw batch."""
        step = self.global_step
        self._seed(step)
        if not self._counts(step):
            batch = [replace(part, batch=self.blank(part.batch)) for part in batch]
        with torch.autocast(self.device.type, enabled=False):  # targets are centimetres: they need full precision
            ready = self._augmented(batch, step)
        losses = self.batch_losses(ready)
        shares = {name: self._share(values, step) for name, values in losses.items()}
        loss = torch.stack(list(shares.values())).sum()
        means = self._over_processes({"loss": loss} | (shares if len(shares) > 1 else {}))
        self._check(means["loss"], step)
        self.log("loss", means["loss"], prog_bar=True, logger=False)
        return {"loss": loss, "means": means, "num_clips": len(self.plan.clips(step))}

    def _seed(self, step: int) -> None:
        """Seed dropout; the counters are those of earlier versions, so that runs repeat."""
        counters = (step, self.global_rank) if self.global_rank or self.stream == "dropout" else (step,)
        torch.manual_seed(torch_seed(self.plan.seed, self.stream, *counters))

    def _augmented(self, parts: Sequence[RawPart], step: int) -> Batch:
        """Return all parts of a batch, preprocessed and augmented, as one."""
        num_clips = len(self.plan.clips(step))
        draw = Augmentation.draw(self.plan.generator(step), num_clips)
        draw = draw[self.plan.share(num_clips, self.global_rank, self.trainer.world_size)]
        max_frames = self.preprocessor.config.max_frames
        ready = [
            self.augmentation(self.preprocessor(part.batch), draw[part.position], max_frames=max_frames)
            for part in parts
        ]
        if self.persons_apart:
            ready = [PersonSequences.of(batch).batch for batch in ready]
        return Batch.join(ready)

    def _share(self, values: Tensor, step: int) -> Tensor:
        """Return this process's part of the mean over all items, times the number of processes.

        Gradients are averaged over processes.
        """
        world = self.trainer.world_size
        if world == 1:
            return values.mean()
        counts = self._counts(step)
        count = values.new_full((), len(values) * counts)
        torch.distributed.all_reduce(count)
        return values.sum() * counts / count * world

    def _counts(self, step: int) -> bool:
        """Return whether this process has clips of its own in a step; a small last batch may leave none."""
        return self.global_rank < len(self.plan.clips(step))

    def _over_processes(self, shares: dict[str, Tensor]) -> dict[str, Tensor]:
        means = torch.stack([value.detach() for value in shares.values()])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(means)
            means = means / self.trainer.world_size
        return dict(zip(shares, means.unbind(), strict=True))

    def _check(self, loss: Tensor, step: int) -> None:
        """Raise NonFiniteError if the loss is NaN or infinite, or on an accelerator recently became so."""
        before = loss.new_full((), torch.inf) if self._first_bad is None else self._first_bad
        self._first_bad = torch.where(torch.isfinite(loss), before, before.clamp(max=step))
        is_time = not (step + 1) % STEPS_BETWEEN_CHECKS or not (step + 1) % self.plan.steps_per_epoch
        if loss.device.type != "cpu" and not is_time:
            return
        first = self._first_bad.item()
        if first != torch.inf:
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise NonFiniteError(
                f"the loss became NaN or infinite at step {int(first)} with learning rate {rate:.3g}. "
                "Lower the learning rate or use precision 32-true."
            )


class PlannedBatches(IterableDataset[tuple[RawPart, ...]]):
    """Yields this process's part of each planned batch of an epoch, from the current step on.

    Args:
        clips: The clips that the plan refers to.
        module: The module to train.
    """

    def __init__(self, clips: TrainingClips, module: PlannedModule) -> None:
        self.clips, self.module = clips, module
        self._load: TrainingClipLoader | None = None

    def __iter__(self) -> Iterator[tuple[RawPart, ...]]:
        module, plan = self.module, self.module.plan
        if self._load is None:  # the module is on its device only now
            self._load = self.clips.loader(module.preprocessor, module.device)
        first = module.global_step
        end = (first // plan.steps_per_epoch + 1) * plan.steps_per_epoch
        performance = None if plan.performance is None else np.array(plan.performance)
        for step in range(first, end):
            clips = plan.clips(step)
            share = plan.share(len(clips), module.global_rank, module.trainer.world_size)
            parts = self._load(clips[share])
            if performance is not None:
                own = performance[clips[share]]
                parts = tuple(
                    replace(part, batch=replace(part.batch, performance=own[part.position])) for part in parts
                )
            yield parts

    def __len__(self) -> int:
        return self.module.plan.steps_per_epoch

    def loader(self) -> DataLoader[tuple[RawPart, ...]]:
        """Return the loader that Lightning iterates over."""
        return DataLoader(self, batch_size=None)
