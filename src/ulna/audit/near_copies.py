"""Near copies among clips: the same motion rotated, moved, resampled or cropped.

They are found by the distances between joints, which do not change when a body is rotated or moved. Some frames of each
test clip are looked up among all frames of the known clips; if several of them are close to frames of one known clip,
the two clips are aligned.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from ulna.audit.alignment import FEWEST_FRAMES, Alignment, align, joint_distances
from ulna.core import InputError, match_joints, random_stream
from ulna.dataset import Dataset

QUERIES = 12  # frames of a test clip that are looked up
NEAREST = 8  # nearest frames returned for each query
FEWEST_FOUND = 3  # minimum number of queries that find a clip for it to be compared
MOST_COMPARED = 4  # maximum number of known clips that a test clip is compared with
MOST_INDEXED = 4_000_000  # maximum number of frames in the index; if there are more, every n-th is used
MIN_VISIBLE = 0.5  # joints visible in a smaller share of frames are not compared
NUM_JOINTS, FEWEST_JOINTS, DIMENSIONS = 12, 4, 8
_CLIPS_AT_ONCE = 512


@dataclass(frozen=True)
class ClipSet:
    """Some clips of a dataset.

    Args:
        dataset: The dataset.
        clips: Their indices.
    """

    dataset: Dataset
    clips: np.ndarray

    def only(self, clip: int) -> ClipSet:
        """Return the set of one of its clips."""
        return ClipSet(self.dataset, np.array([clip]))


@dataclass(frozen=True)
class NearCopy:
    """A test clip and the known clip it copies: index of its set, index of the clip, and their alignment."""

    clip: int
    part: int
    known: int
    alignment: Alignment


@dataclass(frozen=True)
class Search:
    """A search for near copies of known clips.

    Args:
        known: The known clips.
        test_joints: Joints of the test clips that are compared.
        known_joints: Their counterparts in each set of known clips.
        threshold: Maximum root mean square distance of a near copy, in metres.
        threads: Number of threads that search the tree; -1 for all cores.
    """

    known: tuple[ClipSet, ...]
    test_joints: tuple[int, ...]
    known_joints: tuple[tuple[int, ...], ...]
    threshold: float
    threads: int = -1

    @classmethod
    def of(cls, test: ClipSet, known: Sequence[ClipSet], threshold: float) -> Search:
        """Choose the joints that are compared.

        Raises:
            InputError: If the clips share too few joints.
        """
        joints = [_common(test.dataset, part.dataset) for part in known]
        chosen = _spread(test, sorted(set.intersection(*(set(own) for own in joints))))
        theirs = tuple(tuple(own[k] for k in chosen) for own in joints)
        return cls(tuple(known), tuple(chosen), theirs, threshold)

    @cached_property
    def lookup(self) -> _Lookup:
        """Search tree of the known clips' frames."""
        return _index(self.known, self.known_joints)

    def _locate(self, number: int) -> tuple[int, int]:
        """Return the set and the index of a known clip, of those of all sets together."""
        ends = np.cumsum([len(part.clips) for part in self.known])
        part = int(np.searchsorted(ends, number, "right"))
        return part, int(self.known[part].clips[number - (ends[part - 1] if part else 0)])

    def __call__(self, test: ClipSet) -> tuple[list[NearCopy], list[int]]:
        """Return the test clips that are near copies, each with the nearest known clip, and those with too few frames.

        Args:
            test: Test clips.
        """
        too_short: list[int] = []

        def bodies() -> Iterator[tuple[int, np.ndarray]]:
            for clip, position in _bodies(test, self.test_joints):
                if len(position) < FEWEST_FRAMES:
                    too_short.append(clip)
                else:
                    yield clip, position

        found = []
        for clip, position, found_clips in _candidates(bodies(), self.lookup, self.threads):
            fits = []
            for part, other in map(self._locate, found_clips):
                _, their_position = next(_bodies(self.known[part].only(other), self.known_joints[part]))
                if alignment := align(position, their_position, self.threshold):
                    fits.append(NearCopy(clip, part, other, alignment))
            if fits:
                found.append(min(fits, key=lambda copy: copy.alignment.distance))
        return found, too_short


def near_copies(test: ClipSet, known: Sequence[ClipSet], threshold: float) -> tuple[list[NearCopy], list[int]]:
    """Return the test clips that are near copies, each with the nearest known clip, and those with too few frames."""
    return Search.of(test, known, threshold)(test)


def _common(test: Dataset, known: Dataset) -> dict[int, int]:
    """Return the joints shared by the skeletons of two datasets, as a map from test joints to known joints."""
    if test.skeleton.joints == known.skeleton.joints:
        return {k: k for k in range(test.skeleton.num_joints)}
    return {k: other for k, other in enumerate(match_joints(known.skeleton, test.skeleton)) if other is not None}


def _spread(test: ClipSet, shared: Sequence[int]) -> list[int]:
    """Return the joints whose distances vary most, since they characterise a pose best."""
    clips = random_stream(0, "audit joints").permutation(test.clips)[:200]
    _, visible, _ = test.dataset.read(clips)
    seen = visible[visible.any(axis=2)].mean(axis=0)  # (K,) share of frames in which each joint is visible
    shared = [joint for joint in shared if seen[joint] >= MIN_VISIBLE]
    poses = np.concatenate([position for _, position in _bodies(ClipSet(test.dataset, clips), shared)])
    if len(shared) < FEWEST_JOINTS or not len(poses):
        raise InputError(
            f"expected at least {FEWEST_JOINTS} shared joints that are visible, found {len(shared)}. "
            "Look for exact copies only."
        )
    distances = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1).std(axis=0)
    order = np.argsort(-distances.mean(axis=1), kind="stable")[:NUM_JOINTS]
    return [shared[k] for k in sorted(order)]


def _bodies(part: ClipSet, joints: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each clip's index and its first visible person's joints (T, k, 3), in frames where all are visible."""
    for start in range(0, len(part.clips), _CLIPS_AT_ONCE):
        clips = part.clips[start : start + _CLIPS_AT_ONCE]
        position, visible, lengths = part.dataset.read(clips)
        ends = np.cumsum(lengths)
        for clip, end, length in zip(clips.tolist(), ends, lengths, strict=True):
            frames, there = position[end - length : end], visible[end - length : end]
            person = int(there.any(axis=2).any(axis=0).argmax())
            whole = there[:, person][:, joints].all(axis=1)
            body = frames[whole, person][:, joints]
            yield clip, body if part.dataset.units == "metres" else _body_sized(body)


def _body_sized(body: np.ndarray) -> np.ndarray:
    """Scale positions (T, k, 3) without a unit so that joints are half a metre from their centre on average."""
    spread = float(np.linalg.norm(body - body.mean(axis=1, keepdims=True), axis=-1).mean()) if len(body) else 0.0
    return body * (0.5 / spread) if spread > 0 else body


@dataclass(frozen=True)
class _Lookup:
    """Search tree of the known clips' frames: joint distances projected onto their principal components."""

    tree: cKDTree
    owner: np.ndarray  # (N,) index among all known clips
    mean: np.ndarray
    axes: np.ndarray

    def project(self, distances: np.ndarray) -> np.ndarray:
        return (distances - self.mean) @ self.axes


def _index(known: Sequence[ClipSet], joints: Sequence[Sequence[int]]) -> _Lookup:
    total = sum(int(part.dataset.lengths[part.clips].sum()) for part in known)
    stride = -(-total // MOST_INDEXED)
    mean, axes = _axes(known, joints)
    rows, owners = [], []
    number = 0
    for part, own in zip(known, joints, strict=True):
        for _, position in _bodies(part, own):
            kept = position[number % stride :: stride]
            rows.append(((joint_distances(kept) - mean) @ axes).astype(np.float32))
            owners.append(np.full(len(kept), number, dtype=np.int32))
            number += 1
    tree = cKDTree(np.concatenate(rows), leafsize=32, balanced_tree=False, compact_nodes=False)
    return _Lookup(tree, np.concatenate(owners), mean, axes)


def _axes(known: Sequence[ClipSet], joints: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the principal components of the joint distances of the known clips."""
    some = []
    for part, own in zip(known, joints, strict=True):
        clips = random_stream(0, "audit axes").permutation(part.clips)[:500]
        some += [joint_distances(position) for _, position in _bodies(ClipSet(part.dataset, clips), own)]
    rows = np.concatenate(some)
    mean = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows[:: max(1, len(rows) // 20_000)] - mean, full_matrices=False)
    return mean, directions[:DIMENSIONS].T


def _candidates(
    bodies: Iterator[tuple[int, np.ndarray]], lookup: _Lookup, threads: int
) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """Yield each test clip, its positions, and the known clips found by several queries, most frequent first."""
    while some := list(itertools.islice(bodies, _CLIPS_AT_ONCE)):
        queries = [np.unique(np.linspace(0, len(body) - 1, QUERIES).round().astype(int)) for _, body in some]
        poses = np.concatenate([body[query] for (_, body), query in zip(some, queries, strict=True)])
        num = min(NEAREST, lookup.tree.n)
        _, near = lookup.tree.query(lookup.project(joint_distances(poses)), k=num, workers=threads)
        owners = lookup.owner[near.reshape(len(poses), num)]
        ends = np.cumsum([len(query) for query in queries])
        for (clip, body), rows in zip(some, np.split(owners, ends[:-1]), strict=True):
            indices, counts = np.unique(np.concatenate([np.unique(row) for row in rows]), return_counts=True)
            order = np.argsort(-counts, kind="stable")[:MOST_COMPARED]
            yield clip, body, [int(indices[i]) for i in order if counts[i] >= FEWEST_FOUND]
