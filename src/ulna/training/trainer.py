"""The trainer that pretraining and fine-tuning share: devices, precision, checkpoints, resume."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import Field

from ulna.core import Config, InputError
from ulna.models.model import choose_device
from ulna.training.checkpoints import CHECKPOINTS, LAST, AtomicCheckpointIO, GracefulStop
from ulna.training.metrics_logger import MetricsLogger
from ulna.training.planned import PlannedBatches, PlannedModule

HARMLESS_WARNINGS = (
    ".*does not have many workers",  # a batch is gathered in milliseconds
    "Your `IterableDataset` has `__len__` defined",
    ".*LeafSpec",  # Lightning's own use of torch
    "Checkpoint directory .* exists and is not empty",  # expected when resuming
    "You're resuming from a checkpoint that ended before the epoch ended",  # batches continue at the step
    "You called `self.log.*` but have no logger configured",
)


class Hardware(Config):
    """The devices to train on."""

    device: str = "auto"
    """"cpu", "cuda", or "auto": a GPU if there is one."""
    devices: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    """Number of devices per machine, or "auto" for all."""
    strategy: Annotated[str, Field(max_length=60)] = "auto"
    """Lightning's strategy, for example "ddp"."""
    num_nodes: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of machines, each with as many devices."""


class TrainingOptions(Config):
    """What the trainer needs to know of a training run."""

    epochs: int
    """Number of epochs."""
    precision: str
    """Precision of the computation."""
    clip_norm: float = 0.0
    """Largest norm of the gradients; 0 does not clip."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""


def train(
    module: PlannedModule,
    batches: PlannedBatches,
    options: TrainingOptions,
    *,
    work: Path | None = None,
    metrics: MetricsLogger | None = None,
    monitor: L.Callback | None = None,
    checkpoint: Path | None = None,
    hardware: Hardware | None = None,
    progress: bool = False,
) -> L.Trainer:
    """Train a module and return the trainer.

    Args:
        module: The module.
        batches: Its batches.
        options: Epochs, precision, gradient clipping, checkpoints.
        work: Folder for checkpoints and logs; None writes nothing. A new run that fails before its first checkpoint
            removes it.
        metrics: Logger of losses.
        monitor: What else is measured while training.
        checkpoint: Checkpoint to resume from.
        hardware: Devices; one device by default.
        progress: Show a progress bar.

    Raises:
        InputError: If the devices are not available.
        NonFiniteError: If the loss or the weights become NaN or infinite.
        TrainingStopped: If the process was asked to stop by SIGTERM; a checkpoint was written.
    """
    with _quiet():
        try:
            watching = [one for one in (metrics, monitor) if one is not None]
            trainer = _trainer(options, hardware or Hardware(), work, watching, progress=progress)
            trainer.fit(module, batches.loader(), ckpt_path=checkpoint, weights_only=True)
        except BaseException as error:
            if work is not None and rank_zero_only.rank == 0 and not (work / CHECKPOINTS / LAST).is_file():  # type: ignore[attr-defined]
                shutil.rmtree(work, ignore_errors=True)
            if isinstance(error, SystemExit):  # Lightning's reaction to Ctrl-C
                raise KeyboardInterrupt from None
            raise
    return trainer


def _trainer(
    options: TrainingOptions,
    hardware: Hardware,
    work: Path | None,
    watching: Sequence[L.Callback],
    *,
    progress: bool,
) -> L.Trainer:
    accelerator = choose_device(hardware.device).type
    callbacks = list(watching)
    if work is not None:
        callbacks = [
            ModelCheckpoint(
                work / CHECKPOINTS,
                filename=Path(LAST).stem,
                every_n_epochs=options.checkpoint_every,
                save_top_k=1,
                monitor=None,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
            *callbacks,
            GracefulStop(work / CHECKPOINTS / LAST),
        ]
    if progress:
        is_cuda = accelerator == "cuda"  # showing the loss waits for the device
        callbacks.append(TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() and not is_cuda else 20))
    precision: Any = options.precision
    try:
        return L.Trainer(
            accelerator=accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            plugins=[AtomicCheckpointIO()],
            precision=precision,
            max_epochs=options.epochs,
            gradient_clip_val=options.clip_norm or None,
            logger=False if work is None else TensorBoardLogger(str(work), name="tensorboard", version=""),
            callbacks=callbacks,
            use_distributed_sampler=False,
            log_every_n_steps=1,
            enable_progress_bar=progress,
            enable_model_summary=False,
            enable_checkpointing=work is not None,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise InputError(
            f"device {hardware.device!r}, devices {hardware.devices!r}, strategy {hardware.strategy!r}: {error}"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's notes on devices and loggers, and warnings that do not apply."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in HARMLESS_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)
