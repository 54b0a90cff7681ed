"""The robustness card: how accuracy falls when test clips get worse, as recordings of other cameras are."""

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

from ulna.analysis.report import FIGURES
from ulna.core import random_stream, within, write_text
from ulna.data import Batch, Dataset
from ulna.batch.transforms import resample
from ulna.preprocessing import Preprocessor
from ulna.evaluation.base import Labelled
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import check_alike
from ulna.evaluation.features import extract
from ulna.models.provenance import provenance
from ulna.models.model import RESULTS, Run

Change = Callable[[Batch, float, np.random.Generator], Batch]
Card = Mapping[str, Mapping[float, Sequence[float]]]
FILE = "robustness"
COLORS = ("#0f766e", "#b45309", "#4f46e5", "#be185d", "#57534e")


@dataclass(frozen=True)
class Disturbance:
    """A way in which recordings differ: `levels` of it, in `unit`s, the first of which changes nothing."""

    title: str
    unit: str
    levels: tuple[float, ...]
    change: Change


def noise(batch: Batch, centimetres: float, generator: np.random.Generator) -> Batch:
    """Every coordinate of every joint in every frame is off by normal noise."""
    error = torch.from_numpy(generator.standard_normal(batch.position.shape, dtype=np.float32)).to(batch.position)
    return replace(batch, position=torch.where(batch.visible[..., None], batch.position + error * centimetres / 100, 0))


def dropped_joints(batch: Batch, percent: float, generator: np.random.Generator) -> Batch:
    """Joints are not seen for a whole clip, each by its own chance."""
    shape = (batch.num_clips, *batch.visible.shape[1:])
    kept = torch.from_numpy(generator.random(shape) >= percent / 100).to(batch.visible.device)
    return _shown(batch, kept[batch.packing.clip])


def dropped_frames(batch: Batch, percent: float, generator: np.random.Generator) -> Batch:
    """Frames show nobody, each by its own chance; a clip's first frame stays."""
    kept = torch.from_numpy(generator.random(batch.num_frames) >= percent / 100).to(batch.visible.device)
    kept[batch.packing.first] = True
    return _shown(batch, kept[:, None, None])


def frame_rate(batch: Batch, factor: float, generator: np.random.Generator) -> Batch:  # noqa: ARG001
    """The camera takes so many times the frames of the same movement."""
    return resample(batch, np.maximum(1, np.rint(batch.packing.lengths * factor)).astype(np.int64))


def viewpoint(batch: Batch, degrees: float, generator: np.random.Generator) -> Batch:  # noqa: ARG001
    """The camera stands elsewhere: turned about the vertical."""
    return _turned(batch, degrees, axis=1)


def tilt(batch: Batch, degrees: float, generator: np.random.Generator) -> Batch:  # noqa: ARG001
    """The camera looks down from above: turned about the horizontal."""
    return _turned(batch, degrees, axis=0)


DISTURBANCES: Mapping[str, Disturbance] = {
    "noise": Disturbance("joint noise", "cm", (0.0, 1.0, 2.0, 4.0, 8.0), noise),
    "dropped_joints": Disturbance("joints not seen", "%", (0.0, 5.0, 10.0, 20.0, 40.0), dropped_joints),
    "dropped_frames": Disturbance("frames not seen", "%", (0.0, 10.0, 25.0, 50.0, 75.0), dropped_frames),
    "frame_rate": Disturbance("frame rate", "x", (1.0, 0.25, 0.5, 0.75, 1.5, 2.0), frame_rate),
    "viewpoint": Disturbance("viewpoint", "°", (0.0, 15.0, 30.0, 60.0, 90.0, 180.0), viewpoint),
    "tilt": Disturbance("camera tilt", "°", (0.0, 5.0, 10.0, 20.0, 30.0), tilt),
}


def robustness(
    run: Run, dataset: Dataset, *, split: str, protocol: str = "linear", seeds: int = 3
) -> dict[str, dict[float, list[float]]]:
    """Accuracy of a run's saved classifier on the test part, by disturbance and level, one number a draw.

    The classifier is the one that a protocol left in the run: nothing is trained on disturbed clips. Raises ValueError
    if it is of another split or dataset, FileNotFoundError if there is none.
    """
    within("seeds", seeds, 1)
    run.check(dataset)
    dataset.verify()
    data = Labelled.of(dataset, split)
    classifier = _classifier(run, dataset, split, protocol)
    encoder = classifier.encoder_for(run)

    def accuracy(name: str, level: float, seed: int) -> float:
        form = Disturbed(run.form, DISTURBANCES[name].change, level, seed)
        predicted = classifier(extract(encoder, form, dataset, data.test)).argmax(dim=1).numpy()
        return float((predicted == data.test_labels).mean())

    found: dict[str, dict[float, list[float]]] = {}
    plain = accuracy("noise", 0.0, 0)
    for name, disturbance in DISTURBANCES.items():
        is_random = name in ("noise", "dropped_joints", "dropped_frames")
        found[name] = {disturbance.levels[0]: [plain]}
        for level in disturbance.levels[1:]:
            found[name][level] = [accuracy(name, level, seed) for seed in range(seeds if is_random else 1)]
    return found


class Disturbed(Preprocessor):
    """Wraps a run's input form: clips are disturbed before it. Draws follow from the seed and each batch's clips."""

    def __init__(self, form: Preprocessor, change: Change, level: float, seed: int) -> None:
        self.form, self.change, self.level, self.seed = form, change, level, seed
        self.max_frames = form.max_frames
        self._num = 0

    @property
    def crop(self) -> int | None:
        """Whole clips: another frame rate may show more or less of them."""
        return None

    def layout(self, skeleton: Any) -> Any:
        return self.form.layout(skeleton)

    def __call__(self, batch: Batch) -> Batch:
        self._num += 1
        batch = self.change(batch, self.level, random_stream(self.seed, "disturbance", self._num))
        crop = self.form.crop
        if crop is not None and batch.packing.lengths.max() > crop:
            batch = _cut(batch, crop)
        return self.form(batch)


def write_robustness(
    runs: Sequence[Run],
    dataset: Dataset,
    *,
    split: str,
    protocol: str = "linear",
    seeds: int = 3,
    path: str | Path | None = None,
) -> Path:
    """Measure runs and draw their card; gives its path, by default RUN/figures/robustness.png where RUN is the first.

    Runs of one recipe are its seeds; several recipes, up to five, are drawn beside each other and need a `path`. The
    numbers are in each RUN/results/robustness/PROTOCOL-SPLIT.json.
    """
    recipes = _by_recipe(runs)
    if len(recipes) > len(COLORS) or (len(recipes) > 1 and path is None):
        raise ValueError(
            f"expected one recipe, or up to {len(COLORS)} and a path (--out) for their figure, got {len(recipes)}: "
            f"{', '.join(recipes)}"
        )
    for run in runs:  # before measuring in vain
        _classifier(run, dataset, split, protocol)
    cards = {
        name: [_measure(run, dataset, split=split, protocol=protocol, seeds=seeds) for run in alike]
        for name, alike in recipes.items()
    }
    path = runs[0].path / FIGURES / f"{FILE}.png" if path is None else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _draw(cards, dataset, split, protocol, path)
    return path


def _by_recipe(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of one recipe together, by its name; by that and their place where several recipes have one name."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        recipe = replace(run.recipe, training=replace(run.recipe.training, seed=0))
        groups.setdefault(json.dumps(recipe.to_json()), []).append(run)
    for alike in groups.values():
        check_alike(alike)
    num = Counter(alike[0].recipe.name for alike in groups.values())
    names = (
        f"{one.recipe.name}" + (f" ({one.path})" if num[one.recipe.name] > 1 else "") for one, *_ in groups.values()
    )
    return dict(zip(names, groups.values(), strict=True))


def _classifier(run: Run, dataset: Dataset, split: str, protocol: str) -> Classifier:
    classifier = Classifier.open(run.path, protocol)
    if not classifier.is_of(dataset, split):
        raise ValueError(
            f"{run.path}: expected a classifier trained on split {split!r} of {dataset.path}, got one of split "
            f"{classifier.split!r} of data {classifier.fingerprint}; evaluate the run there first"
        )
    return classifier


def _measure(run: Run, dataset: Dataset, *, split: str, protocol: str, seeds: int) -> Card:
    """A run's card, which is also written into it."""
    began = time.perf_counter()
    card = robustness(run, dataset, split=split, protocol=protocol, seeds=seeds)
    values = provenance() | {
        "run": run.path.name,
        "protocol": protocol,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "seconds": round(time.perf_counter() - began, 1),
        "accuracy": {name: {f"{level:g}": a for level, a in levels.items()} for name, levels in card.items()},
    }
    write_text(run.path / RESULTS / FILE / f"{protocol}-{split}.json", json.dumps(values))
    return card


def _draw(recipes: Mapping[str, Sequence[Card]], dataset: Dataset, split: str, protocol: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True).ravel()
    test = dataset.labels[dataset.split(split)[1]]
    chance = 100 * np.bincount(test[test >= 0]).max() / (test >= 0).sum()
    labels = [name + (f", {len(cards)} runs" if len(cards) > 1 else "") for name, cards in recipes.items()]
    for axis, (name, disturbance) in zip(axes, DISTURBANCES.items(), strict=True):
        axis.axhline(chance, color="#c9cbd1", linewidth=1, linestyle=":")
        for label, cards, color in zip(labels, recipes.values(), COLORS, strict=False):
            _draw_line(axis, cards, name, label, color, tell=len(recipes) == 1)
        levels = sorted(disturbance.levels)
        axis.set_title(f"{disturbance.title} ({disturbance.unit})", fontsize=9, loc="left")
        axis.set_xticks(levels, [f"{level:g}" for level in levels], fontsize=8)
        axis.set_ylim(0, 104)
        axis.tick_params(axis="y", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e4e2dc", linewidth=0.6)
    title = f"{protocol} on {split}"
    if len(recipes) == 1:
        title = f"{labels[0]}, {title}"
    else:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    spread = "; shaded: one standard deviation over runs" if max(map(len, recipes.values())) > 1 else ""
    title += f"\nAccuracy in percent on disturbed test clips; dotted: largest class{spread}"
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    figure.savefig(path, dpi=150)


def _draw_line(axis: Any, cards: Sequence[Card], name: str, label: str, color: str, *, tell: bool) -> None:
    """One recipe's accuracy by level, with its values where they are told."""
    levels = sorted(DISTURBANCES[name].levels)
    by_run = np.array([[100 * np.mean(card[name][level]) for level in levels] for card in cards])
    mean = by_run.mean(axis=0)
    axis.axhline(mean[levels.index(DISTURBANCES[name].levels[0])], color=color, linewidth=1, alpha=0.35)
    if len(cards) > 1:
        sd = by_run.std(axis=0, ddof=1)
        axis.fill_between(levels, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0)
    axis.plot(levels, mean, "o-", color=color, markersize=4, label=label)
    if tell:
        for level, value in zip(levels, mean, strict=True):
            axis.annotate(f"{value:.0f}", (level, value), (0, 6), textcoords="offset points", ha="center", fontsize=7)


def _shown(batch: Batch, kept: Tensor) -> Batch:
    """A batch without the joints that are not kept; who is absent is decided anew."""
    visible = batch.visible & kept
    position = torch.where(visible[..., None], batch.position, 0)
    return Batch.pack(position, visible, batch.packing, batch.skeleton, label=batch.label)


def _turned(batch: Batch, degrees: float, *, axis: int) -> Batch:
    angle = np.radians(degrees)
    one, two = [i for i in range(3) if i != axis]
    turn = torch.eye(3, dtype=batch.position.dtype, device=batch.position.device)
    turn[one, one] = turn[two, two] = float(np.cos(angle))
    turn[one, two], turn[two, one] = -float(np.sin(angle)), float(np.sin(angle))
    return replace(batch, position=batch.position @ turn.T)


def _cut(batch: Batch, num_frames: int) -> Batch:
    """Each clip's first frames."""
    kept = batch.packing.time < num_frames
    lengths = np.minimum(batch.packing.lengths, num_frames)
    return Batch.pack(batch.position[kept], batch.visible[kept], lengths, batch.skeleton, label=batch.label)
