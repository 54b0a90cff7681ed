"""Late fusion: the class probabilities of several models' linear probes are averaged."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulna.core import InputError, check_range
from ulna.dataset import Dataset
from ulna.evaluation.evaluate import warn_about_clips
from ulna.evaluation.linear import Linear
from ulna.evaluation.protocol import LabelledSplit, RunOptions
from ulna.evaluation.results import EvalMetadata, EvalResult, ResultKey, SeedResult
from ulna.models import Embedder, Model, Recipe, load, provenance
from ulna.training import Hardware

GRID = 10  # steps into which the weights are divided when they are chosen


def fuse(
    models: Sequence[Model | str | Path],
    dataset: Dataset | str | Path,
    protocol: Linear | None = None,
    *,
    split: str | None = None,
    weights: Sequence[float] | None = None,
    choose_on: str | None = None,
    pooling: str | None = None,
    device: str = "auto",
) -> EvalResult:
    """Evaluate several models together, for example of the streams joint, bone and motion.

    Each model gets a linear probe of its own; the weighted mean of their class probabilities decides. Models with the
    same training seed are fused; if there are several seeds, each gives a result.

    Args:
        models: Models or their folders; as many recipes for each training seed.
        dataset: A dataset with labels, or its folder.
        protocol: Options of the linear probes.
        split: Split to train the probes and test on; the first model's by default.
        weights: Weight of each recipe, in the order in which recipes occur in `models`; equal by default. Published
            results of joint, bone and motion use 0.6, 0.6 and 0.4.
        choose_on: Split on which the weights are chosen instead, in steps of 0.1; neither of its parts may share a clip
            with the test part.
        pooling: How the output of every encoder is pooled; that of each recipe by default.
        device: "cpu", "cuda", or "auto": a GPU if there is one.

    Returns:
        The result, with the weights among its options.

    Raises:
        InputError: If the models are not one of each recipe per seed, or both `weights` and `choose_on` are given.
    """
    protocol = protocol or Linear()
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    opened = [one if isinstance(one, Model) else load(one, device=device) for one in models]
    groups = _by_seed(opened)
    num = len(groups[0])
    if weights is not None and choose_on is not None:
        raise InputError("expected weights or choose_on, found both")
    if weights is not None and (len(weights) != num or min(weights) < 0 or sum(weights) <= 0):
        raise InputError(f"weights: expected {num} numbers of at least 0, one per recipe, found {list(weights)}")
    chosen = split or opened[0].recipe.split
    if chosen is None:
        raise InputError(f"expected a split, since the recipe names none; {dataset.path} has {list(dataset.splits)}")
    data = LabelledSplit.of(dataset, chosen)
    for model in opened:
        warn_about_clips(model, data)
    began = time.perf_counter()
    if choose_on is not None:
        development = LabelledSplit.of(dataset, choose_on)
        ids = dataset.ids
        if {ids[clip] for part in (development.train, development.test) for clip in part} & set(data.test_ids):
            raise InputError(f"choose_on {choose_on!r}: expected no test clips of split {chosen!r}, found some")
        share = choose_weights([_probabilities(own, development, protocol, pooling) for own in groups], development)
    else:
        share = np.full(num, 1 / num) if weights is None else np.asarray(weights) / np.sum(weights)
    seeds = [
        SeedResult(
            seed=own[0].recipe.training.seed,
            predictions=_decide(_probabilities(own, data, protocol, pooling), share).tolist(),
            run=f"seed {own[0].recipe.training.seed}",
        )
        for own in groups
    ]
    options = protocol.to_json() | {
        "fusion": [_described(model) for model in groups[0]],
        "weights": [round(float(weight), 4) for weight in share],
        "weights_from": choose_on or "",
    }
    key = ResultKey(protocol="linear", variant="fused", options=options, split=data.split, pooling=pooling or "")
    first = opened[0]
    metadata = EvalMetadata(
        provenance=provenance(),
        recipe=first.recipe,
        pretrained_on=first.config.fingerprints,
        dataset=str(dataset.path.resolve()),
        fingerprint=dataset.fingerprint,
        runs=[seed.run for seed in seeds],
        seconds=round(time.perf_counter() - began, 1),
        training_minutes=[round(sum(m.config.total_seconds for m in own) / 60, 1) for own in groups],
    )
    return data.result(key, seeds, metadata)


def choose_weights(probabilities: Sequence[Float[Tensor, "M B L"]], data: LabelledSplit) -> np.ndarray:
    """Return the weights with the highest mean accuracy; of equally good ones, the most even.

    Args:
        probabilities: For each seed, the class probabilities of every model for the test clips of a development split.
        data: The development split.
    """
    truth = torch.from_numpy(data.test_labels)
    num = len(probabilities[0])
    check_range("number of models to choose weights for", num, 1, 6)
    grid = [np.array(own) / GRID for own in itertools.product(range(GRID + 1), repeat=num) if sum(own) == GRID]

    def quality(weights: np.ndarray) -> tuple[float, float]:
        right = [(_decide(own, weights) == truth).double().mean().item() for own in probabilities]
        return float(np.mean(right)), -float((weights**2).sum())

    return max(grid, key=quality)


def _decide(probabilities: Float[Tensor, "M B L"], weights: np.ndarray) -> Tensor:
    return torch.einsum("m,mbl->bl", torch.from_numpy(weights).to(probabilities.dtype), probabilities).argmax(dim=1)


def _probabilities(
    models: Sequence[Model], data: LabelledSplit, protocol: Linear, pooling: str | None
) -> Float[Tensor, "M B L"]:
    """Return the class probabilities of each model's probe for the test clips."""
    found = []
    for model in models:
        embedder: Embedder = model.embedder(data.dataset, pooling=pooling)
        options = RunOptions(Hardware(device=model.device.type))
        _, classifier = next(protocol.run(embedder, data, seeds=[model.recipe.training.seed], options=options))
        found.append(classifier(embedder.embed_dataset(data.dataset, data.test)))
    return torch.stack(found)


def _by_seed(models: Sequence[Model]) -> list[list[Model]]:
    """Return the models of each seed, in the order of their recipes."""
    kinds: list[tuple[Recipe, str]] = []
    for model in models:
        if _kind(model) not in kinds:
            kinds.append(_kind(model))
    seeds = sorted({model.recipe.training.seed for model in models})
    groups = []
    for seed in seeds:
        own = [m for m in models if m.recipe.training.seed == seed]
        ordered = [[m for m in own if _kind(m) == kind] for kind in kinds]
        if any(len(found) != 1 for found in ordered):
            raise InputError(
                f"seed {seed}: expected one model of each of {len(kinds)} recipes, found "
                f"{', '.join(model.name for model in own)}"
            )
        groups.append([found[0] for found in ordered])
    if not groups or len(kinds) < 2:
        raise InputError(f"expected models of at least two recipes to fuse, found {len(kinds)}")
    return groups


def _kind(model: Model) -> tuple[Recipe, str]:
    """Return what models of different seeds have in common: the recipe, and that of the starting point."""
    return model.recipe.with_seed(0), model.config.start_recipe


def _described(model: Model) -> str:
    streams = "+".join(model.recipe.encoder.streams)
    return f"{model.recipe.name} ({streams})"
