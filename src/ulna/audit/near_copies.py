"""Near copies among clips: the same motion turned, moved, resampled or cropped.

They are found by what turning and moving a body does not change, the distances between its joints: some frames of
every clip are looked up among all frames of the known clips, and where several of them meet one clip, the two clips are
laid over one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ulna.core import random_stream
from ulna.core.joint_matching import match_joints
from ulna.audit.alignment import FEWEST_FRAMES, Alignment, joint_distances, align
from ulna.dataset.dataset import Dataset

LOOKS = 12  # frames of a test clip that are looked up
NEAREST = 8  # frames that each of them meets
FEWEST_MET = 3  # looks that must meet a clip for it to be compared
MOST_COMPARED = 4  # clips that a test clip is compared with
MOST_INDEXED = 4_000_000  # frames in the index; of more, every second, third, ... is taken
SELDOM = 0.5  # joints seen in fewer of the frames are not compared
NUM_JOINTS, FEWEST_JOINTS, DIMENSIONS = 12, 4, 8
_CLIPS_AT_ONCE = 512


@dataclass(frozen=True)
class Part:
    """Some clips of a dataset: places in it."""

    dataset: Dataset
    clips: np.ndarray

    def only(self, clip: int) -> Part:
        return Part(self.dataset, np.array([clip]))


@dataclass(frozen=True)
class NearCopy:
    """A clip, and where among the known parts lies the clip that it repeats."""

    clip: int
    part: int
    known: int
    alignment: Alignment


def near_copies(test: Part, known: Sequence[Part], threshold: float) -> tuple[list[NearCopy], list[int]]:
    """The test clips that are near copies, each with the nearest known clip; and those with too few frames to tell."""
    joints = [_common(test.dataset, part.dataset) for part in known]
    shared = sorted(set.intersection(*(set(own) for own in joints)))
    chosen = _spread(test, shared)
    theirs = [[own[k] for k in chosen] for own in joints]
    everyone = [(number, clip) for number, part in enumerate(known) for clip in part.clips.tolist()]
    lookup = _index(known, theirs)
    too_short: list[int] = []

    def bodies() -> Iterator[tuple[int, np.ndarray]]:
        for clip, position in _bodies(test, chosen):
            if len(position) < FEWEST_FRAMES:
                too_short.append(clip)
            else:
                yield clip, position

    found = []
    for clip, position, places in _candidates(bodies(), lookup):
        fits = []
        for part, other in (everyone[place] for place in places):
            _, their_position = next(_bodies(known[part].only(other), theirs[part]))
            if alignment := align(position, their_position, threshold):
                fits.append(NearCopy(clip, part, other, alignment))
        if fits:
            found.append(min(fits, key=lambda copy: copy.alignment.distance))
    return found, too_short


def _common(test: Dataset, known: Dataset) -> dict[int, int]:
    """Joints that two datasets' skeletons share, as places in each."""
    if test.skeleton.joints == known.skeleton.joints:
        return {k: k for k in range(test.skeleton.num_joints)}
    return {k: other for k, other in enumerate(match_joints(known.skeleton, test.skeleton)) if other is not None}


def _spread(test: Part, shared: Sequence[int]) -> list[int]:
    """The joints that lie farthest from one another on average: those that say most about a pose."""
    clips = random_stream(0, "audit joints").permutation(test.clips)[:200]
    _, visible, _ = test.dataset.read(clips)
    seen = visible[visible.any(axis=2)].mean(axis=0)  # (K,) share of the bodies' frames
    shared = [joint for joint in shared if seen[joint] >= SELDOM]
    poses = np.concatenate([position for _, position in _bodies(Part(test.dataset, clips), shared)])
    if len(shared) < FEWEST_JOINTS or not len(poses):
        raise ValueError(
            f"expected at least {FEWEST_JOINTS} joints that the clips share and show, got {len(shared)}; "
            "look for exact copies alone"
        )
    distances = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1).std(axis=0)
    order = np.argsort(-distances.mean(axis=1), kind="stable")[:NUM_JOINTS]
    return [shared[k] for k in sorted(order)]


def _bodies(part: Part, joints: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each clip's place and the positions (T, k, 3) of some joints of its first person, in frames that show them."""
    for start in range(0, len(part.clips), _CLIPS_AT_ONCE):
        clips = part.clips[start : start + _CLIPS_AT_ONCE]
        position, visible, lengths = part.dataset.read(clips)
        ends = np.cumsum(lengths)
        for clip, end, length in zip(clips.tolist(), ends, lengths, strict=True):
            frames, there = position[end - length : end], visible[end - length : end]
            person = int(there.any(axis=2).any(axis=0).argmax())
            whole = there[:, person][:, joints].all(axis=1)
            yield clip, frames[whole, person][:, joints]


@dataclass(frozen=True)
class _Lookup:
    """Frames of the known clips by the distances between their joints."""

    tree: cKDTree
    owner: np.ndarray  # (N,) place among all known clips
    mean: np.ndarray
    axes: np.ndarray

    def project(self, distances: np.ndarray) -> np.ndarray:
        return (distances - self.mean) @ self.axes


def _index(known: Sequence[Part], joints: Sequence[Sequence[int]]) -> _Lookup:
    total = sum(int(part.dataset.lengths[part.clips].sum()) for part in known)
    stride = -(-total // MOST_INDEXED)
    mean, axes = _axes(known, joints)
    rows, owners = [], []
    place = 0
    for part, own in zip(known, joints, strict=True):
        for _, position in _bodies(part, own):
            kept = position[place % stride :: stride]
            rows.append(((joint_distances(kept) - mean) @ axes).astype(np.float32))
            owners.append(np.full(len(kept), place, dtype=np.int32))
            place += 1
    tree = cKDTree(np.concatenate(rows), leafsize=32, balanced_tree=False, compact_nodes=False)
    return _Lookup(tree, np.concatenate(owners), mean, axes)


def _axes(known: Sequence[Part], joints: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which the distances of the known clips differ most."""
    some = []
    for part, own in zip(known, joints, strict=True):
        clips = random_stream(0, "audit axes").permutation(part.clips)[:500]
        some += [joint_distances(position) for _, position in _bodies(Part(part.dataset, clips), own)]
    rows = np.concatenate(some)
    mean = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows[:: max(1, len(rows) // 20_000)] - mean, full_matrices=False)
    return mean, directions[:DIMENSIONS].T


def _candidates(
    bodies: Iterator[tuple[int, np.ndarray]], lookup: _Lookup
) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """Each test clip, its body, and the known clips that several looks at it meet, those that most meet first."""
    while some := list(itertools.islice(bodies, _CLIPS_AT_ONCE)):
        looks = [np.unique(np.linspace(0, len(body) - 1, LOOKS).round().astype(int)) for _, body in some]
        poses = np.concatenate([body[look] for (_, body), look in zip(some, looks, strict=True)])
        num = min(NEAREST, lookup.tree.n)
        _, near = lookup.tree.query(lookup.project(joint_distances(poses)), k=num, workers=-1)
        owners = lookup.owner[near.reshape(len(poses), num)]
        ends = np.cumsum([len(look) for look in looks])
        for (clip, body), rows in zip(some, np.split(owners, ends[:-1]), strict=True):
            places, counts = np.unique(np.concatenate([np.unique(row) for row in rows]), return_counts=True)
            order = np.argsort(-counts, kind="stable")[:MOST_COMPARED]
            yield clip, body, [int(places[i]) for i in order if counts[i] >= FEWEST_MET]
