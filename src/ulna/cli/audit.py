"""ulna audit DATASET... --split SPLIT"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ulna.cli.options import INLINE, LOCAL, run
from ulna.core import InputError, Workers, new_file, refuse_existing

if TYPE_CHECKING:
    from ulna.audit import Match

SHOWN = 10
Datasets = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DATASET [DATASET ...]"), tyro.conf.Positional]


def audit(
    datasets: Datasets,
    /,
    *,
    split: str,
    threshold: float = 0.015,
    near: bool = True,
    out: Path | None = None,
    table: Path | None = None,
    workers: Annotated[Workers, INLINE] = LOCAL,
) -> None:
    """Find test clips that are copies of training clips, also if they were rotated, moved, resampled or cropped.

    With further datasets also copies of any of their clips, for example of clips that were pretrained on.

    Args:
        datasets: The dataset that is tested on, then others.
        split: Split of the first dataset whose test part is examined.
        threshold: Largest root mean square distance of a near copy, in metres.
        near: Look for near copies as well as exact ones.
        out: CSV file to write all pairs to; must not exist.
        table: Folder to write near copies to, as Parquet files; needed with shards.
        workers: Where test clips are compared.
    """
    import numpy as np

    from ulna.audit import ClipSet
    from ulna.audit import audit as find_copies
    from ulna.dataset import Dataset

    if not datasets:
        raise InputError("expected at least one dataset, found none")
    if out:
        refuse_existing(out)
    if table is None:
        workers.refuse_if_unsharded()
        if workers.is_sharded:
            raise InputError("expected --table FOLDER with shards, found none")
    else:
        refuse_existing(table)
    first, *others = (Dataset(path) for path in datasets)
    for dataset in (first, *others):
        dataset.verify()
    train, test = first.split(split)
    known = [ClipSet(first, train), *(ClipSet(dataset, np.arange(dataset.num_clips)) for dataset in others)]
    found = find_copies(ClipSet(first, test), known, threshold=threshold, near=near, workers=workers, table=table)
    matches = found.matches
    copied = {match.test for match in matches}
    labels = dict(zip(first.ids, first.labels.tolist(), strict=True))
    exact = sum(match.is_exact for match in matches)
    windows = sum(match.shared_frames > 0 for match in matches)
    kinds = {"exact": exact, "overlapping windows": windows, "near": len(matches) - exact - windows}
    counts = ", ".join(f"{num:,} {kind}" for kind, num in kinds.items() if num or kind != "overlapping windows")
    print(
        f"{first.path}, split {split}: of {len(test):,} test clips {len(copied):,} are copies of one of "
        f"{sum(len(part.clips) for part in known):,} clips ({counts})"
    )
    by_class = Counter(first.classes[labels[name]] if labels[name] >= 0 else "no label" for name in copied)
    for name, count in by_class.most_common():
        print(f"  {count:6,}  {name}")
    for match in matches[:SHOWN]:
        print(f"  {match.test} is {match.known}: {match.kind}, {1000 * match.alignment.distance:.1f} mm apart")
    if len(matches) > SHOWN:
        print(f"  ... {len(matches) - SHOWN:,} more" + ("" if out else "; --out FILE.csv lists them all"))
    if out:
        _write(matches, out)
    if found.not_compared:
        print(
            f"  {len(found.not_compared):,} test clips have too few visible frames to look for near copies: "
            f"{', '.join(found.not_compared[:SHOWN])}{' ...' if len(found.not_compared) > SHOWN else ''}"
        )
    recordings = first.recordings
    both = {recordings[clip] for clip in train} & {recordings[clip] for clip in test}
    if both:
        print(f"  {len(both):,} recordings are on both sides of the split: {', '.join(sorted(both)[:SHOWN])}")
    if copied:
        import warnings

        from ulna.core import UlnaWarning

        warnings.warn(
            f"{len(copied):,} test clips also occur among the known clips; report accuracy without them as well",
            UlnaWarning,
            stacklevel=2,
        )


def _write(matches: Sequence[Match], path: Path) -> None:
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, [*matches[0].row] if matches else ["test", "known"])
        rows.writeheader()
        rows.writerows(match.row for match in matches)
    print(path)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(audit, arguments, prog="audit")
