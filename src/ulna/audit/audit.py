"""The leak audit: test clips that are copies, exact or near, of clips that were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from ulna.core import within
from ulna.dataset.copies import is_among
from ulna.audit.near_copies import Part, near_copies
from ulna.audit.alignment import Alignment

__all__ = ["Audit", "Match", "Part", "audit"]

IDENTICAL = Alignment()


@dataclass(frozen=True)
class Match:
    """A test clip, the known clip that it repeats, and how; see `Alignment` for the numbers."""

    test: str
    known: str
    dataset: str
    is_exact: bool
    alignment: Alignment = IDENTICAL

    @property
    def kind(self) -> str:
        """What was done to the clip, in words."""
        if self.is_exact:
            return "exact"
        how = self.alignment
        changes = {
            f"turned {how.degrees:.0f}°": how.degrees >= 1,
            f"moved {how.metres:.2f} m": how.metres >= 0.01,
            f"speed {how.speed:.2f}": abs(how.speed - 1) >= 0.01,
            f"{100 * how.overlap:.0f} % of it": how.overlap < 0.99,
        }
        return ", ".join(text for text, is_so in changes.items() if is_so) or "near"

    @property
    def row(self) -> dict[str, object]:
        """For a table."""
        names = {"test": self.test, "known": self.known, "dataset": self.dataset, "is_exact": self.is_exact}
        return names | asdict(self.alignment) | {"kind": self.kind}


@dataclass(frozen=True)
class Audit:
    """What an audit found: exact copies first, then by distance; and the test clips with too few frames to compare."""

    matches: list[Match]
    not_compared: list[str] = field(default_factory=list)


def audit(test: Part, known: Sequence[Part], *, threshold: float = 0.015, near: bool = True) -> Audit:
    """The test clips that repeat a known clip, each with the nearest.

    `threshold` is the largest distance in metres of what counts as a near copy; `near` off looks for exact ones only.
    Clips of another skeleton are compared by the joints that stand for one another. One person of a clip is compared,
    the first that is there, in the frames that show the joints that most clips show.
    """
    within("threshold", threshold, 0, open_low=True)
    known = [part for part in known if len(part.clips)]
    if not known or not len(test.clips):
        raise ValueError("expected test clips and clips to compare them with, got none of one kind")
    exact = _exact(test, known)
    if not near:
        return Audit(exact)
    found = {match.test for match in exact}
    ids = test.dataset.ids
    rest = np.array([clip for clip in test.clips if ids[clip] not in found], dtype=int)
    if not len(rest):
        return Audit(exact)
    copies, too_short = near_copies(Part(test.dataset, rest), known, threshold)
    names = [part.dataset.ids for part in known]
    matches = [
        Match(ids[copy.clip], names[copy.part][copy.known], str(known[copy.part].dataset.path), False, copy.alignment)
        for copy in sorted(copies, key=lambda copy: copy.alignment.distance)
    ]
    return Audit(exact + matches, [ids[clip] for clip in too_short])


def _exact(test: Part, known: Sequence[Part]) -> list[Match]:
    """By the content hashes that datasets keep."""
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
