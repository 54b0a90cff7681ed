"""Tables of results: ours beside published ones, as Markdown and as a figure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ulna.core import write_text
from ulna.evaluation.result import EvalResult

PANELS_ACROSS = 6
LETTERS_AN_INCH = 15  # of the key below
CLEAN = ", clean"  # ends the name of a column without the clips that are copies of training clips


@dataclass(frozen=True)
class Cell:
    """One number: accuracy in percent, its spread, and the file behind it where it is ours."""

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None
    file: Path | None = None

    @classmethod
    def of(cls, result: EvalResult, file: Path) -> Cell:
        low, high = result.interval
        sd = None if result.sd is None else 100 * result.sd
        return cls(100 * result.mean, sd, (100 * low, 100 * high), file)

    def repeats(self, other: Cell | None) -> bool:
        """Whether it is the same number once more, as of one untrained encoder beside several recipes."""
        return other is not None and (self.mean, self.sd, self.interval) == (other.mean, other.sd, other.interval)

    @property
    def text(self) -> str:
        return f"{self.mean:.1f}" + (f" ± {self.sd:.1f}" if self.sd is not None else "")


@dataclass(frozen=True)
class Line:
    """One method's cells by column; a column that nobody has measured is missing."""

    name: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    is_ours: bool = True


def write_table(title: str, lines: Sequence[Line], path: Path) -> Path:
    """Write a table to `path` (.md) and its figure beside it (.png); our cells link to their files. Gives the path."""
    ours_first = sorted(lines, key=lambda line: not line.is_ours)
    columns = list(dict.fromkeys(column for line in ours_first for column in line.cells))
    rows = [f"## {title}", "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for line in lines:
        cells = [_cell(line.cells.get(column), path.parent) for column in columns]
        rows.append(f"| {f'**{line.name}**' if line.is_ours else line.name} | " + " | ".join(cells) + " |")
    rows += ["", "Accuracy in percent after the last epoch, ± one standard deviation over runs.", ""]
    write_text(path, "\n".join(rows))
    if any(line.cells for line in lines):
        _draw(title, lines, columns, path.with_suffix(".png"))
    return path


def _cell(cell: Cell | None, folder: Path) -> str:
    if cell is None:
        return ""
    if cell.file is None:
        return cell.text
    return f"[{cell.text}]({cell.file.relative_to(folder).as_posix()})"


def _draw(title: str, lines: Sequence[Line], columns: Sequence[str], path: Path) -> None:
    """A dot a cell, one panel a column: ours filled, with one standard deviation and the 95 % interval.

    Published numbers are hollow; numbers without leaked clips are squares below those with them. Training from scratch
    stands, as diamonds, in the panel of fine-tuning on as many labels.
    """
    from matplotlib.figure import Figure

    beside = {tuned: column for column in columns if (tuned := _tuned(column)) in columns}
    panels = [column for column in columns if not column.endswith(CLEAN) and column not in beside.values()]
    across = min(len(panels), PANELS_ACROSS)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(2.6 + 2.4 * across, 0.9 + (0.3 + 0.34 * len(lines)) * down), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axis in grid.flat[len(panels) :]:
        axis.axis("off")
    for axis, column in zip(grid.flat, panels, strict=False):
        for row, line in enumerate(lines):
            _mark(axis, line.cells.get(column), row, "o", "#0f766e")
            _mark(axis, line.cells.get(column + CLEAN), row + 0.28, "s", "#c2410c")
            _mark(axis, line.cells.get(beside.get(column, "")), row - 0.28, "D", "#6d5bd0")
        axis.set_title(column, fontsize=10)
        axis.grid(color="#e4e2dc", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    grid[0, 0].set_yticks(range(len(lines)), [line.name for line in lines])
    grid[0, 0].set_ylim(len(lines) - 0.4, -0.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    key = "accuracy in percent; thick: one standard deviation, thin: 95 % bootstrap interval"
    if any(column.endswith(CLEAN) for column in columns):
        key += "; squares: without leaked clips"
    if beside:
        key += "; diamonds: from scratch"
    figure.supxlabel(textwrap.fill(key, int(LETTERS_AN_INCH * figure.get_figwidth())), fontsize=8)
    figure.savefig(path, dpi=130)


def _tuned(column: str) -> str:
    """The column of fine-tuning on as many labels as a column of training from scratch has; "" for other columns."""
    protocol, _, variant = column.partition(" ")
    if protocol != "scratch":
        return ""
    return f"few-labels {variant}" if re.match(r"[\d.]+pct", variant) else f"finetune {variant}".strip()


def _mark(axis: Any, cell: Cell | None, row: int | float, form: str, colour: str) -> None:
    if cell is None:
        return
    if cell.file is None:
        colour = "#697080"
    if cell.interval:
        axis.plot(cell.interval, [row, row], color=colour, alpha=0.35, linewidth=1.2)
    if cell.sd is not None:
        axis.plot([cell.mean - cell.sd, cell.mean + cell.sd], [row, row], color=colour, linewidth=3.5, alpha=0.45)
    size = 6 if form == "o" else 4
    is_filled = form == "o" and cell.file is not None
    axis.plot(cell.mean, row, form, color=colour, markerfacecolor=colour if is_filled else "white", markersize=size)
