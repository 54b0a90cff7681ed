"""Tables of results: ours beside published ones, as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ulna.core import write_text
from ulna.protocols.outcome import Outcome


@dataclass(frozen=True)
class Cell:
    """One number: accuracy in percent, its spread, and the file behind it where it is ours."""

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None
    file: Path | None = None

    @classmethod
    def of(cls, outcome: Outcome, file: Path) -> Cell:
        low, high = outcome.interval
        sd = None if outcome.sd is None else 100 * outcome.sd
        return cls(100 * outcome.mean, sd, (100 * low, 100 * high), file)

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
    columns = list(dict.fromkeys(column for line in lines for column in line.cells))
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
    """A dot a cell, one panel a column: ours filled, with one standard deviation and the 95 % interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 + 2.9 * len(columns), 0.9 + 0.34 * len(lines)), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        for row, line in enumerate(lines):
            cell = line.cells.get(column)
            if cell is None:
                continue
            colour = "#0f766e" if line.is_ours else "#697080"
            if cell.interval:
                axis.plot(cell.interval, [row, row], color=colour, alpha=0.35, linewidth=1.5)
            if cell.sd is not None:
                axis.plot([cell.mean - cell.sd, cell.mean + cell.sd], [row, row], color=colour, linewidth=4, alpha=0.5)
            axis.plot(cell.mean, row, "o", color=colour, markerfacecolor=colour if line.is_ours else "white")
        axis.set_title(column, fontsize=10)
        axis.grid(axis="x", color="#e4e2dc")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(lines)), [line.name for line in lines])
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.supxlabel("accuracy in percent; thick: one standard deviation, thin: 95 % bootstrap interval", fontsize=8)
    figure.savefig(path, dpi=130)
