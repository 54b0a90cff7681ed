"""The leak audit: test clips that are copies, exact or near, of clips that were trained on.

Near copies are found by what turning and moving a body does not change, the distances between its joints: some frames
of every test clip are looked up among all frames of the known clips, and where several of them meet one clip,
the two clips are laid over one another, in time by a line and in space by one rigid motion, and the distance that is
left is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ulna.core import counted, within
from ulna.core.places import stand_ins
from ulna.data.copies import is_among
from ulna.data.store import Store

LOOKS = 12  # frames of a test clip that are looked up
NEAREST = 8  # frames that each of them meets
FEWEST_MET = 3  # looks that must meet a clip for it to be compared
MOST_COMPARED = 4  # clips that a test clip is compared with
MOST_INDEXED = 4_000_000  # frames in the index; of more, every second, third, ... is taken
HOPELESS = 0.05  # metres by which joints' distances differ in clips that no line through time makes alike
OF_MOVEMENT = 0.3  # the most that a copy may be off, as a share of how far its joints move: stillness is no copy
MOST_FRAMES = 500  # of a clip that are compared frame by frame to find the line
SELDOM = 0.5  # joints seen in fewer of the frames are not compared
FEWEST_FRAMES = 5  # of two clips that lie over one another
SHARE = 0.6  # of the shorter clip that must lie over the other
NUM_JOINTS, FEWEST_JOINTS, DIMENSIONS = 12, 4, 8
SPEEDS = (0.3, 3.3)
_CLIPS_AT_ONCE = 512


@dataclass(frozen=True)
class Part:
    """Some clips of a store: places in it."""

    store: Store
    clips: np.ndarray


@dataclass(frozen=True)
class Match:
    """A test clip and the known clip that it repeats.

    `distance` is the root mean square distance of joints in metres once the clips lie over one another; the test clip
    is the known one turned by `degrees`, moved by `metres`, played at `speed` times its pace (2: in half the frames),
    and shares `overlap` of its own frames with it.
    """

    test: str
    known: str
    store: str
    is_exact: bool
    distance: float = 0.0
    degrees: float = 0.0
    metres: float = 0.0
    speed: float = 1.0
    overlap: float = 1.0

    @property
    def kind(self) -> str:
        """What was done to the clip, in words."""
        if self.is_exact:
            return "exact"
        changes = {
            f"turned {self.degrees:.0f}°": self.degrees >= 1,
            f"moved {self.metres:.2f} m": self.metres >= 0.01,
            f"speed {self.speed:.2f}": abs(self.speed - 1) >= 0.01,
            f"{100 * self.overlap:.0f} % of it": self.overlap < 0.99,
        }
        return ", ".join(text for text, is_so in changes.items() if is_so) or "near"


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
    ids = test.store.ids
    rest = np.array([clip for clip in test.clips if ids[clip] not in found], dtype=int)
    not_compared: list[str] = []
    matches = list(_near(Part(test.store, rest), known, threshold, not_compared)) if len(rest) else []
    return Audit(exact + sorted(matches, key=lambda match: match.distance), not_compared)


def _exact(test: Part, known: Sequence[Part]) -> list[Match]:
    """By the content hashes that stores keep."""
    matches: dict[str, Match] = {}
    ids, hashes = test.store.ids, test.store.hashes
    for part in known:
        their_hashes = part.store.hashes.take(part.clips)
        copied = test.clips[is_among(hashes.take(test.clips), their_hashes)]
        names = part.store.ids
        by_hash = dict(zip(their_hashes.to_pylist(), part.clips.tolist(), strict=True))
        for clip, content in zip(copied, hashes.take(copied).to_pylist(), strict=True):
            match = Match(ids[clip], names[by_hash[content]], str(part.store.path), is_exact=True)
            matches.setdefault(match.test, match)
    return list(matches.values())


@dataclass(frozen=True)
class _Lookup:
    """Frames of the known clips by the distances between their joints."""

    tree: cKDTree
    owner: np.ndarray  # (N,) place among all known clips
    mean: np.ndarray
    axes: np.ndarray

    def project(self, distances: np.ndarray) -> np.ndarray:
        return (distances - self.mean) @ self.axes


def _near(test: Part, known: Sequence[Part], threshold: float, not_compared: list[str]) -> Iterator[Match]:
    joints = [_common(test.store, part.store) for part in known]
    shared = sorted(set.intersection(*(set(own) for own in joints)))
    chosen = _spread(test, shared)
    theirs = [[own[k] for k in chosen] for own in joints]
    pair = np.triu_indices(len(chosen), 1)
    everyone = [(number, clip) for number, part in enumerate(known) for clip in part.clips.tolist()]
    lookup = _index(known, theirs, pair)
    ids, names = test.store.ids, [part.store.ids for part in known]

    def bodies() -> Iterator[tuple[int, np.ndarray]]:
        for clip, position in _bodies(test, chosen):
            if len(position) < FEWEST_FRAMES:
                not_compared.append(ids[clip])
            else:
                yield clip, position

    for clip, position, candidates in _candidates(bodies(), lookup, pair):
        best: Match | None = None
        for place in candidates:
            number, other = everyone[place]
            store = known[number].store
            _, theirs_position = next(_bodies(Part(store, np.array([other])), theirs[number]))
            laid = _lay_over(position, theirs_position, pair, threshold)
            if laid and (best is None or laid["distance"] < best.distance):
                best = Match(ids[clip], names[number][other], str(store.path), is_exact=False, **laid)
        if best:
            yield best


def _common(test: Store, known: Store) -> dict[int, int]:
    """Joints that two stores' skeletons share, as places in each."""
    if test.skeleton.joints == known.skeleton.joints:
        return {k: k for k in range(test.skeleton.num_joints)}
    return {k: other for k, other in enumerate(stand_ins(known.skeleton, test.skeleton)) if other is not None}


def _spread(test: Part, shared: Sequence[int]) -> list[int]:
    """The joints that lie farthest from one another on average: those that say most about a pose."""
    clips = counted(0, "audit joints").permutation(test.clips)[:200]
    _, present, _ = test.store.read(clips)
    seen = present[present.any(axis=2)].mean(axis=0)  # (K,) share of the bodies' frames
    shared = [joint for joint in shared if seen[joint] >= SELDOM]
    poses = np.concatenate([position for _, position in _bodies(Part(test.store, clips), shared)])
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
        position, present, lengths = part.store.read(clips)
        ends = np.cumsum(lengths)
        for clip, end, length in zip(clips.tolist(), ends, lengths, strict=True):
            frames, there = position[end - length : end], present[end - length : end]
            person = int(there.any(axis=2).any(axis=0).argmax())
            whole = there[:, person][:, joints].all(axis=1)
            yield clip, frames[whole, person][:, joints]


def _distances(position: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(T, k, 3) -> (T, pairs) distances between joints: the same however a body is turned and moved."""
    return np.linalg.norm(position[:, pair[0]] - position[:, pair[1]], axis=-1)


def _index(known: Sequence[Part], joints: Sequence[Sequence[int]], pair: tuple[np.ndarray, np.ndarray]) -> _Lookup:
    total = sum(int(part.store.lengths[part.clips].sum()) for part in known)
    stride = -(-total // MOST_INDEXED)
    mean, axes = _axes(known, joints, pair)
    rows, owners = [], []
    place = 0
    for part, own in zip(known, joints, strict=True):
        for _, position in _bodies(part, own):
            kept = position[place % stride :: stride]
            rows.append(((_distances(kept, pair) - mean) @ axes).astype(np.float32))
            owners.append(np.full(len(kept), place, dtype=np.int32))
            place += 1
    tree = cKDTree(np.concatenate(rows), leafsize=32, balanced_tree=False, compact_nodes=False)
    return _Lookup(tree, np.concatenate(owners), mean, axes)


def _axes(
    known: Sequence[Part], joints: Sequence[Sequence[int]], pair: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which the distances of the known clips differ most."""
    some = []
    for part, own in zip(known, joints, strict=True):
        clips = counted(0, "audit axes").permutation(part.clips)[:500]
        some += [_distances(position, pair) for _, position in _bodies(Part(part.store, clips), own)]
    rows = np.concatenate(some)
    mean = rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows[:: max(1, len(rows) // 20_000)] - mean, full_matrices=False)
    return mean, directions[:DIMENSIONS].T


def _candidates(
    bodies: Iterator[tuple[int, np.ndarray]], lookup: _Lookup, pair: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """Each test clip, its body, and the known clips that several looks at it meet, those that most meet first."""
    while some := list(itertools.islice(bodies, _CLIPS_AT_ONCE)):
        looks = [np.unique(np.linspace(0, len(body) - 1, LOOKS).round().astype(int)) for _, body in some]
        poses = np.concatenate([body[look] for (_, body), look in zip(some, looks, strict=True)])
        num = min(NEAREST, lookup.tree.n)
        _, near = lookup.tree.query(lookup.project(_distances(poses, pair)), k=num, workers=-1)
        owners = lookup.owner[near.reshape(len(poses), num)]
        ends = np.cumsum([len(look) for look in looks])
        for (clip, body), rows in zip(some, np.split(owners, ends[:-1]), strict=True):
            places, counts = np.unique(np.concatenate([np.unique(row) for row in rows]), return_counts=True)
            order = np.argsort(-counts, kind="stable")[:MOST_COMPARED]
            yield clip, body, [int(places[i]) for i in order if counts[i] >= FEWEST_MET]


def _lay_over(
    test: np.ndarray, known: np.ndarray, pair: tuple[np.ndarray, np.ndarray], threshold: float
) -> dict[str, float] | None:
    """How a known clip becomes the test clip; None where it does not."""
    if len(known) < 2:
        return None
    one, two = _distances(test, pair), _distances(known, pair)
    line = _line(one, two)
    if line is None:
        return None
    speed, start = line
    time = start + speed * np.arange(len(test))
    over = (time >= -0.5) & (time <= len(known) - 0.5)
    num = int(over.sum())
    shorter = min(len(test), len(known) / speed)
    if num < FEWEST_FRAMES or num < SHARE * shorter:
        return None
    mine, theirs = test[over], _at(known, time[over])
    turn, (degrees, metres) = _rigid(theirs, mine)
    distance = float(np.sqrt(((turn - mine) ** 2).sum(axis=-1).mean()))
    movement = float(np.sqrt(((mine - mine.mean(axis=0)) ** 2).sum(axis=-1).mean()))
    if distance > min(threshold, OF_MOVEMENT * movement):
        return None
    return {
        "distance": distance, "degrees": degrees, "metres": metres, "speed": float(speed), "overlap": num / len(test),
    }  # fmt: skip


def _line(one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """Speed and start of the line through time along which two clips' distances agree best."""
    every, their_every = -(-len(one) // MOST_FRAMES), -(-len(two) // MOST_FRAMES)
    some, theirs = one[::every], two[::their_every]
    cost = ((some[:, None] - theirs[None]) ** 2).mean(axis=-1)
    nearest = (cost.argmin(axis=1) * their_every).repeat(every)[: len(one)]
    if np.sqrt(np.median(cost.min(axis=1))) > HOPELESS and np.sqrt(np.median(cost.min(axis=0))) > HOPELESS:
        return None
    places = np.arange(len(one))
    ratio = len(two) / len(one)
    lines = [(ratio, 0.5 * ratio - 0.5), (1.0, float(np.median(nearest - places)))]
    looks = np.unique(np.linspace(0, len(one) - 1, 10).round().astype(int))
    for i, first in enumerate(looks):
        for second in looks[i + 2 :]:
            speed = (nearest[second] - nearest[first]) / (second - first)
            if SPEEDS[0] <= speed <= SPEEDS[1]:
                lines.append((float(speed), float(nearest[first] - speed * first)))
    scored = [(_misfit(one, two, *line), line) for line in lines]
    misfit, line = min(scored)
    if misfit > HOPELESS**2:
        return None
    for step in (0.02, 0.005, 0.001):  # the rest of the way, by small steps about the clip's middle
        middle = (len(one) - 1) / 2
        around = [
            (line[0] * (1 + i * step), line[1] + (line[0] - line[0] * (1 + i * step)) * middle + j * step * 10)
            for i in range(-3, 4)
            for j in range(-3, 4)
        ]
        misfit, line = min((_misfit(one, two, *other), other) for other in around)
    return line


def _misfit(one: np.ndarray, two: np.ndarray, speed: float, start: float) -> float:
    """Mean square difference of distances along a line; infinite where too little lies over one another."""
    time = start + speed * np.arange(len(one))
    over = (time >= -0.5) & (time <= len(two) - 0.5)
    if over.sum() < max(2, SHARE * min(len(one), len(two) / speed)):
        return float("inf")
    return float(((one[over] - _at(two, time[over])) ** 2).mean())


def _at(rows: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Rows (T, ...) at places between them."""
    time = time.clip(0, len(rows) - 1)
    before = np.minimum(time.astype(int), max(0, len(rows) - 2))
    part = (time - before).reshape(-1, *(1,) * (rows.ndim - 1))
    return rows[before] * (1 - part) + rows[np.minimum(before + 1, len(rows) - 1)] * part


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Source frames moved onto the target by one rotation and one shift; its angle in degrees, the shift in metres."""
    one, two = source.reshape(-1, 3), target.reshape(-1, 3)
    centre, to = one.mean(axis=0), two.mean(axis=0)
    rotation, _ = Rotation.align_vectors(two - to, one - centre)
    moved = rotation.apply(one - centre) + to
    shift = float(np.linalg.norm(to - centre))
    return moved.reshape(source.shape), (float(np.degrees(rotation.magnitude())), shift)
