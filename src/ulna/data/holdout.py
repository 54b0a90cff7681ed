"""A split for data that comes without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ulna.core import TEST, TRAIN

NAME = "holdout"
FIFTH = slice(1, None, 5)


def with_holdout(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Index rows with a split `holdout` added where clips have labels and none has a split.

    Every fifth subject tests if all labelled clips name theirs and there are several, else every fifth clip of each
    class: then clips cut from one recording may lie on both sides, so give such data a split of its own.
    """
    labelled = [row for row in rows if row["label"] is not None]
    if not labelled or any(name.startswith("split:") for row in rows for name in row):
        return list(rows)
    subjects = sorted({row["subject"] for row in labelled if row["subject"] is not None})
    held: set[int] = set()
    if len(subjects) > 1 and all(row["subject"] is not None for row in labelled):
        held = set(subjects[FIFTH])
        test = {row["id"] for row in labelled if row["subject"] in held}
    else:
        by_class = defaultdict(list)
        for row in labelled:
            by_class[row["label"]].append(row["id"])
        test = {clip for clips in by_class.values() for clip in clips[FIFTH]}
    return [row | {f"split:{NAME}": _part(row, test, held)} for row in rows]


def _part(row: Mapping[str, Any], test: Set[str], held: Set[int]) -> str | None:
    """An unlabelled clip of a subject that tests takes no part: it must not be pretrained on."""
    if row["id"] in test:
        return TEST
    return None if row["subject"] in held else TRAIN
