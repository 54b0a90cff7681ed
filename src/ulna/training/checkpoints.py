"""Checkpoints: one is always complete, even if a run is killed or stopped or the disk is full."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from ulna.core import InputError, UlnaError, new_file

CHECKPOINTS, LAST = "checkpoints", "last.ckpt"
STEPS_BETWEEN_CHECKS = 10  # after which processes tell one another that they were asked to stop


class NonFiniteError(UlnaError, RuntimeError):
    """The loss or the weights became NaN or infinite."""


class TrainingStopped(RuntimeError):
    """Training was asked to stop by SIGTERM and wrote a checkpoint."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it once it is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ARG002
        path = Path(path)
        refuse_non_finite(checkpoint["state_dict"], checkpoint["global_step"])
        try:
            with new_file(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError if the disk is full
            kept = "the last good checkpoint is kept" if path.exists() else "there is none yet"
            raise OSError(
                f"{path}: the checkpoint of step {checkpoint['global_step']} could not be written ({error!s:.200}); "
                f"{kept}. Free space on the disk, then resume."
            ) from error


def refuse_non_finite(weights: Mapping[str, Tensor], step: int) -> None:
    """Raise NonFiniteError instead of replacing good weights with NaN or infinite ones."""
    bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if bad:
        raise NonFiniteError(
            f"weights became NaN or infinite by step {step} ({', '.join(bad[:3])}); they were not "
            "saved. Lower the learning rate or use precision 32-true."
        )


def last_checkpoint(work: Path) -> Path | None:
    """Return the checkpoint to resume from, None if there is none yet; raises InputError if it is damaged."""
    for partial in work.rglob(".*.partial-*"):  # left by a process that was killed
        partial.unlink(missing_ok=True)
    path = work / CHECKPOINTS / LAST
    if not path.is_file():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception:  # many types; torch's own message would advise to trust the file
        raise InputError(f"{path}: expected a checkpoint, found a damaged file. Start a new run.") from None
    return path


class GracefulStop(Checkpoint):
    """On SIGTERM, which schedulers send, saves a checkpoint after the current step and stops training.

    As a `Checkpoint` it is called after the module's own hooks, whose state it saves.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._is_requested, self._before = path, False, signal.SIG_DFL

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        try:
            self._before = signal.signal(signal.SIGTERM, self._request)  # type: ignore[assignment]
        except ValueError:  # not in the main thread, which receives no signals
            return

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        alone = trainer.world_size == 1
        if not trainer.is_last_batch and (alone or trainer.global_step % STEPS_BETWEEN_CHECKS == 0):
            self._stop_if_requested(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):  # a complete run need not stop
            self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer: L.Trainer) -> None:
        is_requested = self._is_requested
        if trainer.world_size > 1:
            is_requested = trainer.strategy.reduce_boolean_decision(is_requested, all=False)
        if is_requested:
            trainer.save_checkpoint(self.path)
            raise TrainingStopped(f"stopped by SIGTERM after step {trainer.global_step}, saved in {self.path}.")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        if signal.getsignal(signal.SIGTERM) == self._request:
            signal.signal(signal.SIGTERM, self._before)

    def _request(self, number: int, frame: object) -> None:  # noqa: ARG002
        self._is_requested = True
