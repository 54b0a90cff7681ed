"""The report: one self-contained HTML file that shows what runs of a recipe learnt."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulna.core import Clip, Skeleton, random_stream, write_text
from ulna.data import Dataset
from ulna.evaluation.classifier import FOLDER, Classifier, standardisation
from ulna.evaluation.evaluation import over_runs
from ulna.evaluation.features import extract
from ulna.evaluation.result import EvalResult
from ulna.models.model import METRICS, RESULTS, Run

MOST_POINTS, NUM_CLIPS, MOST_FRAMES = 1500, 8, 150
FIGURES = "figures"
SHOWN = {
    "robustness": "Robustness",
    "attention_spatial": "Attention among joints",
    "attention_temporal": "Attention over time",
    "attention_distance": "Attended distance",
    "attention_positions": "PosEmbed embeddings",
    "masks_scores": "What masks are drawn by",
    "masks_ball": "Joints in the ball",
}


def write_report(runs: Sequence[Run], out: str | Path, *, dataset: Dataset | None = None) -> Path:
    """Write a report on runs of one recipe (its seeds) to an HTML file that needs nothing else.

    `dataset` is where clips are shown from; without it, the one that the runs were evaluated on, if it is still there.
    """
    results = _outcomes(runs)
    dataset = dataset or _store_of(runs[0])
    if dataset is not None:
        runs[0].check(dataset)
        dataset.verify()
    content: dict[str, Any] = {
        "recipe": runs[0].recipe.to_json(),
        "metadata": {k: runs[0].metadata.get(k) for k in ("data", "versions", "machine", "command", "commit")},
        "runs": [
            {"name": run.path.name, "seed": run.recipe.training.seed, "minutes": _minutes(run), "curves": _curves(run)}
            for run in runs
        ],
        "results": [_outcome(result) for result in results],
    }
    if dataset is not None:
        content["caveat"] = dataset.description["source"].get("caveat")
        content["acknowledgement"] = dataset.description["source"].get("acknowledgement")
        content["fingerprint"] = results[0].metadata.get("fingerprint") if results else None
        content |= _pictures(runs[0], dataset, results)
    content["figures"] = _figures(runs[0])
    return write_page("report.html", content, Path(out))


def write_page(template: str, content: Mapping[str, Any], path: Path) -> Path:
    """Write one of this folder's templates with its data as a file that needs nothing else."""
    folder = files("ulna.analysis")
    text, style, player = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in (template, "player.css", "player.js")
    )
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    write_text(path, text.replace("/*STYLE*/\n", style).replace("/*PLAYER*/\n", player).replace("/*DATA*/null", data))
    return path


def _figures(run: Run) -> list[dict[str, str]]:
    """The figures that other commands left in a run."""
    found = [(run.path / FIGURES / f"{name}.png", title) for name, title in SHOWN.items()]
    return [
        {"title": title, "image": base64.b64encode(file.read_bytes()).decode()}
        for file, title in found
        if file.is_file()
    ]


def _outcomes(runs: Sequence[Run]) -> list[EvalResult]:
    """Every result that all runs have, over all their seeds; trained encoders before what they must beat."""
    found = [{file.stem: EvalResult.open(file) for file in sorted((run.path / RESULTS).glob("*.json"))} for run in runs]
    own = runs[0].recipe.split

    def order(result: EvalResult) -> tuple[object, ...]:
        is_untrained = "untrained" in result.protocol
        return result.split != own, result.split, not result.metadata, is_untrained, result.protocol != "linear"

    return sorted(over_runs(found).values(), key=order)


def _store_of(run: Run) -> Dataset | None:
    """The dataset that a run was evaluated on, if it is still there as it was."""
    for file in sorted((run.path / RESULTS).glob("*.json")):
        metadata = EvalResult.open(file).metadata
        if metadata and Path(metadata["dataset"]).is_dir():
            try:
                dataset = Dataset(metadata["dataset"])
            except (ValueError, OSError):
                return None
            is_own = dataset.fingerprint == metadata["fingerprint"] and run.fits(dataset.skeleton)
            return dataset if is_own else None
    return None


def _minutes(run: Run) -> float:
    return round(run.metadata.get("training_seconds", 0) / 60, 1)


def _curves(run: Run) -> dict[str, list[float]]:
    """Columns of metrics.csv."""
    file = run.path / METRICS
    if not file.is_file():
        return {}
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    try:
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}
    except (TypeError, ValueError):
        raise ValueError(f"{file}: expected rows of numbers, got a damaged file") from None


def _outcome(result: EvalResult) -> dict[str, Any]:
    return {
        "protocol": result.protocol,
        "split": result.split,
        "options": {k: v for k, v in result.options.items() if k != "name"},
        "mean": result.mean,
        "sd": result.sd,
        "oracle": result.oracle,
        "interval": result.interval,
        "clean": result.clean
        and {
            "mean": result.clean.mean,
            "sd": result.clean.sd,
            "num_test": len(result.clean.labels),
        },
        "per_class": result.per_class,
        "per_group": result.per_group,
        "metrics": result.metrics,
        "accuracies": result.accuracies.round(4).tolist(),
        "num_test": len(result.labels),
        "classes": result.classes,
        "confusion": result.confusion.round(3).tolist(),
        "tested": sorted(set(result.labels)),
        "command": result.metadata.get("command"),
    }


def _pictures(run: Run, dataset: Dataset, results: Sequence[EvalResult]) -> dict[str, Any]:
    """The map of embeddings and the clips to play, from the test part of the first result's split."""
    split = results[0].split if results else run.recipe.split
    if split is None or split not in dataset.splits:
        return {}
    test = dataset.split(split)[1]
    if not len(test):
        return {}
    if len(test) > MOST_POINTS:
        test = np.sort(random_stream(0, "report").choice(test, MOST_POINTS, replace=False))
    features = extract(run.encoder, run.form, dataset, test)
    predicted, confidence = _predict(run, dataset, split, test, features, results)
    place = _flatten(features)
    ids = dataset.ids
    points = [
        [*place[i].tolist(), int(dataset.labels[clip]), int(predicted[i]), ids[clip]] for i, clip in enumerate(test)
    ]
    shown = _choose(dataset.labels[test], predicted)
    clips = [
        animation(dataset.clip(int(test[i])))
        | {"label": int(dataset.labels[test[i]]), "predicted": int(predicted[i]), "confidence": float(confidence[i])}
        for i in shown
    ]
    return {
        "map": {"points": points, "split": split},
        "clips": clips,
        "bones": bones(dataset.skeleton),
        "classes": list(dataset.classes),
    }


def _predict(
    run: Run, dataset: Dataset, split: str, clips: np.ndarray, features: Tensor, results: Sequence[EvalResult]
) -> tuple[np.ndarray, np.ndarray]:
    """Label and confidence of each clip by the first classifier that is kept for this split; -1 and 0 without.

    `features` are those of the run's own encoder; a classifier of another one takes its own.
    """
    for result in results:
        if not (run.path / FOLDER / f"{result.file_stem}.safetensors").is_file():
            continue
        classifier = Classifier.open(run.path, result.file_stem)
        if classifier.is_of(dataset, split):
            encoder = classifier.encoder_for(run)
            if encoder is not run.encoder:
                features = extract(encoder, run.form, dataset, clips)
            confidence, label = classifier(features).max(dim=1)
            return label.numpy(), confidence.numpy().round(3)
    return np.full(len(clips), -1), np.zeros(len(clips))


def _flatten(features: Tensor) -> np.ndarray:
    """(B, 2) t-SNE of standardised features, or their principal plane where clips are few; within -1 to 1."""
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
    """Some clips of different classes, wrong ones among them."""
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
    """A clip in whole millimetres about its middle, followed along the floor; persons without a body left out.

    Shows the frames asked for, or MOST_FRAMES from the first that has a body.
    """
    first = int(clip.visible.any(axis=(1, 2)).argmax())
    shown = np.arange(first, min(first + MOST_FRAMES, clip.num_frames)) if frames is None else frames
    position, visible = clip.position[shown], clip.visible[shown]
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


def _followed(position: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Positions with the persons' common path along the floor taken out, so that who walks far stays in view."""
    weight = visible[..., None] / np.maximum(visible.sum(axis=(1, 2)), 1)[:, None, None, None]
    path = (position * weight).sum(axis=(1, 2))  # (T, 3)
    path[:, 1] = 0
    return position - path[:, None, None]


def bones(skeleton: Skeleton) -> list[list[int]]:
    """[joint, parent, side]: 0 trunk, 1 left, 2 right."""
    sides = {
        joint: 1 if part.startswith("left") else 2 if part.startswith("right") else 0
        for part, joints in skeleton.parts.items()
        for joint in joints
    }
    return [[k, parent, sides.get(skeleton.joints[k], 0)] for k, parent in skeleton.bones]
