"""Default split for data without splits."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from ulna.core import TEST, TRAIN

NAME = "holdout"
FIFTH = slice(1, None, 5)


def with_holdout(index: pa.Table) -> pa.Table:
    """Return the index, with a split `holdout` added if there are labelled clips and no splits.

    Every fifth subject is held out for testing if all labelled clips have a subject and there is more than one;
    otherwise every fifth clip of each class. In the second case, clips cut from one recording may be in both parts:
    define your own split for such data.
    """
    labels, subjects = index["label"].to_pylist(), index["subject"].to_pylist()
    labelled = [clip for clip, label in enumerate(labels) if label is not None]
    if not labelled or any(name.startswith("split:") for name in index.column_names):
        return index
    known = sorted({subjects[clip] for clip in labelled} - {None})
    held: set[int] = set()
    if len(known) > 1 and all(subjects[clip] is not None for clip in labelled):
        held = set(known[FIFTH])
        test = {clip for clip in labelled if subjects[clip] in held}
    else:
        by_class = defaultdict(list)
        for clip in labelled:
            by_class[labels[clip]].append(clip)
        test = {clip for clips in by_class.values() for clip in clips[FIFTH]}
    # An unlabelled clip of a test subject belongs to neither part, so that it is not used for pretraining.
    parts = [
        TEST if clip in test else None if subject in held else TRAIN for clip, subject in enumerate(subjects)
    ]  # fmt: skip
    return index.append_column(f"split:{NAME}", pa.array(parts, pa.string()))
