"""ulna evaluate MODEL... --data DATASET"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ulna.cli.memory import keep_freed_memory
from ulna.cli.options import INLINE, Flag, Models, run, value_of
from ulna.cli.stopping import exit_when_stopped
from ulna.core import InputError, refuse_existing
from ulna.evaluation.protocols import PROTOCOLS, Linear, Protocol

Devices = Annotated[int | Literal["auto"], tyro.conf.arg(metavar="INT|auto")]


def command(default: Protocol) -> Callable[..., None]:
    """Return the command with the options of a protocol."""

    def evaluate(
        models: Models,
        /,
        *,
        data: Path,
        protocol: str = "linear",
        split: str | None = None,
        seeds: int = 3,
        pooling: str | None = None,
        min_frames: int = 0,
        baselines: bool = True,
        match_joints: Flag = False,
        fuse: Flag = False,
        weights: tuple[float, ...] = (),
        weights_from: str | None = None,
        out: Path | None = None,
        table: Path | None = None,
        device: str = "auto",
        devices: Devices = 1,
        strategy: str = "auto",
        options: Annotated[Protocol, INLINE] = default,
    ) -> None:
        """Evaluate models on labelled clips, and save results and a classifier in each model's folder.

        Protocols: linear, knn, finetune (with --share for few labels and --from-scratch), fit, retrieval, unknown.
        Options below the first group are those of the protocol chosen by --protocol.

        Args:
            models: Model folders, or names such as ulna/base; several models of one recipe with different seeds are
                evaluated together.
            data: Dataset with labels.
            protocol: Name of the protocol.
            split: Split to train the classifier and test on; the recipe's by default.
            seeds: Number of seeds of the protocol for each model.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            min_frames: Leave clips with fewer frames out of both parts of the split.
            baselines: Evaluate chance level, the nearest neighbour on raw joints and a randomly initialised encoder
                too.
            match_joints: Accept a dataset of another skeleton and match joints by name.
            fuse: Fuse the linear probes of models of different recipes, one of each per training seed; nothing is
                saved in the model folders.
            weights: Weight of each recipe with --fuse, in the order in which they are given; equal by default.
            weights_from: Development split on which the weights are chosen with --fuse.
            out: Save the result over all models as JSON, baselines beside it; must not exist.
            table: Append the results to a CSV file, one row per seed.
            device: "cpu", "cuda", or "auto": a GPU if there is one.
            devices: Number of devices for fine-tuning, or "auto" for all.
            strategy: Lightning's strategy for several devices, for example "ddp".
            options: Options of the protocol.
        """
        from lightning.fabric.utilities import rank_zero_only

        from ulna.cli.loading import load_models
        from ulna.dataset import Dataset
        from ulna.evaluation import Evaluation
        from ulna.evaluation import evaluate as run_evaluation
        from ulna.evaluation import fuse as fuse_models
        from ulna.evaluation.table import append_results

        PROTOCOLS[protocol]
        if out:
            refuse_existing(out)
        given = {
            "--seeds": seeds != 3, "--min-frames": min_frames != 0, "--match-joints": match_joints,
            "--no-baselines": not baselines,
        } if fuse else {"--weights": bool(weights), "--weights-from": weights_from is not None}  # fmt: skip
        if unread := [name for name, is_given in given.items() if is_given]:
            raise InputError(f"{', '.join(unread)}: not used {'with' if fuse else 'without'} --fuse. Leave it out.")
        if fuse:
            if not isinstance(options, Linear):
                raise InputError(f"--fuse: expected the protocol linear, found {protocol}")
            result = fuse_models(
                load_models(models, device), Dataset(data), options, split=split, weights=weights or None,
                choose_on=weights_from, pooling=pooling, device=device,
            )  # fmt: skip
            print("\n" + Evaluation(result).table())
            if out:
                result.save(out)
            if table:
                append_results(table, [result])
            return
        loaded = load_models(models, device)
        save = not any(model.is_read_only for model in loaded)
        with exit_when_stopped("The same command continues there."), keep_freed_memory():
            evaluation = run_evaluation(
                loaded, Dataset(data), options, split=split, seeds=seeds, pooling=pooling,
                min_frames=min_frames, baselines=baselines, match_joints=match_joints, save=save, device=device,
                devices=devices, strategy=strategy,
            )  # fmt: skip
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
            return
        print("\n" + evaluation.table())
        if not save:
            print("Nothing was saved beside the model, which is read-only; --out and --table save the results.")
        if out:
            evaluation.save(out)
        if table:
            append_results(table, evaluation.results)

    return evaluate


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    protocol = value_of(arguments, "--protocol", "linear")
    run(command(PROTOCOLS[protocol]()), arguments, prog="evaluate")
