"""The model card: what a model is, what was measured with it, and what it is not for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulna.analysis.report import saved_results, writable_folder
from ulna.analysis.robustness import CORRUPTIONS, FILE
from ulna.core import InputError, readable, spread_evenly, write_text
from ulna.dataset import Dataset
from ulna.evaluation import EvalResult
from ulna.evaluation.results import pool_folds
from ulna.models import Model
from ulna.models.card import model_card
from ulna.models.folder import CARD, RESULTS
from ulna.models.standardisation import standardisation

NEIGHBOURS = 10
MOST_CLIPS = 2000


def write_cards(models: Sequence[Model], *, dataset: Dataset | None = None) -> list[Path]:
    """Write README.md of the models of one recipe, with everything that was measured with them.

    Args:
        models: Models of one recipe that differ only in their seed; a card has their mean and spread.
        dataset: Dataset in which the agreement of the models' nearest neighbours is measured, if there are several.

    Returns:
        Paths of the files.

    Raises:
        InputError: If a model is read-only, or a result is damaged.
    """
    lines = [*_measured(_pooled(saved_results(models))), *_robustness(models[0])]
    if dataset is not None and len(models) > 1:
        lines += _agreement(models, dataset)
    written = []
    for model in models:
        num_parameters = sum(values.numel() for values in model.encoder.parameters())
        path = writable_folder(model) / CARD
        write_text(path, model_card(model.config, num_parameters, measured=lines))
        written.append(path)
    return written


def neighbour_agreement(embeddings: Sequence[Float[Tensor, "B E"]], *, neighbours: int = NEIGHBOURS) -> float:
    """Return the share of a clip's nearest neighbours that two models have in common, over clips and pairs of models.

    Args:
        embeddings: (B, E) embeddings of the same clips by at least two models.
        neighbours: Number of nearest neighbours, by cosine similarity of standardised embeddings.

    Raises:
        InputError: If there are fewer than two models, or no more clips than neighbours.
    """
    if len(embeddings) < 2 or len(embeddings[0]) <= neighbours:
        raise InputError(
            f"expected embeddings of at least two models and of more than {neighbours} clips, found "
            f"{len(embeddings)} models and {len(embeddings[0]) if embeddings else 0} clips"
        )
    found = []
    for own in embeddings:
        mean, sd = standardisation(own)
        rows = torch.nn.functional.normalize((own - mean) / sd, dim=1)
        similarity = (rows @ rows.T).fill_diagonal_(-torch.inf)
        nearest = torch.zeros_like(similarity, dtype=torch.bool)
        found.append(nearest.scatter_(1, similarity.topk(neighbours, dim=1).indices, value=True))
    shares = [(one & two).sum(dim=1).double().mean() / neighbours for one, two in itertools.combinations(found, 2)]
    return float(torch.stack(shares).mean())


def _pooled(results: Sequence[EvalResult]) -> list[EvalResult]:
    """Return results with those of the folds of a dataset pooled: splits whose names differ in their last number."""
    groups: dict[tuple[object, ...], list[EvalResult]] = {}
    for result in results:
        stem = result.key.split.rstrip("0123456789")
        number = None if stem != result.key.split else len(groups)
        data = "" if result.metadata is None else result.metadata.fingerprint
        key = result.key.replace(split=stem).model_dump_json()
        groups.setdefault((key, data, tuple(result.classes), number), []).append(result)
    return [pool_folds(own) if len(own) > 1 else own[0] for own in groups.values()]


def _measured(results: Sequence[EvalResult]) -> list[str]:
    """Return a table of the accuracies of trained encoders beside their baselines."""
    trained = [result for result in results if result.key.kind == "trained" and result.metadata is not None]
    if not trained:
        return []
    lines = [
        "## Measured",
        "",
        "Accuracy in percent with its standard deviation, over models with different seeds and draws of the labels. "
        '"Seen" counts test clips that were seen in pretraining, without labels.',
        "",
        "| data | split | protocol | accuracy | random init | 1-NN on raw joints | seen |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for result in sorted(trained, key=lambda own: (_data(own), own.key.split, own.key.title)):
        same = [other for other in results if other.clips == result.clips and other.labels == result.labels]
        random_init = [other for other in same if _is_random_init_of(other, result)]
        raw = [
            other for other in same if other.key.kind == "raw_joints" and other.key.variant in ("", result.key.variant)
        ]
        raw.sort(key=lambda other: other.key.variant == "")  # with the same labels, if it was measured
        seen = 0 if result.metadata is None else result.metadata.seen_test_clips or 0
        cells = (
            readable(_data(result)), readable(_title(result.key.split)), readable(result.key.title),
            _summary([result]), _summary(random_init), _summary(raw), str(seen),
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _data(result: EvalResult) -> str:
    """Return the name of the dataset's folder."""
    return "" if result.metadata is None else Path(result.metadata.dataset).name


def _title(split: str) -> str:
    """Return the name of a split; several folds are counted."""
    folds = split.split("+")
    return split if len(folds) == 1 else f"{len(folds)} folds"


def _is_random_init_of(other: EvalResult, result: EvalResult) -> bool:
    return other.key == result.key.replace(kind="random_init")


def _summary(results: Sequence[EvalResult]) -> str:
    return results[0].summary() if results else ""


def _robustness(model: Model) -> list[str]:
    """Return a table of accuracies on corrupted clips, as `ulna robustness` measured them."""
    assert model.path is not None
    lines = []
    for file in sorted((model.path / RESULTS / FILE).glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            accuracy = {
                name: {float(level): float(np.mean(values)) for level, values in content["accuracy"][name].items()}
                for name in CORRUPTIONS
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file}: expected accuracies on corrupted clips, found a damaged file ({error}). Measure them again."
            ) from None
        lines += [
            f"## Robustness ({readable(file.stem)}, data {readable(str(content.get('fingerprint')))})",
            "",
            "| corruption | accuracy by level, in percent |",
            "|---|---|",
        ]
        for name, levels in accuracy.items():
            own = CORRUPTIONS[name]
            values = ", ".join(f"{level:g} {own.unit}: {100 * value:.0f}" for level, value in sorted(levels.items()))
            lines.append(f"| {own.title} | {values} |")
        lines.append("")
    return lines


def _agreement(models: Sequence[Model], dataset: Dataset) -> list[str]:
    """Return how much the neighbours of models with different seeds agree."""
    clips = np.array(spread_evenly(dataset.num_clips, MOST_CLIPS))
    embeddings = [model.embedder(dataset).embed_dataset(dataset, clips) for model in models]
    share = neighbour_agreement(embeddings)
    return [
        "## Agreement between seeds",
        "",
        f"Of the {NEIGHBOURS} nearest neighbours of a clip among {len(clips)} clips of "
        f"{readable(dataset.path.name)}, two of {len(models)} models with different seeds have "
        f"{100 * share:.0f} % in common.",
        "",
    ]
