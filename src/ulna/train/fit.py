"""Pretraining: from a recipe and a store to a run folder."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities import rank_zero_only
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from ulna.core import build, new_folder, one_of, refuse_existing
from ulna.data import Batch, BatchPlan, Store
from ulna.inputs import INPUTS, InputForm
from ulna.train.checkpoint import CHECKPOINTS, LAST, StopOnRequest, WholeCheckpoints, last_checkpoint, refuse_non_finite
from ulna.train.journal import Journal
from ulna.train.memory import kept_memory
from ulna.train.module import PlannedBatches, Pretraining
from ulna.train.provenance import provenance
from ulna.train.recipe import Recipe
from ulna.train.run import METRICS, RECIPE, Run, build_pretext, load, save_facts, save_seen, save_weights

Accelerator = Literal["auto", "cpu", "cuda"]
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
    devices: int | str = 1,
    strategy: str = "auto",
    num_nodes: int = 1,
    progress: bool = True,
) -> Run:
    """Pretrain on a store's clips and give the finished run.

    Works in `OUT.unfinished`, which becomes `OUT` when training is complete; `resume` goes on from its last
    checkpoint. `accelerator` "auto" is a GPU where there is one. Raises FileExistsError if the run exists, ValueError
    if recipe and store do not fit one another, NonFinite if the loss or the weights become NaN or infinite.
    """
    one_of("accelerator", accelerator, Accelerator)
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
    with _quiet(), kept_memory():
        trainer = _trainer(recipe, work, journal, accelerator, devices, strategy, num_nodes, progress=progress)
        checkpoint = _start_or_resume(work, facts, resume=resume)
        _fit(trainer, module, PlannedBatches(store, clips, module).loader(), checkpoint, work)
    refuse_non_finite(pretext.state_dict(), trainer.global_step)
    if trainer.is_global_zero:
        save_weights(work, pretext)
        save_seen(work, store, clips)
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
        return last_checkpoint(work) if resume else None
    if not work.exists():
        if resume:
            raise FileNotFoundError(f"{work}: expected an unfinished run to resume, got none; leave out --resume")
        with new_folder(work) as folder:
            save_facts(folder, facts)
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
    return last_checkpoint(work)


def _trainer(
    recipe: Recipe,
    work: Path,
    journal: Journal,
    accelerator: str,
    devices: int | str,
    strategy: str,
    num_nodes: int,
    *,
    progress: bool,
) -> L.Trainer:
    training = recipe.training
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            work / CHECKPOINTS,
            filename=Path(LAST).stem,
            every_n_epochs=training.checkpoint_every,
            save_top_k=1,
            monitor=None,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
        journal,
        StopOnRequest(work / CHECKPOINTS / LAST),
    ]
    if progress:
        is_cuda = accelerator == "cuda"  # showing the loss waits for the device
        callbacks.append(TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() and not is_cuda else 20))
    try:
        return L.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            plugins=[WholeCheckpoints()],
            precision=training.precision,
            max_epochs=training.epochs,
            gradient_clip_val=training.clip_norm or None,
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
