"""ulna evaluate RUN... --data STORE"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ulna.cli.arguments import inline, option, parse, pos_embed, value_of
from ulna.core import options, refuse_existing
from ulna.data import Dataset
from ulna.evaluation import PROTOCOLS
from ulna.evaluation.result import EvalResult


def main(arguments: Sequence[str]) -> None:
    protocol = options(PROTOCOLS, value_of(arguments, "--protocol", "linear"))
    wanted = parse(
        "evaluate",
        f"Judge runs by a protocol ({', '.join(PROTOCOLS)}); several runs of one recipe are taken as its seeds.",
        [
            ("runs", pos_embed(tuple[Path, ...], "Runs to judge.", metavar="RUN")),
            ("data", option(Path, "Dataset with labels.")),
            ("protocol", option(str, f"One of {', '.join(PROTOCOLS)}."), "linear"),
            ("split", option(str | None, "Split to judge on; the recipe's by default."), None),
            ("seeds", option(int, "Seeds of the probe, for each run."), 3),
            ("baselines", option(bool, "Also chance, raw joints and the untrained encoder."), True),
            ("out", option(Path | None, "Save the result over all runs as JSON, baselines beside it."), None),
            ("options", inline(type(protocol)), protocol),
        ],
        arguments,
    )  # fmt: skip
    if not wanted.runs:
        raise ValueError("expected at least one run to judge")
    from ulna.evaluation.evaluation import check_alike, evaluate, over_runs
    from ulna.training import load

    if wanted.out:
        refuse_existing(wanted.out)
    if len({path.resolve() for path in wanted.runs}) < len(wanted.runs):
        raise ValueError("expected different runs, got one of them twice")
    dataset = Dataset(wanted.data)
    runs = [load(path) for path in wanted.runs]
    split = runs[0].recipe.split if wanted.split is None else wanted.split
    if split is None:
        raise ValueError(f"expected --split, since the recipe names none; {dataset.path} has {', '.join(dataset.splits)}")
    check_alike(runs)
    judged = [
        evaluate(run, dataset, protocol=wanted.options, split=split, seeds=wanted.seeds, baselines=wanted.baselines)
        for run in runs
    ]
    results = over_runs(judged)
    show(results)
    if wanted.out:
        first, *others = results
        for name in others:
            results[name].save(wanted.out.with_suffix(f".{name}.json"))
        results[first].save(wanted.out)


def show(results: Mapping[str, EvalResult]) -> None:
    """Print a table of accuracies, and what the first is made of."""
    first = next(iter(results.values()))
    chosen = ", ".join(f"{name} {value}" for name, value in first.chosen.items() if name != "name")
    print(f"\nsplit {first.split}, {len(first.labels)} test clips; {first.protocol}: {chosen}")
    _rows(results)
    if first.clean:
        print(
            f"clean: {len(first.copied)} test clips are exact copies of training clips; "
            f"on the other {len(first.clean.labels)}"
        )
        _rows({name: result.clean for name, result in results.items() if result.clean})
    seen = first.metadata.get("pretrained_on_test")
    if seen:
        print(f"  warning: {seen} of the test clips were pretrained on (without labels)")
    absent = first.metadata.get("absent_joints")
    if absent:
        print(f"  absent in every frame, since the clips' skeleton has nothing for them: {', '.join(absent)}")
    if first.metrics:
        print("  " + ", ".join(f"{name} {100 * value:.1f}" for name, value in first.metrics.items()))
    for kind, values in (("group", first.per_group), ("class", first.per_class)):
        known = [f"{name} {100 * a:.0f}" for name, a in values.items() if a is not None]
        if known:
            print(f"  per {kind}: " + ", ".join(known))


def _rows(results: Mapping[str, EvalResult]) -> None:
    for result in results.values():
        low, high = (100 * end for end in result.interval)
        seeds = f", {result.spread_over}" if result.spread_over else ""
        print(f"  {result.protocol:34} {result.summary():40} [{low:.1f}, {high:.1f}{seeds}]")
