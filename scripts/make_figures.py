"""Draw the figures of the results pages from results.csv, and that of timelines from the tables of answers.md.

    python scripts/make_figures.py

- figures/pretraining_gain.png: linear accuracy of random init and of the pretrained encoder, same readout.
- figures/bench_gain.png: the same for the benchmark, by method and data set.
- figures/any_body.png: `ulna/base` on data it has not seen, beside raw joints, random init and in-domain pretraining.
- figures/timelines.png: F1@50 of timelines of assembled recordings.
- figures/ranks.png: mean ranks of the benchmark's methods, and which do not differ (bench_pairs.csv, which
  compare_methods.py writes).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ulna.evaluation.bench import TASKS, Comparison, groups_alike, mean_ranks, score
from ulna.evaluation.table import ResultRow, mean_and_sd, protocol_options, read_rows
from ulna.recipes.benchmark import DATA_SETS, METHODS

RESULTS = Path(__file__).parent.parent / "results"
PRETRAINED, RANDOM, LINE = "#1b6ca8", "#b0b0b0", "#d9d9d9"
RAW, IN_DOMAIN = "#c0392b", "#8e6bbf"
QUALITY = {"6511427aa036022c": ", quality"}  # UI-PRMD by correctness
FOLDS = ("fold1", "fold2", "fold3", "fold4", "fold5")


def gains(rows: Sequence[ResultRow]) -> list[tuple[str, float, float | None, float, float | None]]:
    """Return title, mean and deviation of random init, and of the pretrained encoder, for every recipe and pooling."""
    groups: dict[tuple[str, str, str, str], dict[str, list[ResultRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        plain = row.protocol == "linear" and not row.options and not row.changes and row.recipe
        others = ("ablation", "sample", "bench/", "base")  # the last two have figures of their own
        if plain and not any(word in row.recipe for word in others) and row.split not in FOLDS:
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


def any_body(rows: Sequence[ResultRow]) -> dict[str, dict[str, dict[str, tuple[float, float | None]]]]:
    """Return mean and deviation of the accuracy by task, by what was evaluated, and by data set."""
    tasks = {
        "1-NN": ("knn", ""),
        "linear": ("linear", ""),
        "linear by fit": ("fit", ""),
        "5 % labels": ("fit", "share=0.05"),
        "10 % labels": ("fit", "share=0.1"),
    }
    found: dict[str, dict[str, dict[str, tuple[float, float | None]]]] = {}
    for task, (protocol, options) in tasks.items():
        kinds: dict[str, dict[str, list[ResultRow]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            data = next((own for own in DATA_SETS.values() if own.fingerprint == row.fingerprint), None)
            if data is None or row.split not in data.splits or row.options != options or row.changes:
                continue
            if row.kind == "raw_joints":
                kinds["1-NN on raw joints"][data.title].append(row)
            elif row.recipe == "base" and row.protocol == protocol and row.fingerprint not in row.pretrained_on:
                title = (
                    "random init" if row.kind == "random_init" else "ulna/base" if row.pretrained_on else "in-domain"
                )
                kinds[title][data.title].append(row)
        shown = [own.title for own in DATA_SETS.values() if own.title in kinds["ulna/base"]]
        found[task] = {
            title: {data: value for data in shown if (value := mean_and_sd(kinds[title][data])) is not None}
            for title in ("1-NN on raw joints", "random init", "in-domain", "ulna/base")
        }
    return found


def draw_any_body(found: Mapping[str, Mapping[str, Mapping[str, tuple[float, float | None]]]]) -> Figure:
    """Draw a panel per task with the accuracies on each data set."""
    colors = {"1-NN on raw joints": RAW, "random init": RANDOM, "in-domain": IN_DOMAIN, "ulna/base": PRETRAINED}
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).flat
    for task, kinds in found.items():
        axes = next(panels)
        names = list(kinds["ulna/base"])
        for number, (title, values) in enumerate(kinds.items()):
            x = [names.index(name) + 0.16 * (number - 1.5) for name in values]
            y, sd = [mean for mean, _ in values.values()], [own or 0 for _, own in values.values()]
            axes.errorbar(x, y, yerr=sd, fmt="o", color=colors[title], capsize=2, label=title)
        axes.set_xticks(
            range(len(names)), [name.partition(" (")[0].replace("-", "-\n").replace(" ", "\n") for name in names]
        )
        axes.set_title(task, loc="left")
        axes.grid(axis="y", color=LINE)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel("accuracy in percent, mean ± one standard deviation")
    last = next(panels)
    last.axis("off")
    last.legend(*axes.get_legend_handles_labels(), loc="center", frameon=False)
    return figure


def timelines(page: Path) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Return mean and deviation of F1@50 by data set, setting (training data and decoder) and method."""
    found: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    data = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.endswith(("`xview`:", "`xsub`:")):
            data = line.partition(",")[0]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 9 and cells[2] in ("Viterbi", "hysteresis"):
            mean, _, sd = cells[7].partition(" ± ")
            setting = f"{cells[1]},\n{cells[2]}".replace(" and ", "\nand ")
            found.setdefault(data, {}).setdefault(setting, {})[cells[0].strip("`")] = float(mean), float(sd)
    return found


def draw_timelines(found: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> Figure:
    """Draw a panel per data set."""
    colors = {"1-NN on raw joints": RAW, "ulna/base": PRETRAINED, "in-domain": IN_DOMAIN}
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axes, (data, settings) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        for number, (title, color) in enumerate(colors.items()):
            x = [place + 0.26 * (number - 1) for place in range(len(settings))]
            values = [own[title] for own in settings.values()]
            axes.bar(x, [mean for mean, _ in values], 0.24, yerr=[sd for _, sd in values], color=color, label=title)
        axes.set_xticks(range(len(settings)), list(settings))
        axes.set_title(data, loc="left")
        axes.grid(axis="y", color=LINE)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.supylabel("F1@50 in percent")
    return figure


def bench_rows(rows: Sequence[ResultRow]) -> Iterator[tuple[str, str, ResultRow]]:
    """Yield the rows of the benchmark with the titles of their method and data set, without those of transfer."""
    for row in rows:
        parts = row.recipe.split("/")
        if parts[0] == "bench" and not row.changes:
            data = DATA_SETS[parts[2]]
            if row.split in data.splits and row.fingerprint == data.fingerprint:
                yield METHODS[parts[1]].title, data.title, row


def bench_gains(rows: Sequence[ResultRow]) -> dict[tuple[str, str], float]:
    """Return the linear accuracy of the pretrained encoder less that of random init, by method and data set."""
    values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for method, data, row in bench_rows(rows):
        if row.protocol == "linear" and not row.options:
            values[method, data][row.kind].append(row.accuracy)
    return {
        key: sum(own["trained"]) / len(own["trained"]) - sum(own["random_init"]) / len(own["random_init"])
        for key, own in values.items()
        if own["trained"] and own["random_init"]
    }


def draw_bench_gains(found: Mapping[tuple[str, str], float]) -> Figure:
    """Draw a table of gains, purple where pretraining helps and orange where it harms."""
    methods = [own.title for own in METHODS.values() if any(own.title == method for method, _ in found)]
    names = [own.title for own in DATA_SETS.values() if any(own.title == name for _, name in found)]
    cells = np.array([[found.get((method, name), np.nan) for name in names] for method in methods])
    figure = Figure(figsize=(9, 0.9 + 0.36 * len(methods)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(cells, cmap="PuOr", vmin=-20, vmax=20, aspect="auto")
    for (y, x), value in np.ndenumerate(cells):
        if np.isfinite(value):
            axes.annotate(
                f"{value:+.1f}", (x, y), ha="center", va="center", color="white" if abs(value) > 12 else "black"
            )
    axes.set_xticks(range(len(names)), [name.replace(" (", "\n(") for name in names])
    axes.set_yticks(range(len(methods)), methods)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("linear accuracy of the pretrained encoder less that of random init, in points")
    return figure


def bench_scores(rows: Sequence[ResultRow]) -> dict[str, dict[str, float]]:
    """Return the mean score of every method in every block (data set and task) that all methods have."""
    options = {task: (own.name, protocol_options(own.name, own.to_json())) for task, own in TASKS.items()}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for method, data, row in bench_rows(rows):
        for task, known in options.items():
            if row.kind == "trained" and (row.protocol, row.options) == known:
                values[method][f"{data}, {task}"].append(score(row))
    shared = set.intersection(*map(set, values.values())) if values else set()
    return {
        method: {block: sum(own[block]) / len(own[block]) for block in sorted(shared)} for method, own in values.items()
    }


def read_pairs() -> dict[tuple[str, str], Comparison]:
    """Return the comparisons in results/bench_pairs.csv."""
    with (RESULTS / "bench_pairs.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["one"], row["two"]): Comparison(*(float(row[name]) for name in ("difference", "low", "high", "p")))
            for row in csv.DictReader(file)
        }


def draw_ranks(means: Mapping[str, float], pairs: Mapping[tuple[str, str], Comparison], *, num_blocks: int) -> Figure:
    """Draw methods by mean rank; bars join methods whose linear accuracies do not differ significantly."""
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(means)), layout="constrained")
    axes = figure.add_subplot()
    places = {method: len(means) - k for k, method in enumerate(means)}
    for method, mean in means.items():
        axes.plot(mean, places[method], "o", color=PRETRAINED)
        axes.annotate(f"{mean:.1f}", (mean, places[method]), (8, 0), textcoords="offset points", va="center")
    for number, group in enumerate(groups_alike(list(means), pairs)):
        x = 0.6 - 0.12 * number
        axes.plot([x, x], [places[group[0]] + 0.2, places[group[-1]] - 0.2], color="black", linewidth=2)
    axes.set_yticks(list(places.values()), list(places))
    axes.set_xlabel(
        f"mean rank over {num_blocks} data sets and tasks\n"
        "bars join methods whose linear accuracies, averaged over the data sets,\n"
        "do not differ significantly (bootstrap over clips and seeds, Holm, p > 0.05)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1)
    return figure


def main() -> None:
    """Draw all figures."""
    rows = read_rows(RESULTS / "results.csv")
    draw_gains(gains(rows)).savefig(RESULTS / "figures" / "pretraining_gain.png", dpi=110)
    if any(row.recipe == "base" for row in rows):
        draw_any_body(any_body(rows)).savefig(RESULTS / "figures" / "any_body.png", dpi=110)
    draw_timelines(timelines(RESULTS / "answers.md")).savefig(RESULTS / "figures" / "timelines.png", dpi=110)
    if found := bench_gains(rows):
        draw_bench_gains(found).savefig(RESULTS / "figures" / "bench_gain.png", dpi=110)
    scores = bench_scores(rows)
    if len(scores) > 1:
        num_blocks = len(next(iter(scores.values())))
        figure = draw_ranks(mean_ranks(scores), read_pairs(), num_blocks=num_blocks)
        figure.savefig(RESULTS / "figures" / "ranks.png", dpi=110)


if __name__ == "__main__":
    main()
