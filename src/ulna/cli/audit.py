"""ulna audit STORE [STORE...] --split S"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ulna.cli.arguments import option, parse, pos_embed
from ulna.core import new_file, refuse_existing
from ulna.data import Dataset

if TYPE_CHECKING:
    from ulna.audit.audit import Match

SHOWN = 10


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "audit",
        "Find test clips that are copies of training clips, also if they were turned, moved, resampled or cropped. "
        "With further datasets: also copies of any of their clips, say of those that were pretrained on.",
        [
            ("datasets", pos_embed(tuple[Path, ...], "The dataset that is tested on, then others.", metavar="STORE")),
            ("split", option(str, "Split of the first dataset, whose test part is looked at.")),
            ("threshold", option(float, "Largest distance of a near copy, root mean square, in metres."), 0.015),
            ("near", option(bool, "Also near copies; else exact ones only."), True),
            ("out", option(Path | None, "CSV file to write all pairs to; must not exist."), None),
        ],
        arguments,
    )  # fmt: skip
    if not wanted.datasets:
        raise ValueError("expected at least one dataset to look at")
    from ulna.audit.audit import Part, audit

    if wanted.out:
        refuse_existing(wanted.out)
    first, *others = (Dataset(path) for path in wanted.datasets)
    for dataset in (first, *others):
        dataset.verify()
    train, test = first.split(wanted.split)
    known = [Part(first, train), *(Part(dataset, np.arange(dataset.num_clips)) for dataset in others)]
    found = audit(Part(first, test), known, threshold=wanted.threshold, near=wanted.near)
    matches = found.matches
    copied = {match.test for match in matches}
    labels = dict(zip(first.ids, first.labels.tolist(), strict=True))
    exact = sum(match.is_exact for match in matches)
    print(
        f"{first.path}, split {wanted.split}: of {len(test):,} test clips {len(copied):,} are copies of "
        f"{sum(len(part.clips) for part in known):,} clips ({exact:,} exact, {len(matches) - exact:,} near)"
    )
    by_class = Counter(first.classes[labels[name]] if labels[name] >= 0 else "no label" for name in copied)
    for name, count in by_class.most_common():
        print(f"  {count:6,}  {name}")
    for match in matches[:SHOWN]:
        print(f"  {match.test} is {match.known}: {match.kind}, {1000 * match.alignment.distance:.1f} mm apart")
    if len(matches) > SHOWN:
        print(f"  ... {len(matches) - SHOWN:,} more" + ("" if wanted.out else "; --out FILE.csv lists them all"))
    if wanted.out:
        _write(matches, wanted.out)
    if found.not_compared:
        print(
            f"  {len(found.not_compared):,} test clips show too little to be compared with near copies: "
            f"{', '.join(found.not_compared[:SHOWN])}{' ...' if len(found.not_compared) > SHOWN else ''}"
        )
    if copied:
        print(f"  {len(copied):,} test clips measure memory: report accuracy without them too", file=sys.stderr)


def _write(matches: Sequence[Match], path: Path) -> None:
    with new_file(path) as partial, partial.open("w", newline="") as file:
        rows = csv.DictWriter(file, [*matches[0].row] if matches else ["test", "known"])
        rows.writeheader()
        rows.writerows(match.row for match in matches)
    print(path)
