"""Checkpoints: always one that is whole, also when a run is killed, stopped or out of disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from ulna.core import new_file

CHECKPOINTS, LAST = "checkpoints", "last.ckpt"
STEPS_TO_AGREE = 10  # processes tell one another only now and then that they were asked to stop


class NonFinite(RuntimeError):
    """The loss or the weights became NaN or infinite."""


class Stopped(RuntimeError):
    """Training was asked to stop (SIGTERM) and left a checkpoint."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there once it is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ARG002
        path = Path(path)
        refuse_non_finite(checkpoint["state_dict"], checkpoint["global_step"])
        try:
            with new_file(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch makes of a full disk a RuntimeError of its own
            kept = "the last good checkpoint is kept" if path.exists() else "there is none yet"
            raise OSError(
                f"{path}: the checkpoint of step {checkpoint['global_step']} could not be written ({error!s:.200}); "
                f"{kept}; free space on the disk, then go on with --resume"
            ) from error


def refuse_non_finite(weights: Mapping[str, Tensor], step: int) -> None:
    """NonFinite rather than write weights that are NaN or infinite over good ones."""
    bad = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if bad:
        raise NonFinite(
            f"weights became NaN or infinite by step {step} ({', '.join(bad[:3])}); they are not saved; "
            "lower --training.learning-rate or use --training.precision 32-true"
        )


def last_checkpoint(work: Path) -> Path | None:
    """The checkpoint to go on from, None if the run has not come to one; ValueError if it is damaged."""
    for partial in work.rglob(".*.partial-*"):  # left by a process that was killed
        partial.unlink(missing_ok=True)
    path = work / CHECKPOINTS / LAST
    if not path.is_file():
        return None
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except Exception:  # damaged files raise many kinds; torch's own text would advise to trust them
        raise ValueError(f"{path}: expected a checkpoint, got a damaged file; start the run anew") from None
    return path


class StopOnRequest(L.Callback):
    """On SIGTERM (a scheduler takes the machine back) saves a checkpoint after the step in hand and stops training."""

    def __init__(self, path: Path) -> None:
        self.path, self._is_asked, self._before = path, False, signal.SIG_DFL

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        try:
            self._before = signal.signal(signal.SIGTERM, self._ask)  # type: ignore[assignment]
        except ValueError:  # not in the main thread: nobody sends signals here
            return

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        alone = trainer.world_size == 1
        if not trainer.is_last_batch and (alone or trainer.global_step % STEPS_TO_AGREE == 0):
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):  # what is complete need not stop
            self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        is_asked = self._is_asked
        if trainer.world_size > 1:
            is_asked = trainer.strategy.reduce_boolean_decision(is_asked, all=False)
        if is_asked:
            trainer.save_checkpoint(self.path)
            raise Stopped(
                f"stopped by SIGTERM after step {trainer.global_step}, which {self.path} holds; go on with --resume"
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        if signal.getsignal(signal.SIGTERM) == self._ask:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: object) -> None:  # noqa: ARG002
        self._is_asked = True
