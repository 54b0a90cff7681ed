"""Pretraining: from a recipe and a dataset to a model folder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import rank_zero_only
from torch import Tensor

from ulna.batch import Batch, BatchPlan
from ulna.core import ExistsError, InputError, MissingError, get_skeleton, new_folder, refuse_existing
from ulna.dataset import Dataset
from ulna.dataset.description import hash_file
from ulna.dataset.performances import number_performances
from ulna.models import Embedder, Model, ModelConfig, Recipe, load, provenance
from ulna.models.folder import (
    CONFIG,
    METRICS,
    MONITORING,
    WEIGHTS,
    PretrainingData,
    StartingPoint,
    read_model_config,
    seen_clips,
    write_config,
    write_model,
    write_seen,
)  # fmt: skip
from ulna.models.model import choose_device
from ulna.preprocessing import Preprocessor
from ulna.pretext import Pretext
from ulna.recipes import get_recipe
from ulna.training.checkpoints import last_checkpoint, refuse_non_finite
from ulna.training.clips import TrainingClips
from ulna.training.metrics_logger import MetricsLogger
from ulna.training.monitoring import EmbeddingMonitor
from ulna.training.muon import MuonAdamW, hidden_matrices
from ulna.training.planned import PlannedBatches, PlannedModule
from ulna.training.trainer import Hardware, TrainingOptions, train

UNFINISHED = ".unfinished"
Source = Dataset | str | Path


def pretrain(
    recipe: Recipe | str,
    dataset: Source | Sequence[Source],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
    num_nodes: int = 1,
    start: str | Path | None = None,
    monitor: Source | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Model:
    """Pretrain on the clips of one or several datasets, without labels.

    Works in `OUT.unfinished`, which is renamed to `OUT` when training is complete.

    Args:
        recipe: A recipe, or the name of one (`ulna pretrain --help` lists them). Change its fields with
            `recipe.replace`.
        dataset: A dataset, or its folder; or several, for a recipe that matches clips to a `body`. "FOLDER@SPLIT" takes
            the training part of a split of a dataset, instead of the recipe's split.
        out: Folder of the model; must not exist.
        weights: Sampling weights of several datasets, which say how many clips of each an epoch has; None takes every
            clip once per epoch.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        devices: Number of devices per machine, or "auto" for all.
        strategy: Lightning's strategy for several devices, for example "ddp".
        num_nodes: Number of machines, each with as many devices.
        start: Folder of a model whose encoder the training starts from, of the same input and sizes; None starts from
            random weights. Clips that the model was pretrained on count as seen.
        monitor: A dataset with labels, as "FOLDER@SPLIT", for the accuracy of a k-NN in monitoring.csv, beside the
            effective rank of embeddings of training clips. Labels do not influence the training.
        resume: Continue an unfinished run from its last checkpoint.
        progress: Show a progress bar.

    Returns:
        The model.

    Raises:
        ExistsError: If `out` or an unfinished run exists.
        InputError: If recipe, dataset and devices do not fit together.
        NonFiniteError: If the loss or the weights become NaN or infinite.
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    hardware = Hardware(device=device, devices=devices, strategy=strategy, num_nodes=num_nodes)  # type: ignore[arg-type]
    choose_device(device)
    out = Path(out)
    refuse_existing(out)
    work = out.with_name(out.name + UNFINISHED)
    clips = TrainingClips(tuple(_opened(recipe, one) for one in _listed(dataset)))
    config = _model_config(recipe, clips, weights)
    preprocessor = config.build_preprocessor()
    for one, _ in clips.parts:
        preprocessor.check(one.skeleton, one.num_persons, one.dimensions)
    encoder_state = None
    if start is not None:
        config, encoder_state = _started(config, Path(start))
    seen = seen_clips(clips.parts, None if start is None else Path(start))
    pretext = recipe.build_pretext(preprocessor.spec, start=encoder_state)
    for one, _ in clips.parts:
        one.verify()
    module = Pretraining(recipe, _plan(recipe, clips, pretext, weights), preprocessor, pretext)

    metrics = MetricsLogger(work / METRICS)
    watching = _monitor(recipe, clips, module, work / MONITORING, monitor)
    checkpoint = _start_or_resume(work, config, resume=resume)
    training = recipe.training
    trainer = train(
        module,
        PlannedBatches(clips, module),
        TrainingOptions(
            epochs=training.epochs,
            precision=training.precision,
            clip_norm=training.clip_norm,
            checkpoint_every=training.checkpoint_every,
        ),
        work=work,
        metrics=metrics,
        monitor=watching,
        checkpoint=checkpoint,
        hardware=hardware,
        progress=progress,
    )
    refuse_non_finite(pretext.state_dict(), trainer.global_step)
    if trainer.is_global_zero:
        done = config.replace(training_seconds=round(metrics.seconds, 1), steps=trainer.global_step)
        write_model(work, done, pretext.encoder, pretext)
        write_seen(work, seen)
        work.rename(out)
    trainer.strategy.barrier("model complete")
    return load(out, device=device)


class Pretraining(PlannedModule):
    """Trains a pretext task.

    Args:
        recipe: The recipe.
        plan: The batches.
        preprocessor: What turns clips into the encoder's input.
        pretext: The pretext task.
    """

    def __init__(self, recipe: Recipe, plan: BatchPlan, preprocessor: Preprocessor, pretext: Pretext) -> None:
        super().__init__(plan, preprocessor, recipe.augmentation, "dropout")
        self.recipe, self.pretext = recipe, pretext
        self.persons_apart = recipe.body is not None

    def configure_optimizers(self) -> Any:
        """Return the optimiser and the schedule of the recipe."""
        training = self.recipe.training
        matrices = [] if training.muon_rate is None else hidden_matrices(self.pretext.encoder)
        if training.muon_rate is not None and not matrices:
            raise InputError(
                "training.muon_rate: expected an encoder with layer groups, found "
                f"{type(self.pretext.encoder).__name__} without. Leave it out, or implement Encoder.layer_groups."
            )
        of_muon = {id(own) for own in matrices}
        trained = [own for own in self.pretext.parameters() if own.requires_grad and id(own) not in of_muon]
        vectors = [own for own in trained if own.ndim < 2 and not training.decay_vectors]
        kept = {id(own) for own in vectors}
        groups: list[dict[str, Any]] = [{"params": [own for own in trained if id(own) not in kept]}]
        groups += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
        options: dict[str, Any] = {
            "lr": training.learning_rate,
            "betas": (0.9, training.beta2),
            "weight_decay": training.weight_decay,
            "fused": not training.clip_norm,  # Lightning cannot clip gradients that a fused step unscales
        }
        optimizer: torch.optim.Optimizer
        if training.muon_rate is not None:
            optimizer = MuonAdamW(matrices, groups, muon_rate=training.muon_rate, **options)
        else:
            optimizer = torch.optim.AdamW(groups, **options)
        rate = functools.partial(training.rate, steps_per_epoch=self.plan.steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def batch_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the pretext task."""
        self.pretext.on_step_start(self.global_step / (self.recipe.training.epochs * self.plan.steps_per_epoch))
        return self.pretext.losses(batch)

    def blank(self, batch: Batch) -> Batch:
        """Return the batch with nobody visible, for tasks that compare persons of all processes."""
        return replace(
            batch, visible=torch.zeros_like(batch.visible), position=torch.zeros_like(batch.position)
        )  # fmt: skip

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take the step, then let the task update its teacher: before any checkpoint of this step is written."""
        super().optimizer_step(*arguments, **options)
        self.pretext.on_step_end()


def _listed(dataset: Source | Sequence[Source]) -> list[Source]:
    """Return one or several datasets as a list."""
    found = [dataset] if isinstance(dataset, Dataset | str | Path) else list(dataset)
    if not found:
        raise InputError("expected at least one dataset to pretrain on, found none")
    return found


def _opened(recipe: Recipe, source: Source) -> tuple[Dataset, np.ndarray]:
    """Return a dataset and its clips to train on: the training part of a split, or all."""
    dataset, given = _opened_split(source)
    split = given or recipe.split
    if split is None:
        return dataset, np.arange(dataset.num_clips)
    train_part, _ = dataset.split(split)
    if not len(train_part):
        raise InputError(f"{dataset.path}: expected training clips in split {split!r}, found none")
    return dataset, train_part


def _opened_split(source: Source) -> tuple[Dataset, str | None]:
    """Return a dataset, and the split that "FOLDER@SPLIT" names."""
    if isinstance(source, Dataset):
        return source, None
    path, _, split = str(source).rpartition("@")
    return (Dataset(path), split) if path and not Path(source).exists() else (Dataset(source), None)


def _plan(recipe: Recipe, clips: TrainingClips, pretext: Pretext, weights: Sequence[float] | None) -> BatchPlan:
    """Return the batches."""
    datasets = () if weights is None else tuple(zip(clips.counts, map(float, weights), strict=True))
    return BatchPlan(
        len(clips),
        recipe.training.batch_size,
        recipe.training.seed,
        _performances(recipe, clips, pretext),
        datasets,
    )


def _monitor(
    recipe: Recipe, clips: TrainingClips, module: Pretraining, path: Path, source: Source | None
) -> EmbeddingMonitor:
    """Return the monitor of the embeddings of the first dataset, and of a labelled one."""
    labelled = None
    if source is not None:
        dataset, split = _opened_split(source)
        chosen = split or recipe.split
        if chosen is None:
            raise InputError(f"monitor: expected FOLDER@SPLIT, since the recipe names no split, found {source}")
        module.preprocessor.check(dataset.skeleton, dataset.num_persons, dataset.dimensions)
        labelled = dataset, chosen
    dataset, own = clips.parts[0]
    embedder = Embedder(module.pretext.encoder, module.preprocessor, recipe.pooling)
    return EmbeddingMonitor(path, embedder, dataset, own, every=recipe.training.checkpoint_every, labelled=labelled)


def _performances(recipe: Recipe, clips: TrainingClips, pretext: Pretext) -> tuple[int, ...] | None:
    """Return the number of the performance that each clip shows, or None if the recipe does not ask for it."""
    if recipe.performances is None:
        return None
    if not pretext.pairs_performances:
        raise InputError(
            f"recipe {recipe.name!r}: expected no `performances`, since {type(pretext).__name__} does not pair clips, "
            f"found {recipe.performances!r}"
        )
    if len(clips.parts) > 1:
        raise InputError(f"recipe {recipe.name!r}: expected one dataset, since it names `performances`, found several")
    ((dataset, own),) = clips.parts
    ids = dataset.ids
    return tuple(number_performances([ids[clip] for clip in own], recipe.performances).tolist())


def _model_config(recipe: Recipe, clips: TrainingClips, weights: Sequence[float] | None) -> ModelConfig:
    """Return the configuration of the model.

    Raises:
        InputError: If there are several datasets but no body to match them to, or the weights do not fit.
    """
    num = len(clips.parts)
    if recipe.body is None and num > 1:
        raise InputError(
            f"recipe {recipe.name!r}: expected one dataset, found {num}. Choose a recipe with a `body` that joints are "
            "matched to, or set --body."
        )
    if weights is not None and num == 1:
        raise InputError(f"weights: expected several datasets to weight, found one and weights {list(weights)}")
    if weights is not None and (len(weights) != num or not all(0 < own < float("inf") for own in weights)):
        raise InputError(f"weights: expected {num} numbers above 0, one per dataset, found {list(weights)}")
    data = [
        PretrainingData(
            fingerprint=dataset.fingerprint,
            source=dataset.description.source,
            num_clips=len(own),
            num_frames=int(dataset.lengths[own].sum()),
            fps=float(np.median(dataset.fps[own])),
            dimensions=dataset.dimensions,  # type: ignore[arg-type]
            weight=None if weights is None else float(weights[number]),
        )
        for number, (dataset, own) in enumerate(clips.parts)
    ]
    return ModelConfig(
        recipe=recipe,
        skeleton=clips.parts[0][0].skeleton if recipe.body is None else get_skeleton(recipe.body),
        num_persons=clips.parts[0][0].num_persons if recipe.body is None else 1,
        data=data[0],
        more_data=tuple(data[1:]),
        provenance=provenance(),
    )


def _started(config: ModelConfig, path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return the configuration with a starting point, and the weights of its encoder."""
    model = load(path, device="cpu")
    own, recipe = model.config, config.recipe
    for what, expected, found in (
        ("skeleton", own.skeleton.joints, config.skeleton.joints),
        ("number of persons", own.num_persons, config.num_persons),
        ("preprocessor", own.recipe.preprocessor, recipe.preprocessor),
        ("encoder", own.recipe.encoder, recipe.encoder),
    ):
        if expected != found:
            raise InputError(
                f"{path}: expected the {what} of the recipe and the dataset in the model to start from, found another. "
                f"The recipe of the model is {own.recipe.name!r}."
            )
    start = StartingPoint(
        recipe=own.recipe.name,
        fingerprint=own.data.fingerprint,
        sha256=hash_file(path / WEIGHTS),
        training_seconds=own.total_seconds,
    )
    return config.replace(start=start), model.encoder.state_dict()


def _start_or_resume(work: Path, config: ModelConfig, *, resume: bool) -> Path | None:
    """Make the work folder, or return the checkpoint to resume from."""
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return last_checkpoint(work) if resume else None
    if not work.exists():
        if resume:
            raise MissingError(f"{work}: expected an unfinished run to resume, found none. Leave out --resume.")
        with new_folder(work) as folder:
            write_config(folder, config)
        return None
    if not resume:
        raise ExistsError(f"{work}: an unfinished run exists. Pass --resume to continue it, or remove it first.")
    old = read_model_config(work)
    changed = [
        name
        for name in ("recipe", "skeleton", "data", "more_data", "start")
        if getattr(old, name) != getattr(config, name)
    ]
    if changed:
        raise InputError(
            f"{work}: expected the {' and '.join(changed)} that the run was started with, found another. "
            f"Start a new run, or resume with what {work / CONFIG} says."
        )
    return last_checkpoint(work)
