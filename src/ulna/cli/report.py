"""ulna report RUN..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import option, parse, pos_embed


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "report",
        "Write one self-contained HTML file on a run; several runs of one recipe are taken as its seeds.",
        [
            ("runs", pos_embed(tuple[Path, ...], "Runs to report on.", metavar="RUN")),
            ("data", option(Path | None, "Dataset to show clips from; by default the one evaluated on."), None),
            ("out", option(Path | None, "File to write; report.html in the first run by default."), None),
        ],
        arguments,
    )
    if not wanted.runs:
        raise ValueError("expected at least one run to report on")
    from ulna.analysis import write_report
    from ulna.core import refuse_existing
    from ulna.data import Dataset
    from ulna.training import load

    if wanted.out and wanted.out.exists() and wanted.out.suffix != ".html":
        refuse_existing(wanted.out)
    runs = [load(path) for path in wanted.runs]
    dataset = Dataset(wanted.data) if wanted.data else None
    print(write_report(runs, wanted.out or wanted.runs[0] / "report.html", dataset=dataset))
