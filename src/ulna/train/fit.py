"""Pretraining: from a recipe and a store to a run folder."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from ulna.core import build, refuse_existing
from ulna.data import Batch, BatchPlan, Store
from ulna.inputs import INPUTS, InputForm
from ulna.train.module import PlannedBatches, Pretraining
from ulna.train.provenance import provenance
from ulna.train.recipe import Recipe
from ulna.train.run import CHECKPOINTS, METRICS, RECIPE, Run, build_pretext, load, save_facts, save_weights

HARMLESS = (
    ".*does not have many workers",  # a batch is gathered in milliseconds
    "Your `IterableDataset` has `__len__` defined",
    ".*LeafSpec",  # Lightning's own use of torch
    "Checkpoint directory .* exists and is not empty",  # of course, when resuming
)


def pretrain(
    recipe: Recipe,
    store: Store,
    out: str | Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int | str = "auto",
    strategy: str = "auto",
    progress: bool = True,
) -> Run:
    """Pretrain on a store's clips and give the finished run.

    Works in `OUT.unfinished`, which becomes `OUT` when training is complete; `resume` goes on from its last
    checkpoint. Raises FileExistsError if the run exists, ValueError if recipe and store do not fit one another.
    """
    out = Path(out)
    refuse_existing(out)
    work = out.with_name(out.name + ".unfinished")
    clips = _clips(recipe, store)
    store.verify()
    form: InputForm = build(INPUTS, recipe.input)
    pretext = build_pretext(recipe, store.skeleton, store.num_persons)
    plan = BatchPlan(len(clips), recipe.training.batch_size, recipe.training.seed)
    module = Pretraining(recipe, form, pretext, plan)

    journal = Journal(work / METRICS)
    facts = _facts(recipe, store, clips)
    with _quiet():
        trainer = _trainer(recipe, work, journal, accelerator, devices, strategy, progress=progress)
        checkpoint = _start_or_resume(work, facts, resume=resume)
        _fit(trainer, module, PlannedBatches(store, clips, module).loader(), checkpoint, work)
    if trainer.is_global_zero:
        save_weights(work, pretext)
        save_facts(work, facts | {"training_seconds": round(journal.seconds, 1), "steps": trainer.global_step})
        work.rename(out)
    trainer.strategy.barrier("run complete")
    return load(out)


def _fit(
    trainer: L.Trainer, module: Pretraining, batches: DataLoader[Batch], checkpoint: Path | None, work: Path
) -> None:
    """Train; a fresh run that fails before its first step leaves nothing, any other what can be resumed."""
    try:
        trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
    except BaseException as error:
        if checkpoint is None and trainer.global_step == 0 and trainer.is_global_zero:
            shutil.rmtree(work)
        if isinstance(error, SystemExit):  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back Lightning's notes on devices and loggers, and warnings that do not apply."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)


def _clips(recipe: Recipe, store: Store) -> np.ndarray:
    """The clips to train on: a split's training part, or all."""
    if recipe.split is None:
        return np.arange(store.num_clips)
    train, _ = store.split(recipe.split)
    if not len(train):
        raise ValueError(f"{store.path}: expected training clips in split {recipe.split!r}, got none")
    return train


def _facts(recipe: Recipe, store: Store, clips: np.ndarray) -> dict[str, Any]:
    return {
        "recipe": recipe.to_json(),
        "skeleton": store.skeleton.to_json(),
        "num_persons": store.num_persons,
        "data": {
            "fingerprint": store.fingerprint,
            "source": store.description["source"],
            "num_clips": len(clips),
            "num_frames": int(store.lengths[clips].sum()),
        },
        **provenance(),
    }


def _start_or_resume(work: Path, facts: dict[str, Any], *, resume: bool) -> Path | None:
    """Make the work folder, or find the checkpoint to go on from."""
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return work / CHECKPOINTS / "last.ckpt" if resume else None
    if not work.exists():
        if resume:
            raise FileNotFoundError(f"{work}: expected an unfinished run to resume, got none; leave out --resume")
        work.mkdir(parents=True)
        save_facts(work, facts)
        return None
    if not resume:
        raise FileExistsError(f"{work} holds an unfinished run; pass --resume to go on with it, or remove it first")
    try:
        old = json.loads((work / RECIPE).read_text())
        old["recipe"], old["skeleton"], old["data"]
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(f"{work / RECIPE}: expected the recipe of the unfinished run, got a damaged file") from None
    now = json.loads(json.dumps(facts))
    changed = [key for key in ("recipe", "skeleton", "data") if old[key] != now[key]]
    if changed:
        raise ValueError(
            f"{work}: expected the {' and '.join(changed)} that the run was started with, got another; "
            f"start a new run instead, or resume with what {work / RECIPE} says"
        )
    checkpoint = work / CHECKPOINTS / "last.ckpt"
    if not checkpoint.is_file():
        return None
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except Exception:  # damaged files raise many kinds; torch's own text would advise to trust them
        raise ValueError(f"{checkpoint}: expected a checkpoint, got a damaged file; start the run anew") from None
    return checkpoint


def _trainer(
    recipe: Recipe,
    work: Path,
    journal: Journal,
    accelerator: str,
    devices: int | str,
    strategy: str,
    *,
    progress: bool,
) -> L.Trainer:
    training = recipe.training
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            work / CHECKPOINTS,
            filename="epoch{epoch:04d}",
            auto_insert_metric_name=False,
            save_last=True,
            every_n_epochs=training.checkpoint_every,
            save_top_k=1,
            monitor=None,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
        journal,
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() else 20))
    try:
        return L.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=training.precision,
            max_epochs=training.epochs,
            logger=TensorBoardLogger(str(work), name="tensorboard", version=""),
            callbacks=callbacks,
            use_distributed_sampler=False,
            log_every_n_steps=1,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except MisconfigurationException as error:
        raise ValueError(f"accelerator {accelerator!r}, devices {devices!r}, strategy {strategy!r}: {error}") from None


class Journal(L.Callback):
    """Writes metrics.csv, one row an epoch; a resumed run goes on after the epochs that its checkpoint knows."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds, self._began, self._rate = path, 0.0, 0.0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = state["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if trainer.is_global_zero and self.path.is_file():
            with self.path.open(newline="") as file:
                rows = list(csv.reader(file))
            kept = rows[:1] + [row for row in rows[1:] if int(row[0]) <= trainer.current_epoch]
            self._write(kept, "w")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._began = time.perf_counter()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.seconds += time.perf_counter() - self._began
        if not trainer.is_global_zero:
            return
        losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            **{name: f"{value:.6f}" for name, value in losses.items()},
            "learning_rate": f"{self._rate:.4e}",
            "seconds": f"{self.seconds:.2f}",
        }
        if not self.path.is_file():
            self._write([list(row)], "w")
        self._write([list(row.values())], "a")

    def _write(self, rows: Sequence[Sequence[Any]], mode: str) -> None:
        with self.path.open(mode, newline="") as file:
            csv.writer(file).writerows(rows)
