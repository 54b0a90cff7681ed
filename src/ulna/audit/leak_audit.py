"""Leak audit: find test clips that are exact or near copies of training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ulna.audit.alignment import Alignment
from ulna.audit.near_copies import ClipSet, near_copies
from ulna.audit.shards import near_copies_in_shards
from ulna.core import InputError, Workers, check_range
from ulna.dataset import is_among, overlapping

IDENTICAL = Alignment()


@dataclass(frozen=True)
class Match:
    """A test clip and the known clip that it copies.

    Args:
        test: Id of the test clip.
        known: Id of the known clip.
        dataset: Folder of the known clip's dataset.
        is_exact: Whether the clips are identical byte by byte.
        alignment: Transformation from the known clip to the test clip.
        shared_frames: Number of frames that both clips consist of, as overlapping windows of one recording do.
    """

    test: str
    known: str
    dataset: str
    is_exact: bool
    alignment: Alignment = IDENTICAL
    shared_frames: int = 0

    @property
    def kind(self) -> str:
        """A short description of the differences between the clips."""
        if self.shared_frames:
            return f"a window that shares {self.shared_frames:,} frames"
        if self.is_exact:
            return "exact"
        how = self.alignment
        changes = {
            f"rotated {how.degrees:.0f}°": how.degrees >= 1,
            f"moved {how.metres:.2f} m": how.metres >= 0.01,
            f"speed {how.speed:.2f}": abs(how.speed - 1) >= 0.01,
            f"{100 * how.overlap:.0f} % of it": how.overlap < 0.99,
        }
        return ", ".join(text for text, is_so in changes.items() if is_so) or "near"

    @property
    def row(self) -> dict[str, object]:
        """The match as a row of a table."""
        names = {"test": self.test, "known": self.known, "dataset": self.dataset, "is_exact": self.is_exact}
        names |= {"shared_frames": self.shared_frames}
        return names | asdict(self.alignment) | {"kind": self.kind}


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Args:
        matches: Exact copies and windows that share frames first, then near copies by distance.
        not_compared: Ids of test clips with too few frames to be compared.
    """

    matches: list[Match]
    not_compared: list[str] = field(default_factory=list)


def audit(
    test: ClipSet,
    known: Sequence[ClipSet],
    *,
    threshold: float = 0.015,
    near: bool = True,
    workers: Workers | None = None,
    table: Path | None = None,
) -> Audit:
    """Find the test clips that are copies of a known clip, each with the nearest known clip.

    Clips of different skeletons are compared by their matching joints. Only the first visible person of each clip is
    compared, in frames in which all compared joints are visible.

    Args:
        test: Test clips.
        known: Clips to compare them with, for example training and pretraining clips.
        threshold: Maximum root mean square distance between the joints of a near copy, in metres.
        near: Find near copies as well as exact ones.
        workers: Where shards of test clips are compared; needs `table`. By default one process compares all.
        table: Folder to write the near copies to, as Parquet files; must not exist. It is not written if all test clips
            are exact copies.

    Raises:
        InputError: If shards come without `table` or `table` without `near`, there are no clips, or the clips share too
            few joints.
    """
    check_range("threshold", threshold, 0, open_low=True)
    if (workers is not None and workers.is_sharded and table is None) or (table is not None and not near):
        raise InputError("expected shards of near copies with a folder to write them to (`table`), found one of them")
    known = [part for part in known if len(part.clips)]
    if not known or not len(test.clips):
        raise InputError("expected test clips and clips to compare them with, found none of one kind")
    exact = _exact(test, known)
    exact += _windows(test, known, {match.test for match in exact})
    if not near:
        return Audit(exact)
    found = {match.test for match in exact}
    ids = test.dataset.ids
    rest = np.array([clip for clip in test.clips if ids[clip] not in found], dtype=int)
    if not len(rest):
        return Audit(exact)
    rest_set = ClipSet(test.dataset, rest)
    if table is None:
        copies, too_short = near_copies(rest_set, known, threshold)
    else:
        copies, too_short = near_copies_in_shards(rest_set, known, threshold, out=table, workers=workers or Workers())
    names = [part.dataset.ids for part in known]
    matches = [
        Match(ids[copy.clip], names[copy.part][copy.known], str(known[copy.part].dataset.path), False, copy.alignment)
        for copy in sorted(copies, key=lambda copy: copy.alignment.distance)
    ]
    return Audit(exact + matches, [ids[clip] for clip in too_short])


def _windows(test: ClipSet, known: Sequence[ClipSet], found: set[str]) -> list[Match]:
    """Find test clips that share frames with a known clip of the same dataset."""
    ids = test.dataset.ids
    matches = []
    for part in known:
        if part.dataset.path != test.dataset.path:
            continue
        others = part.clips[~np.isin(part.clips, test.clips)]
        owners, shared = overlapping(test.dataset, others, test.clips)
        for clip, owner, frames in zip(test.clips.tolist(), owners.tolist(), shared.tolist(), strict=True):
            if frames and ids[clip] not in found:
                found.add(ids[clip])
                path = str(part.dataset.path)
                matches.append(Match(ids[clip], ids[owner], path, is_exact=False, shared_frames=frames))
    return matches


def _exact(test: ClipSet, known: Sequence[ClipSet]) -> list[Match]:
    """Find exact copies by the hashes in the index."""
    matches: dict[str, Match] = {}
    ids, hashes = test.dataset.ids, test.dataset.hashes
    for part in known:
        their_hashes = part.dataset.hashes.take(part.clips)
        copied = test.clips[is_among(hashes.take(test.clips), their_hashes)]
        names = part.dataset.ids
        by_hash = dict(zip(their_hashes.to_pylist(), part.clips.tolist(), strict=True))
        for clip, content in zip(copied, hashes.take(copied).to_pylist(), strict=True):
            match = Match(ids[clip], names[by_hash[content]], str(part.dataset.path), is_exact=True)
            matches.setdefault(match.test, match)
    return list(matches.values())
