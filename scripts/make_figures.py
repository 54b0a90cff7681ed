"""Draw the figures of the results pages from results.csv.

    python scripts/make_figures.py

- figures/pretraining_gain.png: linear accuracy of random init and of the pretrained encoder, same readout.
- figures/ranks.png: mean ranks of the benchmark's methods, and which of them do not differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ulna.core import InputError
from ulna.evaluation.bench import TASKS, Ranks, ranks, score
from ulna.evaluation.table import ResultRow, mean_and_sd, protocol_options, read_rows
from ulna.recipes.benchmark import DATA_SETS, METHODS

RESULTS = Path(__file__).parent.parent / "results"
PRETRAINED, RANDOM, LINE = "#1b6ca8", "#b0b0b0", "#d9d9d9"
QUALITY = {"6511427aa036022c": ", quality"}  # UI-PRMD by correctness
FOLDS = ("fold1", "fold2", "fold3", "fold4", "fold5")


def gains(rows: Sequence[ResultRow]) -> list[tuple[str, float, float | None, float, float | None]]:
    """Return title, mean and deviation of random init, and of the pretrained encoder, for every recipe and pooling."""
    groups: dict[tuple[str, str, str, str], dict[str, list[ResultRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        plain = row.protocol == "linear" and not row.options and not row.changes and row.recipe
        if plain and "ablation" not in row.recipe and row.split not in FOLDS and "sample" not in row.recipe:
            groups[row.recipe, row.split, row.pooling, row.fingerprint][row.kind].append(row)
    found = []
    for (recipe, split, pooling, fingerprint), kinds in groups.items():
        if kinds["trained"] and kinds["random_init"]:
            before, after = mean_and_sd(kinds["random_init"]), mean_and_sd(kinds["trained"])
            if before and after:
                where = "five folds" if split == "+".join(FOLDS) else split + QUALITY.get(fingerprint, "")
                found.append((f"{recipe} ({where}, {pooling})", *before, *after))
    return sorted(found, key=lambda own: own[3] - own[1])


def draw_gains(found: Sequence[tuple[str, float, float | None, float, float | None]]) -> Figure:
    """Draw a line per recipe from random init to the pretrained encoder."""
    figure = Figure(figsize=(9, 0.8 + 0.3 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    for y, (_, before, before_sd, after, after_sd) in enumerate(found):
        axes.plot([before, after], [y, y], color=LINE, linewidth=3, zorder=1)
        axes.errorbar(before, y, xerr=before_sd or 0, fmt="o", color=RANDOM, capsize=2, zorder=2)
        axes.errorbar(after, y, xerr=after_sd or 0, fmt="o", color=PRETRAINED, capsize=2, zorder=3)
        end = max(before + (before_sd or 0), after + (after_sd or 0))
        axes.annotate(f"{after - before:+.1f}", (end, y), (8, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(found)), [own[0] for own in found])
    axes.set_xlabel("linear accuracy in percent, mean ± one standard deviation")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    for label, color in (("random init", RANDOM), ("pretrained", PRETRAINED)):
        axes.plot([], [], "o", color=color, label=label)
    axes.legend(loc="lower left", frameon=False)
    return figure


def bench_scores(rows: Sequence[ResultRow]) -> dict[str, dict[str, float]]:
    """Return the mean score of every method in every block (data set and task) that all methods have."""
    options = {task: (own.name, protocol_options(own.name, own.to_json())) for task, own in TASKS.items()}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        parts = row.recipe.split("/")
        if parts[0] != "bench" or row.kind != "trained" or row.changes:
            continue
        for task, known in options.items():
            if (row.protocol, row.options) == known:
                values[METHODS[parts[1]].title][f"{DATA_SETS[parts[2]].title}, {task}"].append(score(row))
    shared = set.intersection(*map(set, values.values())) if values else set()
    return {
        method: {block: sum(own[block]) / len(own[block]) for block in sorted(shared)} for method, own in values.items()
    }


def draw_ranks(found: Ranks) -> Figure:
    """Draw methods by mean rank; bars join methods that do not differ."""
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(found.methods)), layout="constrained")
    axes = figure.add_subplot()
    places: Mapping[str, int] = {method: len(found.methods) - k for k, method in enumerate(found.methods)}
    for method, mean in zip(found.methods, found.mean, strict=True):
        axes.plot(mean, places[method], "o", color=PRETRAINED)
        axes.annotate(f"{mean:.1f}", (mean, places[method]), (8, 0), textcoords="offset points", va="center")
    for number, group in enumerate(found.alike()):
        x = 0.6 - 0.12 * number
        axes.plot([x, x], [places[group[0]] + 0.2, places[group[-1]] - 0.2], color="black", linewidth=2)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_xlabel(
        f"mean rank over {found.blocks} data sets and tasks; bars join methods that do not differ (p > 0.05)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    return figure


def main() -> None:
    """Draw all figures."""
    rows = read_rows(RESULTS / "results.csv")
    draw_gains(gains(rows)).savefig(RESULTS / "figures" / "pretraining_gain.png", dpi=110)
    try:
        draw_ranks(ranks(bench_scores(rows))).savefig(RESULTS / "figures" / "ranks.png", dpi=110)
    except InputError as error:
        print(f"no figure of ranks: {error}")


if __name__ == "__main__":
    main()
