"""Robustness: accuracy on corrupted test clips, which simulate recordings of other cameras."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulna.analysis.report import writable_folder
from ulna.batch import Batch, load_batch
from ulna.batch.transforms import resample
from ulna.core import InputError, check_range, random_stream, write_text
from ulna.dataset import Dataset
from ulna.evaluation import LabelledSplit, check_same_recipe
from ulna.models import Classifier, Embedder, Model, provenance
from ulna.models.folder import FIGURES, RESULTS

Corrupt = Callable[[Batch, float, Sequence[np.random.Generator]], Batch]
Card = Mapping[str, Mapping[float, Sequence[float]]]
FILE = "robustness"
COLORS = ("#0f766e", "#b45309", "#4f46e5", "#be185d", "#57534e")


@dataclass(frozen=True)
class Corruption:
    """A type of corruption.

    Args:
        title: Display name.
        unit: Unit of the levels.
        levels: Strengths; the first leaves clips unchanged.
        apply: Corrupts a raw batch, with one random generator per clip.
        is_random: Whether the corruption is random.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    apply: Corrupt
    is_random: bool = False


def noise(batch: Batch, centimetres: float, generators: Sequence[np.random.Generator]) -> Batch:
    """Add normal noise to every coordinate of every joint in every frame."""
    shape = batch.position.shape[1:]
    drawn = [
        generator.standard_normal((length, *shape), dtype=np.float32)
        for generator, length in zip(generators, batch.lengths, strict=True)
    ]
    error = torch.from_numpy(np.concatenate(drawn)).to(batch.position)
    moved = batch.position + error * centimetres / 100
    return replace(batch, position=torch.where(batch.visible[..., None], moved, 0))


def joint_dropout(batch: Batch, percent: float, generators: Sequence[np.random.Generator]) -> Batch:
    """Remove joints from whole clips, each with the same probability."""
    drawn = np.stack([generator.random(batch.visible.shape[1:]) for generator in generators])
    kept = torch.from_numpy(drawn >= percent / 100).to(batch.visible.device)
    return _masked(batch, kept[batch.packing.clip])


def frame_dropout(batch: Batch, percent: float, generators: Sequence[np.random.Generator]) -> Batch:
    """Remove all joints from frames, each with the same probability; the first frame of a clip is kept."""
    drawn = [generator.random(length) for generator, length in zip(generators, batch.lengths, strict=True)]
    kept = torch.from_numpy(np.concatenate(drawn) >= percent / 100).to(batch.visible.device)
    kept[batch.packing.first] = True
    return _masked(batch, kept[:, None, None])


def frame_rate(batch: Batch, factor: float, generators: Sequence[np.random.Generator]) -> Batch:  # noqa: ARG001
    """Resample the same movement to another number of frames, as if the stated frame rate were wrong.

    Preprocessors resample clips whose frame rate is stated to that of training.
    """
    return resample(batch, np.maximum(1, np.rint(batch.packing.lengths * factor)).astype(np.int64))


def viewpoint(batch: Batch, degrees: float, generators: Sequence[np.random.Generator]) -> Batch:  # noqa: ARG001
    """Rotate all clips about the vertical axis."""
    return _rotated(batch, degrees, axis=1)


def pitch(batch: Batch, degrees: float, generators: Sequence[np.random.Generator]) -> Batch:  # noqa: ARG001
    """Rotate all clips about the x axis, as if the camera were pitched."""
    return _rotated(batch, degrees, axis=0)


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption("joint noise", "cm", (0.0, 1.0, 2.0, 4.0, 8.0), noise, is_random=True),
    "joint_dropout": Corruption("missing joints", "%", (0.0, 5.0, 10.0, 20.0, 40.0), joint_dropout, is_random=True),
    "frame_dropout": Corruption("missing frames", "%", (0.0, 10.0, 25.0, 50.0, 75.0), frame_dropout, is_random=True),
    "frame_rate": Corruption("frame rate", "x", (1.0, 0.25, 0.5, 0.75, 1.5, 2.0), frame_rate),
    "viewpoint": Corruption("viewpoint", "°", (0.0, 15.0, 30.0, 60.0, 90.0, 180.0), viewpoint),
    "pitch": Corruption("camera pitch", "°", (0.0, 5.0, 10.0, 20.0, 30.0), pitch),
}


def robustness(
    model: Model, dataset: Dataset, *, split: str, classifier: str = "linear", seeds: int = 3
) -> dict[str, dict[float, list[float]]]:
    """Measure the accuracy of a model's classifier on corrupted test clips. Nothing is trained on corrupted clips.

    Args:
        model: The model.
        dataset: Dataset with labels.
        split: Split whose test part is corrupted; the classifier must have been trained on its training part.
        classifier: Name of the classifier.
        seeds: Number of draws of random corruptions.

    Returns:
        Accuracies (0 to 1) by corruption and level, one per draw.

    Raises:
        MissingError: If there is no such classifier.
        InputError: If the classifier was trained on other data, or positions are not in metres.
    """
    check_range("seeds", seeds, 1, 1000)
    if dataset.units != "metres":
        raise InputError(
            f"{dataset.path}: expected positions in metres, since noise is measured in centimetres, "
            f"found {dataset.units}"
        )
    embedder = model.embedder(dataset)
    dataset.verify()
    data = LabelledSplit.of(dataset, split)
    chosen = _classifier(model, dataset, split, classifier)
    encoder = model.encoder_of(chosen)

    def accuracy(name: str, level: float, seed: int) -> float:
        corrupt = CORRUPTIONS[name].apply

        def load(dataset: Dataset, clips: np.ndarray) -> Batch:
            generators = [random_stream(seed, "disturbance", int(clip)) for clip in clips]
            return corrupt(load_batch(dataset, clips), level, generators)

        own = Embedder(encoder, embedder.preprocessor, chosen.config.pooling)
        predicted = chosen(own.embed_dataset(dataset, data.test, load=load)).argmax(dim=1).numpy()
        return float((predicted == data.test_labels).mean())

    found: dict[str, dict[float, list[float]]] = {}
    unchanged = accuracy("noise", 0.0, 0)
    for name, corruption in CORRUPTIONS.items():
        found[name] = {corruption.levels[0]: [unchanged]}
        for level in corruption.levels[1:]:
            draws = range(seeds if corruption.is_random else 1)
            found[name][level] = [accuracy(name, level, seed) for seed in draws]
    return found


def write_robustness(
    models: Sequence[Model],
    dataset: Dataset,
    *,
    split: str,
    classifier: str = "linear",
    seeds: int = 3,
    path: str | Path | None = None,
) -> Path:
    """Measure the robustness of models and plot it.

    The numbers are written to MODEL/results/robustness/CLASSIFIER-SPLIT.json of each model.

    Args:
        models: Models of up to five recipes; models of one recipe are treated as its seeds.
        dataset: Dataset with labels.
        split: Split whose test part is corrupted.
        classifier: Name of the classifier.
        seeds: Number of draws of random corruptions.
        path: Figure to write; figures/robustness.png in the first model's folder by default.

    Returns:
        Path of the figure.

    Raises:
        InputError: If models, dataset and split do not match.
    """
    recipes = _by_recipe(models)
    if len(recipes) > len(COLORS) or (len(recipes) > 1 and path is None):
        raise InputError(
            f"expected one recipe, or up to {len(COLORS)} and a path (--out) for their figure, found {len(recipes)}: "
            f"{', '.join(recipes)}"
        )
    for model in models:
        _classifier(model, dataset, split, classifier)
    cards = {
        name: [_measure(model, dataset, split=split, classifier=classifier, seeds=seeds) for model in alike]
        for name, alike in recipes.items()
    }
    path = writable_folder(models[0]) / FIGURES / f"{FILE}.png" if path is None else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(cards, dataset, split, classifier, path)
    return path


def _by_recipe(models: Sequence[Model]) -> dict[str, list[Model]]:
    """Group models by recipe name, or by name and folder if several recipes have the same name."""
    if not models:
        raise InputError("expected at least one model, found none")
    groups: dict[str, list[Model]] = {}
    for model in models:
        recipe = model.recipe.with_seed(0)
        groups.setdefault(json.dumps(recipe.to_json()), []).append(model)
    for alike in groups.values():
        check_same_recipe(alike)
    num = Counter(alike[0].recipe.name for alike in groups.values())
    names = (
        f"{one.recipe.name}" + (f" ({one.path})" if num[one.recipe.name] > 1 else "") for one, *_ in groups.values()
    )
    return dict(zip(names, groups.values(), strict=True))


def _classifier(model: Model, dataset: Dataset, split: str, name: str) -> Classifier:
    classifier = model.classifier(name)
    if not classifier.is_trained_on(dataset, split):
        raise InputError(
            f"model {model.name!r}: expected a classifier trained on split {split!r} of {dataset.path}, found one "
            f"trained on {classifier.config.split!r} of data {classifier.config.fingerprint}. Evaluate the model first."
        )
    return classifier


def _measure(model: Model, dataset: Dataset, *, split: str, classifier: str, seeds: int) -> Card:
    """Return the robustness of a model, and write it into the model's folder."""
    began = time.perf_counter()
    card = robustness(model, dataset, split=split, classifier=classifier, seeds=seeds)
    values = {
        "provenance": provenance().to_json(),
        "model": model.name,
        "classifier": classifier,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "seconds": round(time.perf_counter() - began, 1),
        "accuracy": {name: {f"{level:g}": a for level, a in levels.items()} for name, levels in card.items()},
    }
    write_text(writable_folder(model) / RESULTS / FILE / f"{classifier}-{split}.json", json.dumps(values))
    return card


def _draw(recipes: Mapping[str, Sequence[Card]], dataset: Dataset, split: str, classifier: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True).ravel()
    test = dataset.labels[dataset.split(split)[1]]
    chance = 100 * np.bincount(test[test >= 0]).max() / (test >= 0).sum()
    labels = [name + (f", {len(cards)} models" if len(cards) > 1 else "") for name, cards in recipes.items()]
    for axis, (name, corruption) in zip(axes, CORRUPTIONS.items(), strict=True):
        axis.axhline(chance, color="#c9cbd1", linewidth=1, linestyle=":")
        for label, cards, color in zip(labels, recipes.values(), COLORS, strict=False):
            _draw_line(axis, cards, name, label, color, annotate=len(recipes) == 1)
        levels = sorted(corruption.levels)
        axis.set_title(f"{corruption.title} ({corruption.unit})", fontsize=9, loc="left")
        axis.set_xticks(levels, [f"{level:g}" for level in levels], fontsize=8)
        axis.set_ylim(0, 104)
        axis.tick_params(axis="y", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e4e2dc", linewidth=0.6)
    title = f"{classifier} on {split}"
    if len(recipes) == 1:
        title = f"{labels[0]}, {title}"
    else:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    spread = "; shaded: one standard deviation over models" if max(map(len, recipes.values())) > 1 else ""
    title += f"\nAccuracy in percent on corrupted test clips; dotted: largest class{spread}"
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    figure.savefig(path, dpi=150)


def _draw_line(axis: Any, cards: Sequence[Card], name: str, label: str, color: str, *, annotate: bool) -> None:
    """Draw the accuracy of one recipe by level, optionally with its values."""
    levels = sorted(CORRUPTIONS[name].levels)
    by_run = np.array([[100 * np.mean(card[name][level]) for level in levels] for card in cards])
    mean = by_run.mean(axis=0)
    axis.axhline(mean[levels.index(CORRUPTIONS[name].levels[0])], color=color, linewidth=1, alpha=0.35)
    if len(cards) > 1:
        sd = by_run.std(axis=0, ddof=1)
        axis.fill_between(levels, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0)
    axis.plot(levels, mean, "o-", color=color, markersize=4, label=label)
    if annotate:
        for level, value in zip(levels, mean, strict=True):
            axis.annotate(f"{value:.0f}", (level, value), (0, 6), textcoords="offset points", ha="center", fontsize=7)


def _masked(batch: Batch, kept: Tensor) -> Batch:
    """Return a batch in which only the joints that are kept are visible."""
    visible = batch.visible & kept
    return replace(batch, position=torch.where(visible[..., None], batch.position, 0), visible=visible)


def _rotated(batch: Batch, degrees: float, *, axis: int) -> Batch:
    angle = np.radians(degrees)
    one, two = [i for i in range(3) if i != axis]
    rotation = torch.eye(3, dtype=batch.position.dtype, device=batch.position.device)
    rotation[one, one] = rotation[two, two] = float(np.cos(angle))
    rotation[one, two], rotation[two, one] = -float(np.sin(angle)), float(np.sin(angle))
    return replace(batch, position=batch.position @ rotation.T)
