"""Numbers published by others, with their sources."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class PublishedNumber:
    """One published accuracy.

    Args:
        method: Name and year.
        dataset: Name of the data set and split, such as "nw_ucla xview".
        protocol: "linear", "knn" or "finetune".
        share: Share of the labels used.
        accuracy: In percent. Published numbers are mostly best epochs on the test set; ours are last epochs.
        source: arXiv number or DOI of the text the number was read in.
        table: Where in that text.
        note: What else there is to know.
    """

    method: str
    dataset: str
    protocol: str
    share: float
    accuracy: float
    source: str
    table: str
    note: str


def published_numbers(dataset: str | None = None) -> list[PublishedNumber]:
    """Return all published numbers, or those of one data set, in the order of the file."""
    text = files("ulna.recipes").joinpath("published.csv").read_text(encoding="utf-8")
    rows = [
        PublishedNumber(**row | {"share": float(row["share"]), "accuracy": float(row["accuracy"])})  # type: ignore[arg-type]
        for row in csv.DictReader(text.splitlines())
    ]
    return [row for row in rows if dataset in (None, row.dataset)]
