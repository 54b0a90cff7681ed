"""Label subsets: drawn once from a given seed, and stored as files that later processes and experiments read."""

from __future__ import annotations

import numpy as np

from ulna.core import InputError, check_range, random_stream, write_text
from ulna.dataset.dataset import Dataset

FOLDER = "subsets"


def label_subset(
    dataset: Dataset, split: str, share: float, seed: int, *, per_class: int | None = None, keep: bool = False
) -> np.ndarray:
    """Draw labelled training clips of a split: a share of each class, at least one clip per class.

    The draw depends only on the seed and on the ids and labels of the clips. With `keep`, it is written to
    DATASET/subsets/SPLIT-SHARE-seedN.txt, one clip id per line. If that file exists, it is read instead of drawing.
    Draws of one seed are nested: a larger one contains the smaller ones.

    Args:
        dataset: The dataset.
        split: Name of the split.
        share: Share of each class to draw, above 0; 1 returns all labelled training clips.
        seed: Seed of the draw.
        per_class: Number of clips of each class to draw, instead of a share; fewer if a class has fewer.
        keep: Write the draw to a file in the dataset folder.

    Returns:
        Indices of the clips, sorted.

    Raises:
        InputError: If an existing file names clips that are not training clips of the split.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_range("seed", seed, 0)
    train = dataset.split(split)[0]
    train = train[dataset.labels[train] >= 0]
    if per_class is not None:
        check_range("per_class", per_class, 1)
    elif share == 1:
        return train
    ids = dataset.ids
    index = {ids[clip]: clip for clip in train}
    amount = f"{share:g}" if per_class is None else f"{per_class}-per-class"
    file = dataset.path / FOLDER / f"{split}-{amount}-seed{seed}.txt"
    if file.is_file():
        names = file.read_text(encoding="utf-8").splitlines()
        unknown = [name for name in names if name not in index]
        if unknown or not names or len(set(names)) < len(names):
            found = repr(unknown[0]) if unknown else "one of them twice" if names else "none"
            raise InputError(
                f"{file}: expected ids of different training clips of split {split!r}, found {found}. "
                "Remove the file to draw it again."
            )
        return np.sort([index[name] for name in names])
    drawn = _draw({name: int(dataset.labels[clip]) for name, clip in index.items()}, share, per_class, seed)
    if keep:
        write_text(file, "".join(f"{name}\n" for name in drawn))
    return np.sort([index[name] for name in drawn])


def _draw(labels: dict[str, int], share: float, per_class: int | None, seed: int) -> list[str]:
    """Return ids, sorted; each class is drawn separately, so that its draw does not depend on other classes."""
    drawn = []
    for label in sorted(set(labels.values())):
        members = sorted(name for name, own in labels.items() if own == label)
        order = random_stream(seed, "label subset", label).permutation(len(members))
        num = max(1, round(share * len(members))) if per_class is None else per_class
        drawn += [members[i] for i in order[:num]]
    return sorted(drawn)
