"""Default split for data without splits."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import pyarrow as pa

from ulna.core import TEST, TRAIN, InputError

NAME = "holdout"
FIFTH = slice(1, None, 5)

HoldOut = Literal["group", "subject", "recording", "clip"]


def with_holdout(index: pa.Table, by: HoldOut | None = None) -> pa.Table:
    """Return the index, with a split `holdout` added if there are labelled clips and no splits.

    Every fifth group, subject or recording is held out for testing, so that clips that belong together are on one side.

    Args:
        index: The index of a dataset.
        by: What is held out. By default groups if all labelled clips have one and there is more than one, else
            subjects, else recordings under the same condition, else every fifth clip of each class. Clips cut from one
            recording are never divided by class: without several recordings there is then no split.

    Raises:
        InputError: If `by` is given and a labelled clip does not say to what it belongs, or there is only one.
    """
    labels = index["label"].to_pylist()
    labelled = [clip for clip, label in enumerate(labels) if label is not None]
    if not labelled or any(name.startswith("split:") for name in index.column_names):
        return index
    names = [by] if by else ["group", "subject", "recording"]
    columns = {name: index[name].to_pylist() for name in names if name in index.column_names}
    owners: list[object] = [None] * len(index)
    held: set[object] = set()
    for values in columns.values():
        known = sorted({values[clip] for clip in labelled} - {None})
        if len(known) > 1 and all(values[clip] is not None for clip in labelled):
            owners, held = values, set(known[FIFTH])
            break
    if not held and by not in (None, "clip"):
        raise InputError(f"expected at least two values of {by} among the labelled clips to hold out, found fewer")
    if held:
        test = {clip for clip in labelled if owners[clip] in held}
    elif "recording" in index.column_names and by is None:
        return index
    else:
        by_class = defaultdict(list)
        for clip in labelled:
            by_class[labels[clip]].append(clip)
        test = {clip for clips in by_class.values() for clip in clips[FIFTH]}
    if not test:
        return index  # too few clips to hold any out
    # An unlabelled clip of a test subject belongs to neither part, so that it is not used for pretraining.
    parts = [TEST if clip in test else None if owner in held else TRAIN for clip, owner in enumerate(owners)]
    return index.append_column(f"split:{NAME}", pa.array(parts, pa.string()))
