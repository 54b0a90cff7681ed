"""Compare the methods of the benchmark pair by pair, from the predictions of their models.

    python scripts/compare_methods.py FOLDER        # of model folders that `ulna bench` evaluated

Writes results/bench_pairs.csv: the difference of each pair of methods in linear accuracy, averaged over the data sets
that all methods have results on, with its 95 % interval and a p-value (bootstrap over clips and training seeds,
corrected by Holm's method).
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from ulna.core import new_file
from ulna.evaluation.bench import compare
from ulna.evaluation.protocols import Linear
from ulna.evaluation.results import EvalResult
from ulna.recipes.benchmark import DATA_SETS, METHODS

PAIRS = Path(__file__).parent.parent / "results" / "bench_pairs.csv"
COLUMNS = ("one", "two", "difference", "low", "high", "p")


def linear_results(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return, for each method and data set, (seeds, clips) whether the linear probe was right; folds are joined."""
    found: dict[tuple[str, str, str], dict[str, np.ndarray]] = defaultdict(dict)
    for path in sorted(folder.glob("*/results/*.json")):
        result = EvalResult.open(path)
        known, key = result.metadata, result.key
        is_linear = (key.kind, key.protocol, key.options) == ("trained", "linear", Linear().to_json())
        if known is None or not is_linear or not known.recipe.name.startswith("bench/"):
            continue
        _, method, name = known.recipe.name.split("/")
        if known.fingerprint == DATA_SETS[name].fingerprint and key.split in DATA_SETS[name].splits:
            found[method, name, key.split][path.parent.parent.name] = result.correct_by_run.mean(axis=0)
    correct: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for method in METHODS:
        for name, data in DATA_SETS.items():
            folds = [list(found[method, name, split].values()) for split in data.splits]
            if num := min(map(len, folds)):
                correct[METHODS[method].title][name] = np.concatenate([np.array(own[:num]) for own in folds], axis=1)
    return dict(correct)


def main() -> None:
    """Write the comparisons of all pairs of methods on the data sets that all of them have results on."""
    found = linear_results(Path(sys.argv[1]))
    shared = set.intersection(*map(set, found.values()))
    correct = {method: {name: own[name] for name in sorted(shared)} for method, own in found.items()}
    print(f"{len(correct)} methods on {', '.join(sorted(shared))}")
    with new_file(PAIRS) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for (one, two), own in compare(correct).items():
            numbers = (100 * own.difference, 100 * own.low, 100 * own.high)
            table.writerow([one, two, *(f"{number:.2f}" for number in numbers), f"{own.p:.4f}"])


if __name__ == "__main__":
    main()
