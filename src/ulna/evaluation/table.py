"""Results as rows of a CSV file, one per seed, and tables made from them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ulna.core import Config, InputError, new_file
from ulna.core.config import explain
from ulna.dataset import Dataset
from ulna.evaluation.protocol import Protocol
from ulna.evaluation.protocols import PROTOCOLS
from ulna.evaluation.results import EvalResult, ResultKey
from ulna.models import Model, Recipe
from ulna.recipes import RECIPES, get_recipe

LARGEST_CELL = 10_000  # characters


class ResultRow(Config):
    """One seed of one result."""

    recipe: str
    """Name of the recipe; empty for baselines without a model."""
    changes: str = ""
    """Fields of the recipe that were changed, as "part.field=value"."""
    start: str = ""
    """Recipe of the model that the pretraining started from; empty for random weights."""
    pretrained_on: str = ""
    """Fingerprints of the datasets of the pretraining, joined by "+"; empty if it was the evaluated one alone."""
    split: str
    """Split whose test part was predicted."""
    protocol: str
    """Name of the protocol."""
    options: str = ""
    """Options of the protocol that differ from its defaults, as "option=value"."""
    pooling: str = ""
    """Pooling of the embeddings."""
    kind: str
    """trained, random_init, raw_joints or chance."""
    model: str = ""
    """Name of the model; models of one recipe differ in their pretraining seed."""
    seed: int
    """Seed of the protocol."""
    accuracy: float
    """Accuracy in percent after the last epoch."""
    clean: float | None = None
    """Accuracy without test clips that are copies of training clips."""
    oracle: float | None = None
    """Highest accuracy of all epochs."""
    metrics: str = ""
    """What the protocol measures besides accuracy, in percent, as "name=value"."""
    num_test: int
    """Number of test clips."""
    minutes: float | None = None
    """Duration of the pretraining."""
    machine: str = ""
    """Processor."""
    commit: str = ""
    """Commit of ulna."""
    fingerprint: str = ""
    """Fingerprint of the dataset."""
    command: str = ""
    """Command that measured it."""

    @property
    def key(self) -> tuple[str, ...]:
        """What rows that are averaged have in common: everything but model, seed, and split, which may be a fold."""
        return (
            self.recipe, self.changes, self.start, self.pretrained_on, self.protocol, self.options, self.pooling,
            self.kind, self.fingerprint,
        )  # fmt: skip

    def value(self, name: str) -> float | None:
        """Return a column or a metric in percent; None if the row has none.

        Args:
            name: "accuracy", "clean", "oracle", or the name of a metric such as "mAP".
        """
        if name in ("accuracy", "clean", "oracle"):
            return getattr(self, name)  # type: ignore[no-any-return]
        metrics = dict(part.split("=") for part in self.metrics.split())
        return float(metrics[name]) if name in metrics else None


def rows_of(result: EvalResult, *, fingerprint: str = "") -> list[ResultRow]:
    """Return the rows of a result.

    Args:
        result: The result.
        fingerprint: Fingerprint of the dataset, for baselines without a model, which do not know it.
    """
    known, clean = result.metadata, result.clean
    runs = list(dict.fromkeys(seed.run for seed in result.seeds))
    changes = _changes(known.recipe, known.pretrained_on, known.fingerprint, result.key.split) if known else ""
    rows = []
    for number, seed in enumerate(result.seeds):
        minutes = None
        if known is not None and result.key.kind == "trained" and len(known.training_minutes) == len(runs):
            minutes = known.training_minutes[runs.index(seed.run)]
        rows.append(
            ResultRow(
                recipe=known.recipe.name if known else "",
                changes=changes,
                start=known.start if known else "",
                pretrained_on=_others(known.pretrained_on, known.fingerprint) if known else "",
                split=result.key.split,
                protocol=result.key.protocol,
                options=_options(result.key),
                pooling=result.key.pooling,
                kind=result.key.kind,
                model=seed.run,
                seed=seed.seed,
                accuracy=_percent(result.accuracies[number]),
                clean=_percent(clean.accuracies[number]) if clean else None,
                oracle=_percent(seed.oracle) if seed.oracle is not None else None,
                metrics=" ".join(f"{name}={100 * value:.2f}" for name, value in seed.metrics.items()),
                num_test=len(result.labels),
                minutes=minutes,
                machine=known.provenance.machine if known else "",
                commit=(known.provenance.commit or "") if known else "",
                fingerprint=known.fingerprint if known else fingerprint,
                command=known.provenance.command if known else "",
            )
        )
    return rows


def _options(key: ResultKey) -> str:
    options = protocol_options(key.protocol, key.options)
    return f"{options} min_frames={key.min_frames}".strip() if key.min_frames else options


def _percent(share: float) -> float:
    return round(100 * float(share), 3)


def _changes(recipe: Recipe, pretrained_on: str, fingerprint: str, split: str) -> str:
    """Return the changes of a recipe, and the split it was pretrained on if that is not the one it is evaluated on."""
    changes = recipe_changes(recipe.to_json())
    if pretrained_on != fingerprint or recipe.split in split.split("+"):
        return changes
    return f"{changes} split={recipe.split or 'all'}".strip()


def _others(pretrained_on: str, fingerprint: str) -> str:
    """Return the datasets of the pretraining; empty if it was the evaluated one alone."""
    return "" if pretrained_on == fingerprint else pretrained_on


def recipe_changes(values: Mapping[str, Any]) -> str:
    """Return the fields of a recipe, as JSON values, that differ from the recipe of that name."""
    if values["name"] not in RECIPES:
        return "unknown recipe"
    named = get_recipe(values["name"]).to_json()
    own = ("performances", "body")
    changes = [f"{name}={values.get(name)}" for name in own if values.get(name) != named.get(name)]
    for part in ("preprocessor", "encoder", "pretext", "augmentation", "training"):
        for name, value in values[part].items():
            if (part, name) != ("training", "seed") and named[part].get(name) != value:
                changes.append(f"{part}.{name}={_plain(value)}")
    return " ".join(changes)


def protocol_options(protocol: str, options: Mapping[str, Any]) -> str:
    """Return the options of a protocol that differ from its defaults."""
    defaults = PROTOCOLS[protocol]().to_json() if protocol in PROTOCOLS else {}
    return " ".join(f"{name}={_plain(value)}" for name, value in options.items() if defaults.get(name) != value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_known(
    rows: Sequence[ResultRow], models: Sequence[Model], dataset: Dataset, split: str, protocol: Protocol
) -> bool:
    """Return whether a table has the results of a protocol for all models of a recipe."""
    recipe, config = models[0].recipe, models[0].config
    wanted = {
        "recipe": recipe.name,
        "changes": _changes(recipe, config.fingerprints, dataset.fingerprint, split),
        "start": config.start_recipe,
        "pretrained_on": _others(config.fingerprints, dataset.fingerprint),
        "split": split,
        "protocol": protocol.name,
        "options": protocol_options(protocol.name, protocol.to_json()),
        "pooling": recipe.pooling,
        "kind": "trained",
        "fingerprint": dataset.fingerprint,
    }
    found = {row.model for row in rows if all(getattr(row, name) == value for name, value in wanted.items())}
    return {model.name for model in models} <= found


def append_results(path: Path, results: Sequence[EvalResult]) -> None:
    """Append the rows of a result and of the baselines beside it to a CSV file, which is created if it does not exist.

    Raises:
        InputError: If an existing file is damaged.
    """
    rows = read_rows(path) if path.exists() else []
    fingerprint = next((result.metadata.fingerprint for result in results if result.metadata is not None), "")
    write_rows(path, rows + [row for result in results for row in rows_of(result, fingerprint=fingerprint)])


def write_rows(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write rows as a CSV file."""
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(ResultRow.model_fields), lineterminator="\n")
        table.writeheader()
        table.writerows({name: "" if v is None else v for name, v in row.to_json().items()} for row in rows)


def read_rows(path: Path) -> list[ResultRow]:
    """Read and validate a CSV file of results.

    Raises:
        InputError: If a column is missing or a cell does not fit.
    """
    columns = list(ResultRow.model_fields)
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                raise InputError(f"{path}: expected columns {', '.join(columns)}, found {reader.fieldnames}")
            for number, row in enumerate(reader, 2):
                if None in row or None in row.values() or any(len(cell) > LARGEST_CELL for cell in row.values()):
                    raise InputError(f"{path}, line {number}: expected {len(columns)} cells, found others")
                values = {name: cell for name, cell in row.items() if cell != ""}
                rows.append(ResultRow.model_validate({"recipe": ""} | values, strict=False))
    except ValidationError as error:
        raise InputError(f"{path}, line {number}: {explain(error, ResultRow)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file of results, found a damaged file ({error})") from None
    return rows


def mean_and_sd(rows: Sequence[ResultRow], value: str = "accuracy") -> tuple[float, float | None] | None:
    """Return mean and sample standard deviation over models (over seeds if there is one model) of a column.

    Args:
        rows: Rows of one key. If they are of several splits, these are folds: the mean over their test clips is taken
            for each seed, and seeds that lack a fold do not count.
        value: "accuracy", "clean", "oracle", or the name of a metric.
    """
    by_model: dict[str, list[float]] = {}
    if len(keys := {row.key for row in rows}) > 1:
        raise InputError(f"expected rows of one result to average, found {' and '.join(map(str, keys))}")
    if len(folds := {row.split for row in rows}) > 1:
        by_model = _over_folds(rows, folds, value)
    else:
        for row in rows:
            number = row.value(value)
            if number is not None:
                by_model.setdefault(row.model, []).append(number)
    if not by_model:
        return None
    if len(by_model) == 1:
        numbers = next(iter(by_model.values()))
    else:
        numbers = [float(np.mean(own)) for own in by_model.values()]
    return float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None


def _over_folds(rows: Sequence[ResultRow], folds: set[str], value: str) -> dict[str, list[float]]:
    """Return the mean over the test clips of all folds by seed."""
    found: dict[str, list[float]] = {}
    for seed in {row.seed for row in rows}:
        own = [(row.split, number, row.num_test) for row in rows if row.seed == seed for number in [row.value(value)]]
        known = [(split, number, num) for split, number, num in own if number is not None]
        if {split for split, _, _ in known} == folds:
            numbers, counts = zip(*((number, num) for _, number, num in known), strict=True)
            found[f"seed {seed}"] = [float(np.average(numbers, weights=counts))]
    return found


def cell(rows: Sequence[ResultRow], value: str = "accuracy") -> str:
    """Return a cell of a Markdown table: mean ± standard deviation."""
    found = mean_and_sd(rows, value)
    if found is None:
        return ""
    mean, sd = found
    return f"{mean:.1f}" + (f" ± {sd:.1f}" if sd is not None else "")


def markdown(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return "\n".join(rows + ["| " + " | ".join(line) + " |" for line in lines])
