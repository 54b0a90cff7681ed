"""The report: one self-contained HTML file about the models of a recipe and their results."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulna.core import Clip, InputError, Skeleton, UlnaError, random_stream, shown, write_text
from ulna.dataset import Dataset
from ulna.evaluation import EvalResult, Evaluation, over_models
from ulna.models import Model
from ulna.models.folder import FIGURES, METRICS, RESULTS
from ulna.models.standardisation import standardisation

MOST_POINTS, NUM_CLIPS, MOST_FRAMES = 1500, 8, 150
IMAGE_HEIGHT = 1.7  # metres; size at which bodies without a physical unit are drawn
FIGURE_TITLES = {
    "robustness": "Robustness",
    "attention_spatial": "Attention among joints",
    "attention_temporal": "Attention over time",
    "attention_distance": "Attended distance",
    "attention_positions": "Position embeddings",
    "masks_scores": "Scores and masks",
    "masks_ball": "Joints in the ball",
}


def write_report(models: Sequence[Model], out: str | Path, *, dataset: Dataset | None = None) -> Path:
    """Write a report on the models of one recipe to a self-contained HTML file.

    Args:
        models: Models of one recipe that differ only in their seed.
        out: File to write.
        dataset: Dataset whose clips are shown; by default the evaluation dataset, if it still exists.

    Returns:
        Path of the file.

    Raises:
        InputError: If the models differ in more than their seed, or a result is damaged.
    """
    if not models:
        raise InputError("expected at least one model to report on, found none")
    first = models[0]
    results = saved_results(models)
    dataset = dataset or _dataset_of(first, results)
    content: dict[str, Any] = {
        "recipe": first.recipe.to_json(),
        "data": [one.to_json() for one in first.config.all_data],
        "provenance": first.config.provenance.to_json(),
        "models": [
            {
                "name": model.name,
                "seed": model.recipe.training.seed,
                "minutes": _minutes(model),
                "curves": _curves(model),
            }
            for model in models
        ],
        "results": [_result(result) for result in results],
    }
    if dataset is not None:
        dataset.verify()
        content["caveat"] = dataset.description.source.get("caveat")
        content["acknowledgement"] = dataset.description.source.get("acknowledgement")
        content["fingerprint"] = dataset.fingerprint if results else None
        content |= _pictures(first, dataset, results)
    content["figures"] = _figures(first)
    return write_page("report.html", content, Path(out))


def write_page(template: str, content: Mapping[str, Any], path: Path) -> Path:
    """Write a self-contained page from one of the templates in this folder and its data."""
    folder = files("ulna.analysis")
    text, style, player = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in (template, "player.css", "player.js")
    )
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    write_text(path, text.replace("/*STYLE*/\n", style).replace("/*PLAYER*/\n", player).replace("/*DATA*/null", data))
    return path


def model_folder(model: Model) -> Path:
    """Return the folder of a model; raises InputError if it was not saved."""
    if model.path is None:
        raise InputError(f"model {model.name!r}: expected a saved model, found one that was not saved")
    return model.path


def writable_folder(model: Model) -> Path:
    """Return the folder of a model; raises InputError if it was not saved or is read-only."""
    if model.is_read_only:
        raise InputError(f"model {model.name!r}: expected a model to write into, found a read-only one. Save a copy.")
    return model_folder(model)


def _figures(model: Model) -> list[dict[str, str]]:
    """Return the figures that other commands have written into a model's folder."""
    folder = model_folder(model) / FIGURES
    found = [(folder / f"{name}.png", title) for name, title in FIGURE_TITLES.items()]
    return [
        {"title": title, "image": base64.b64encode(file.read_bytes()).decode()}
        for file, title in found
        if file.is_file()
    ]


def saved_results(models: Sequence[Model]) -> list[EvalResult]:
    """Return every result that all models have, merged over models; trained encoders before baselines."""
    found = [
        {file.stem: EvalResult.open(file) for file in sorted((model_folder(model) / RESULTS).glob("*.json"))}
        for model in models
    ]
    own = models[0].recipe.split
    merged = []
    for name in found[0]:
        same = [Evaluation(results[name]) for results in found if name in results]
        if len(same) == len(models):
            is_baseline = same[0].result.metadata is None
            merged.append(same[0].result if is_baseline else over_models(same).result)

    def order(result: EvalResult) -> tuple[object, ...]:
        key = result.key
        return key.split != own, key.split, result.metadata is None, key.kind == "random_init", key.protocol != "linear"

    return sorted(merged, key=order)


def _dataset_of(model: Model, results: Sequence[EvalResult]) -> Dataset | None:
    """Return the dataset that a model was evaluated on, if it still exists unchanged."""
    for result in results:
        if result.metadata is None:
            continue
        try:
            dataset = Dataset(result.metadata.dataset)
            model.preprocessor.check(dataset.skeleton, dataset.num_persons, dataset.dimensions)
        except (UlnaError, OSError):
            return None
        return dataset if dataset.fingerprint == result.metadata.fingerprint else None
    return None


def _minutes(model: Model) -> float:
    return round(model.config.total_seconds / 60, 1)


def _curves(model: Model) -> dict[str, list[float]]:
    """Return the columns of metrics.csv."""
    file = model_folder(model) / METRICS
    if not file.is_file():
        return {}
    expected = f"{file}: expected rows of finite numbers"
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        columns = {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{expected}, found a damaged file ({shown(str(error))})") from None
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise InputError(f"{expected}, found NaN or infinite ones")
    return columns


def _result(result: EvalResult) -> dict[str, Any]:
    clean = result.clean
    return {
        "title": result.key.title,
        "kind": result.key.kind,
        "split": result.key.split,
        "options": result.key.options,
        "pooling": result.key.pooling,
        "mean": result.accuracy,
        "sd": result.sd,
        "oracle": result.oracle,
        "interval": result.interval,
        "clean": clean and {"mean": clean.accuracy, "sd": clean.sd, "num_test": len(clean.labels)},
        "per_class": result.per_class,
        "per_group": result.per_group,
        "metrics": result.metrics,
        "accuracies": result.accuracies.round(4).tolist(),
        "num_test": len(result.labels),
        "classes": result.classes,
        "confusion": result.confusion.round(5).tolist(),
        "tested": sorted(set(result.labels)),
        "command": None if result.metadata is None else result.metadata.provenance.command,
    }


def _pictures(model: Model, dataset: Dataset, results: Sequence[EvalResult]) -> dict[str, Any]:
    """Return the map of embeddings and the animated clips, from the test part of the first result's split."""
    split = results[0].key.split if results else model.recipe.split
    if split is None or split not in dataset.splits:
        return {}
    test = dataset.split(split)[1]
    if not len(test):
        return {}
    if len(test) > MOST_POINTS:
        test = np.sort(random_stream(0, "report").choice(test, MOST_POINTS, replace=False))
    features = model.embedder(dataset).embed_dataset(dataset, test)
    predicted, confidence = _predict(model, dataset, split, test)
    position = flatten(features)
    ids = dataset.ids
    points = [
        [*position[i].tolist(), int(dataset.labels[clip]), int(predicted[i]), ids[clip]] for i, clip in enumerate(test)
    ]
    clips = [
        animation(dataset.clip(int(test[i])))
        | {"label": int(dataset.labels[test[i]]), "predicted": int(predicted[i]), "confidence": float(confidence[i])}
        for i in _choose(dataset.labels[test], predicted)
    ]
    return {
        "map": {"points": points, "split": split},
        "clips": clips,
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
    }


def _predict(model: Model, dataset: Dataset, split: str, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each clip's class and confidence from a classifier trained on this split; -1 and 0 if there is none."""
    for classifier in sorted(model.classifiers.values(), key=lambda one: bool(one.encoder)):
        if classifier.is_trained_on(dataset, split):
            embedder = model.embedder(dataset, pooling=classifier.config.pooling)
            embedder = replace(embedder, encoder=model.encoder_of(classifier))
            confidence, label = classifier(embedder.embed_dataset(dataset, clips)).max(dim=1)
            return label.numpy(), confidence.numpy().round(3)
    return np.full(len(clips), -1), np.zeros(len(clips))


def flatten(features: Tensor) -> np.ndarray:
    """Return points (B, 2) in [-1, 1]: t-SNE of standardised features, or their principal plane for few clips."""
    from sklearn.manifold import TSNE

    mean, sd = standardisation(features)
    scaled = torch.nn.functional.normalize((features - mean) / sd, dim=1)
    u, s, _ = torch.linalg.svd(scaled - scaled.mean(dim=0), full_matrices=False)
    plane = (u * s)[:, : min(50, *u.shape)].numpy()
    if len(plane) >= 20:
        plane = TSNE(perplexity=min(30, len(plane) / 4), init="pca", random_state=0).fit_transform(plane)
    plane = np.pad(plane, [(0, 0), (0, max(0, 2 - plane.shape[1]))])[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    return np.asarray((2 * (plane - low) / np.maximum(high - low, 1e-9) - 1).round(4))


def _choose(labels: np.ndarray, predicted: np.ndarray) -> list[int]:
    """Return the indices of some clips of different classes, including wrong predictions."""
    generator = random_stream(0, "shown clips")
    order = generator.permutation(len(labels))
    wrong = [int(i) for i in order if labels[i] >= 0 and predicted[i] not in (-1, labels[i])][: NUM_CLIPS // 4]
    chosen, seen = list(wrong), {int(labels[i]) for i in wrong}
    for fresh in (True, False):
        for i in order:
            if len(chosen) < NUM_CLIPS and int(i) not in chosen and (int(labels[i]) not in seen or not fresh):
                chosen.append(int(i))
                seen.add(int(labels[i]))
    return sorted(chosen, key=lambda i: (i in wrong, labels[i]))


def animation(clip: Clip, *, frames: np.ndarray | None = None) -> dict[str, Any]:
    """Return a clip for playback: in whole millimetres, centred, without the persons' common horizontal movement.

    Args:
        clip: The clip; persons who are never visible are omitted.
        frames: Frames to play; by default MOST_FRAMES frames from the first in which anybody is visible.
    """
    clip = _upright(clip)
    first = int(clip.visible.any(axis=(1, 2)).argmax())
    played = np.arange(first, min(first + MOST_FRAMES, clip.num_frames)) if frames is None else frames
    position, visible = clip.position[played], clip.visible[played]
    position = _followed(position, visible)
    seen = position[visible]
    middle = (seen.max(axis=0) + seen.min(axis=0)) / 2
    millimetres = np.rint((position - middle) * 1000).astype(int)
    persons = [p for p in range(clip.num_persons) if visible[:, p].any()]
    return {
        "id": clip.id,
        "fps": clip.fps,
        "extent": int(np.rint((seen.max(axis=0) - seen.min(axis=0)).max() * 1000)),
        "height": int(np.rint(np.ptp(seen[:, 1]) * 1000)),
        "who": persons,
        "persons": [millimetres[:, p].reshape(len(position), -1).tolist() for p in persons],
        "unseen": [[np.flatnonzero(~joints).tolist() for joints in visible[:, p]] for p in persons],
    }


def _upright(clip: Clip) -> Clip:
    """Return a clip upright and about as large as a person, so that it can be drawn like any other."""
    position = clip.position.astype(np.float64)
    if clip.dimensions == 2:
        position = position * np.array([1.0, -1.0, 1.0])
    if clip.units == "millimetres":
        position = position / 1000
    elif clip.units != "metres":
        seen = position[clip.visible]
        height = float(np.ptp(np.percentile(seen[:, 1], [2, 98]))) if len(seen) else 1.0
        position = position * (IMAGE_HEIGHT / max(height, 1e-9))
    return replace(clip, position=np.where(clip.visible[..., None], position, 0), units="metres")


def _followed(position: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return positions without the persons' common horizontal movement, to keep them in view."""
    weight = visible[..., None] / np.maximum(visible.sum(axis=(1, 2)), 1)[:, None, None, None]
    path = (position * weight).sum(axis=(1, 2))  # (T, 3)
    path[:, 1] = 0
    return position - path[:, None, None]


def bones(skeleton: Skeleton) -> list[list[int]]:
    """Return [joint, parent, side] of each bone; side is 0 for the trunk, 1 for left, 2 for right."""
    sides = {
        joint: 1 if part.startswith("left") else 2 if part.startswith("right") else 0
        for part, joints in skeleton.parts.items()
        for joint in joints
    }
    return [[k, parent, sides.get(skeleton.joints[k], 0)] for k, parent in skeleton.bones]
