"""Discovery: which kinds of movement there are, without labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from ulna.core import Config, Count, InputError, Seed, random_stream, readable
from ulna.dataset import Dataset
from ulna.models.standardisation import standardisation

NOISE = -1
"""Motif of clips that belong to none."""
RESAMPLES = 6
STARTS = 5  # of k-means
MOST_MOTIFS = 30
STABLE = 0.6  # adjusted Rand index
PERMUTATIONS = 10_000


class Discovery(Config):
    """How motifs are found."""

    method: Literal["kmeans", "hdbscan"] = "kmeans"
    """"kmeans" puts every clip into a motif; "hdbscan" finds dense groups of any shape, and leaves the other clips
    out."""
    motifs: Count | None = None
    """Number of motifs with "kmeans"; by default the largest at which two halves of the clips, clustered one by one,
    agree on the motifs of all clips (an adjusted Rand index of 0.6)."""
    min_size: Count = 5
    """Smallest motif with "hdbscan"."""
    dims: Count = 32
    """Number of principal directions of the embeddings that are clustered."""
    seed: Seed = 0
    """Seed of resamples and starting points."""


@dataclass(frozen=True)
class Usage:
    """How often a motif occurs in clips of each group, over the subjects or recordings of a group.

    Args:
        motif: The motif.
        share: Mean share of the motif in each group.
        effect: Eta squared: the share of the variance between subjects that the groups explain, 0 to 1.
        p_value: Share of permutations of the groups among subjects with at least this effect, adjusted for the number
            of motifs (Holm).
    """

    motif: int
    share: dict[str, float]
    effect: float
    p_value: float


@dataclass(frozen=True)
class Motifs:
    """Kinds of movement that were found in a dataset.

    Args:
        labels: (N,) motif of each clip, the largest first; -1 for clips that belong to none.
        features: (N, R) what was clustered: principal components of standardised embeddings, of unit length.
        stability: Agreement between halves of the clips by number of motifs, where the number was chosen.
    """

    labels: Int[np.ndarray, " N"]
    features: Float[np.ndarray, "N R"] = field(repr=False)
    stability: dict[int, float] = field(default_factory=dict)

    @property
    def num_motifs(self) -> int:
        """Number of motifs."""
        return int(self.labels.max()) + 1

    def centres(self) -> Float[np.ndarray, "M R"]:
        """Return the mean of each motif's clips."""
        return np.stack([self.features[self.labels == motif].mean(axis=0) for motif in range(self.num_motifs)])

    def examples(self, motif: int, num: int, owners: np.ndarray | None = None) -> Int[np.ndarray, " n"]:
        """Return the clips that are nearest to the middle of a motif.

        Args:
            motif: The motif.
            num: Number of clips.
            owners: (N,) subject or recording of each clip; clips of different ones come first.
        """
        own = np.flatnonzero(self.labels == motif)
        distance = ((self.features[own] - self.features[own].mean(axis=0)) ** 2).sum(axis=1)
        own = own[np.argsort(distance, kind="stable")]
        if owners is not None:
            turn = np.zeros(len(own), dtype=int)  # how many nearer clips are of the same owner
            for owner in np.unique(owners[own]):
                turn[owners[own] == owner] = np.arange((owners[own] == owner).sum())
            own = own[np.argsort(turn, kind="stable")]
        return own[:num]


def discover(vectors: Float[np.ndarray, "N E"], options: Discovery | None = None) -> Motifs:
    """Find motifs by clustering embeddings.

    Args:
        vectors: Embeddings of the clips, such as windows of long recordings.
        options: How.

    Raises:
        InputError: If there are too few clips, or no motif is found.
    """
    options = options or Discovery()
    least = max(8, options.min_size if options.method == "hdbscan" else options.motifs or 0)
    if len(vectors) < least:
        raise InputError(f"expected at least {least} clips to find motifs in, found {len(vectors)}")
    features = _components(vectors, options.dims)
    stability: dict[int, float] = {}
    if options.method == "hdbscan":
        from sklearn.cluster import HDBSCAN

        labels = HDBSCAN(min_cluster_size=max(2, options.min_size), copy=True).fit_predict(features)
        if (labels == NOISE).all():
            raise InputError("expected dense groups of clips, found none. Use k-means, or a smaller --min-size.")
    else:
        number = options.motifs
        if number is None:
            stability = _stability(features, options.seed)
            number = max((k for k, value in stability.items() if value >= STABLE), default=None) or max(
                stability, key=stability.__getitem__
            )
        labels = _kmeans(features, number, options.seed).labels_
    return Motifs(_largest_first(np.asarray(labels, dtype=np.int64)), features, stability)


def _components(vectors: Float[np.ndarray, "N E"], dims: int) -> Float[np.ndarray, "N R"]:
    """Return the principal components of standardised embeddings, of unit length."""
    from sklearn.decomposition import PCA

    mean, sd = standardisation(torch.from_numpy(vectors))
    rows = (vectors - mean.numpy()) / sd.numpy()
    found = PCA(min(dims, len(rows) - 1, rows.shape[1]), svd_solver="randomized", random_state=0).fit_transform(rows)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-8)


def _kmeans(features: Float[np.ndarray, "N R"], number: int, seed: int) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different clips than motifs
        return KMeans(number, n_init=STARTS, random_state=seed % 2**32).fit(features)


def _stability(features: Float[np.ndarray, "N R"], seed: int) -> dict[int, float]:
    """Return the mean adjusted Rand index between clusterings of all clips by random halves, by number of motifs."""
    from sklearn.metrics import adjusted_rand_score

    found = {}
    for number in range(2, min(MOST_MOTIFS, len(features) // 4) + 1):
        scores = []
        for resample in range(RESAMPLES):
            order = random_stream(seed, "motifs", number, resample).permutation(len(features))
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            one, two = (_kmeans(features[half], number, seed).predict(features) for half in halves)
            scores.append(adjusted_rand_score(one, two))
        found[number] = float(np.mean(scores))
    return found


def _largest_first(labels: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Return labels renumbered by size; -1 stays."""
    names, counts = np.unique(labels[labels != NOISE], return_counts=True)
    order = {int(name): number for number, name in enumerate(names[np.argsort(-counts, kind="stable")])}
    return np.array([order.get(int(label), NOISE) for label in labels])


def usage(motifs: Motifs, dataset: Dataset, by: str, *, seed: int = 0) -> list[Usage]:
    """Compare how often motifs occur between groups of subjects, by permutation tests.

    Shares are computed for each subject (for each recording, if subjects are unknown or compared themselves), so that
    many clips of one subject do not count as many subjects. The groups are permuted among subjects, or within each
    subject if some have clips in several groups.

    Args:
        motifs: Motifs of the dataset's clips.
        dataset: The dataset.
        by: Column that names the groups, such as "group", "setup", "view" or "label".
        seed: Seed of the permutations.

    Raises:
        InputError: If there is no such column, or fewer than two groups.
    """
    groups, owners = column(dataset, by), _units(dataset, by)
    names = sorted({group for group in groups if group is not None})
    if len(names) < 2:
        raise InputError(f"{dataset.path}: expected at least two values of {by}, found {len(names)}")
    units = sorted({(owner, group) for owner, group in zip(owners, groups, strict=True) if group is not None})
    place = {unit: number for number, unit in enumerate(units)}
    shares = np.zeros((len(units), motifs.num_motifs))
    for owner, group, motif in zip(owners, groups, motifs.labels.tolist(), strict=True):
        if group is not None and motif != NOISE:
            shares[place[owner, group], motif] += 1
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    of_unit = np.array([names.index(group) for _, group in units])
    of_owner = np.unique(np.array([owner for owner, _ in units]), return_inverse=True)[1]
    random = random_stream(seed, "permutations")
    effects = _eta_squared(shares, of_unit, len(names))
    at_least = np.ones(motifs.num_motifs)
    for _ in range(PERMUTATIONS):
        at_least += _eta_squared(shares, _permuted(of_unit, of_owner, random), len(names)) >= effects - 1e-12
    p_values = _holm(at_least / (PERMUTATIONS + 1))
    return [
        Usage(
            motif=motif,
            share={name: float(shares[of_unit == number, motif].mean()) for number, name in enumerate(names)},
            effect=float(effects[motif]),
            p_value=float(p_values[motif]),
        )
        for motif in range(motifs.num_motifs)
    ]


def _units(dataset: Dataset, by: str) -> list[str]:
    """Return the subject of each clip, or its recording if subjects are unknown or compared themselves."""
    table = dataset.table
    subjects = table["subject"].to_pylist() if "subject" in table.column_names else [None]
    if by == "recording":
        raise InputError("by: expected a column with groups of several recordings, found 'recording' itself")
    if by != "subject" and None not in subjects and len(set(subjects)) > 1:
        return [str(subject) for subject in subjects]
    return dataset.recordings


def _permuted(
    groups: Int[np.ndarray, " U"], owners: Int[np.ndarray, " U"], random: np.random.Generator
) -> Int[np.ndarray, " U"]:
    """Permute groups among owners, or within each owner if some have several groups."""
    if len(np.unique(owners)) == len(owners):
        return random.permutation(groups)
    keys = random.random(len(groups))
    order, drawn = np.lexsort((np.arange(len(groups)), owners)), np.lexsort((keys, owners))
    permuted = np.empty_like(groups)
    permuted[order] = groups[drawn]
    return permuted


def _eta_squared(shares: Float[np.ndarray, "U M"], groups: Int[np.ndarray, " U"], num: int) -> Float[np.ndarray, " M"]:
    """Return the share of the variance of each motif that lies between groups."""
    mean = shares.mean(axis=0)
    total = ((shares - mean) ** 2).sum(axis=0)
    between = np.zeros(shares.shape[1])
    for group in range(num):
        own = shares[groups == group]
        between += len(own) * (own.mean(axis=0) - mean) ** 2
    return np.where(total > 1e-12, between / np.maximum(total, 1e-12), 0.0)


def _holm(p_values: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    order = np.argsort(p_values)
    scaled = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.minimum(scaled, 1)
    return adjusted


def column(dataset: Dataset, name: str) -> list[str | None]:
    """Return a column of a dataset's index as text; classes by name.

    Raises:
        InputError: If there is no such column.
    """
    if name == "label":
        return dataset.label_names
    if name not in dataset.table.column_names:
        raise InputError(
            f"{dataset.path}: expected a column among {', '.join(dataset.table.column_names)}, found {name!r}"
        )
    return [None if value is None else str(value) for value in dataset.table[name].to_pylist()]


def transitions(motifs: Motifs, dataset: Dataset) -> Float[np.ndarray, "M M"] | None:
    """Return how often each motif follows another in recordings, as shares of each row; None if none does.

    Windows follow one another if they overlap or touch; those of the same motif count as one.

    Args:
        motifs: Motifs of the dataset's clips.
        dataset: The dataset.
    """
    recordings, begin = dataset.parts
    names = np.array(recordings)
    end = begin + dataset.lengths
    order = np.lexsort((begin, np.unique(names, return_inverse=True)[1]))
    counts = np.zeros((motifs.num_motifs, motifs.num_motifs))
    one, two = order[:-1], order[1:]
    follows = (names[one] == names[two]) & (begin[two] <= end[one])
    follows &= (motifs.labels[one] >= 0) & (motifs.labels[two] >= 0) & (motifs.labels[one] != motifs.labels[two])
    np.add.at(counts, (motifs.labels[one[follows]], motifs.labels[two[follows]]), 1)
    if not counts.any():
        return None
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def draw_dendrogram(motifs: Motifs, names: Sequence[str]) -> str:
    """Draw which motifs are alike, as SVG: average linkage of the cosine distances between their middles."""
    from scipy.cluster.hierarchy import dendrogram, linkage

    figure, axes = _figure(0.7 + 0.24 * motifs.num_motifs)
    tree = linkage(motifs.centres(), method="average", metric="cosine")
    dendrogram(
        tree, orientation="right", labels=list(names), ax=axes, color_threshold=0, above_threshold_color="#0f766e"
    )
    axes.set_xlabel("cosine distance")
    return _svg(figure)


def draw_usage(found: Sequence[Usage], names: Sequence[str]) -> str:
    """Draw the share of each motif in each group, as SVG."""
    groups = list(found[0].share)
    figure, axes = _figure(1.2 + 0.28 * len(found))
    shares = np.array([[one.share[group] for group in groups] for one in found])
    axes.imshow(shares, cmap="Blues", vmin=0, aspect="auto")
    is_long = len(groups) * max(map(len, groups)) > 80
    shown = [readable(group, 60).replace("$", r"\$") for group in groups]  # no formulas, no control characters
    axes.set_xticks(range(len(groups)), shown, rotation=30 if is_long else 0, ha="right" if is_long else "center")
    axes.set_yticks(
        range(len(found)), [f"{names[one.motif]}  (p {one.p_value:.2g}, η² {one.effect:.2f})" for one in found]
    )
    if len(groups) <= 12:
        for (row, place), share in np.ndenumerate(shares):
            dark = share > shares.max() / 2
            axes.text(
                place, row, f"{100 * share:.0f} %", ha="center", va="center", color="white" if dark else "#1d2330"
            )
    return _svg(figure)


def draw_transitions(shares: Float[np.ndarray, "M M"], names: Sequence[str]) -> str:
    """Draw how often each motif follows another, as SVG; rows are the first of both."""
    figure, axes = _figure(1.6 + 0.26 * len(names))
    axes.imshow(shares, cmap="Blues", vmin=0)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("followed by")
    return _svg(figure)


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, min(height, 14)), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    from io import StringIO

    text = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # characters that the font does not have
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
