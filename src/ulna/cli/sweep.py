"""ulna sweep TABLE|RECIPE... --data STORE --out FOLDER"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ulna.cli.arguments import option, parse, pos_embed
from ulna.core import within, write_text
from ulna.data import Dataset
from ulna.evaluation import PROTOCOLS
from ulna.recipes import RECIPES, TABLES
from ulna.recipes.tables import LINEAR, Row, Table

RESULTS = "results"
OWN = ("--data", "--out", "--split", "--training.seed", "--resume")


@dataclass(frozen=True)
class Job:
    """One command of a sweep, and the file or folder that is there once it was done."""

    words: tuple[str, ...]
    makes: Path
    num_runs: int | None = None
    """How many runs a result must be over to be taken as it is."""

    @property
    def is_done(self) -> bool:
        if self.num_runs is None or not self.makes.exists():
            return self.makes.exists()
        try:
            return len(json.loads(self.makes.read_text())["metadata"]["runs"]) == self.num_runs
        except (ValueError, KeyError, TypeError):
            return False

    def run(self, threads: int, running: list[subprocess.Popen[bytes]]) -> bool:
        """Run it, or go on with what is half done; its output goes to a log beside what it makes."""
        if self.is_done:
            return True
        if self.makes.is_file():
            self.makes.unlink()  # over other runs
        words = list(self.words)
        if self.makes.with_name(self.makes.name + ".unfinished").exists():
            words.append("--resume")
        log = self.makes.with_name(self.makes.name + ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with log.open("ab") as file:
            child = subprocess.Popen(
                [sys.executable, "-m", "ulna", *words], stdout=file, stderr=subprocess.STDOUT, env=environment
            )
            running.append(child)
            code = child.wait()
        state = "done" if code == 0 else f"failed, exit code {code}, see {log}"
        print(f"ulna {shlex.join(words)}\n  {state}", flush=True)
        return code == 0


def main(arguments: Sequence[str]) -> None:
    arguments = list(arguments)
    place = arguments.index("--") if "--" in arguments else len(arguments)
    wanted = parse(
        "sweep",
        "Pretrain and judge recipes over seeds, and write a table of them. What follows -- overrides the recipes' "
        "fields. A sweep that was interrupted goes on where it stopped when it is started again.\n\n"
        f"Tables: {', '.join(TABLES)}",
        [
            ("names", pos_embed(tuple[str, ...], "A table, or recipes.", metavar="NAME")),
            ("data", option(Path, "Dataset to learn from and to judge on.")),
            ("out", option(Path, "Folder for runs, results and the table.")),
            ("seeds", option(int, "How many seeds, from 0."), 3),
            ("protocols", option(tuple[str, ...] | None, "Protocols, each with its options in quotes."), None),
            ("splits", option(tuple[str, ...] | None, "Splits to learn and judge on; several are folds."), None),
            ("jobs", option(int, "Runs at a time, which share the cores."), 1),
        ],
        arguments[:place],
    )  # fmt: skip
    within("seeds", wanted.seeds, 1)
    within("jobs", wanted.jobs, 1)
    table = _table(wanted.names)
    protocols = tuple(shlex.split(words) for words in wanted.protocols or table.protocols)
    for words in protocols:
        PROTOCOLS[words[0] if words else ""]
    own = [word for word in arguments[place + 1 :] if word.split("=")[0] in OWN]
    if own:
        raise ValueError(f"expected overrides of recipes' fields, got {own[0]}, which the sweep sets itself")
    name = wanted.names[0].rpartition("/")[2] if wanted.names[0] in TABLES else "table"
    sweep = Sweep(
        name,
        table,
        wanted.data,
        wanted.out,
        wanted.seeds,
        protocols,
        wanted.splits or table.splits,
        arguments[place + 1 :],
    )
    threads = max(1, (os.cpu_count() or 1) // wanted.jobs)
    with sweep.begun():
        is_done = _run_all(sweep.pretraining(), wanted.jobs, threads)
        is_done &= _run_all(sweep.judging(), wanted.jobs, threads)
        print(sweep.write())
    if not is_done:
        sys.exit(1)


def _table(names: Sequence[str]) -> Table:
    if not names:
        raise ValueError(f"expected a table or recipes first; tables: {', '.join(TABLES)}")
    if len(names) == 1 and names[0] in TABLES:
        return TABLES[names[0]]()
    for name in names:
        RECIPES[name]
    return Table(", ".join(names), tuple(Row(name, name) for name in names), LINEAR)


def _run_all(jobs: Iterable[Job], at_once: int, threads: int) -> bool:
    running: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(at_once) as pool:
        try:
            return all(list(pool.map(lambda job: job.run(threads, running), jobs)))
        except BaseException:  # asked to stop: so are the runs, which leave checkpoints
            pool.shutdown(wait=False, cancel_futures=True)
            for child in running:
                child.terminate()
            raise


@dataclass(frozen=True)
class Sweep:
    """What there is to run for a table, where it goes, and how it is put together."""

    name: str
    table: Table
    data: Path
    out: Path
    seeds: int
    protocols: tuple[list[str], ...]
    splits: tuple[str, ...]
    overrides: Sequence[str]

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Hold the folder for this sweep alone; refuse one with runs on other data or with other overrides."""
        dataset = Dataset(self.data)
        for recipe in self._recipes():
            parts = [set(dataset.split(split)[1].tolist()) for split in self._splits(recipe)]
            if sum(map(len, parts)) > len(set().union(*parts)):
                raise ValueError("expected splits that share no test clip (folds), got others; sweep them one by one")
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"{self.out}: another sweep is at work in this folder; wait for it") from None
            asked = {"fingerprint": dataset.fingerprint, "overrides": list(self.overrides)}
            file = self.out / "sweep.json"
            if file.exists() and json.loads(file.read_text()) != asked:
                raise ValueError(
                    f"{self.out}: expected the data and overrides that this sweep began with ({file.read_text()}), "
                    f"got {json.dumps(asked)}; choose another folder"
                )
            write_text(file, json.dumps(asked))
            yield

    def pretraining(self) -> Iterator[Job]:
        """Every recipe once, on every split, with every seed."""
        for recipe in self._recipes():
            for split in self._splits(recipe):
                for seed, run in enumerate(self._runs(recipe, split)):
                    words = ["pretrain", recipe, "--data", str(self.data), "--out", str(run), "--split", split]
                    yield Job((*words, "--training.seed", str(seed), *self.overrides), run)

    def judging(self) -> Iterator[Job]:
        for recipe in self._recipes():
            for split in self._splits(recipe):
                for protocol in self.protocols:
                    runs = [str(run) for run in self._runs(recipe, split)]
                    file = self._result(recipe, split, protocol)
                    words = ["evaluate", *runs, "--data", str(self.data), "--split", split, "--out", str(file)]
                    baselines = () if protocol[0] in LINEAR else ("--no-baselines",)
                    yield Job((*words, "--seeds", "1", "--protocol", *protocol, *baselines), file, self.seeds)

    def write(self) -> Path:
        """The table of what is there."""
        from ulna.analysis.table import CLEAN, Cell, Line, write_table
        from ulna.evaluation.evaluation import CHANCE, RAW, UNTRAINED
        from ulna.evaluation.result import EvalResult, pool

        def measured(recipe: str, protocol: Sequence[str], ending: str = ".json") -> tuple[EvalResult, Path] | None:
            """A protocol's result on a recipe, over all folds."""
            files = [self._result(recipe, split, protocol).with_suffix(ending) for split in self._splits(recipe)]
            if not all(file.is_file() for file in files):
                return None
            if len(files) == 1:
                return EvalResult.open(files[0]), files[0]
            pooled, file = pool([EvalResult.open(file) for file in files]), self._result(recipe, "folds", protocol)
            pooled.save(file.with_suffix(ending))
            return pooled, file.with_suffix(ending)

        def cells_of(found: tuple[EvalResult, Path], column: str) -> dict[str, Cell]:
            result, file = found
            cells = {column: Cell.of(result, file)}
            if result.clean:
                cells[column + CLEAN] = Cell.of(result.clean, file)
            if self.table.per_class:
                cells |= {name: Cell(100 * a, file=file) for name, a in result.per_class.items() if a is not None}
            return cells

        lines: dict[str, dict[str, Cell]] = {}
        for row in self.table.rows:
            cells = {column: Cell(number) for column, number in row.numbers.items()}
            for protocol in self.protocols if row.recipe else ():
                if (found := measured(row.recipe or "", protocol)) is None:
                    continue
                column = found[0].protocol if found[0].protocol not in cells else " ".join(protocol)
                cells |= cells_of(found, column)
                for baseline in (CHANCE, RAW, f"{UNTRAINED}_{found[0].file_stem}"):
                    if beside := measured(row.recipe or "", protocol, f".{baseline}.json"):
                        name = f"{row.name}, untrained" if baseline.startswith(UNTRAINED) else beside[0].protocol
                        own = cells_of(beside, column)
                        if not any(own[column].repeats(line.get(column)) for line in lines.values()):
                            lines[name] = lines.get(name, {}) | own
            lines[row.name] = cells
        published = {row.name for row in self.table.rows if row.recipe is None}
        rows = [Line(name, cells, is_ours=name not in published) for name, cells in lines.items()]
        return write_table(self.table.title, rows, self.out / f"{self.name}.md")

    def _recipes(self) -> list[str]:
        return list(dict.fromkeys(row.recipe for row in self.table.rows if row.recipe))

    def _splits(self, recipe: str) -> Sequence[str]:
        own = RECIPES[recipe]().split
        if not self.splits and own is None:
            raise ValueError(f"expected --splits, since {recipe} names none")
        return self.splits or (own,)

    def _runs(self, recipe: str, split: str) -> list[Path]:
        return [self.out / _plain(recipe) / split / f"seed{seed}" for seed in range(self.seeds)]

    def _result(self, recipe: str, split: str, protocol: Sequence[str]) -> Path:
        return self.out / RESULTS / f"{_plain(recipe)}-{split}-{_plain(' '.join(protocol))}.json"


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.]+", "-", name).strip("-")
