"""Label subsets: drawn once from a named seed, kept as files that every process and every run reads."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from ulna.core import counted, within, write_text
from ulna.data.store import Store

FOLDER = "subsets"


def label_subset(store: Store, split: str, share: float, seed: int) -> np.ndarray:
    """Labelled training clips of a split: `share` of each class, at least one; all where the share is 1.

    The draw depends on the clips' ids, their labels and the seed alone. It is kept as
    STORE/subsets/SPLIT-SHARE-seedN.txt, one clip id a line, and read from there ever after (a store that cannot be
    written to is drawn from anew, which gives the same). ValueError if the file names clips that are not training
    clips of the split.
    """
    within("share", share, 0, 1, open_low=True)
    within("seed", seed, 0)
    train = store.split(split)[0]
    train = train[store.labels[train] >= 0]
    if share == 1:
        return train
    ids = store.ids
    place = {ids[clip]: clip for clip in train}
    file = store.path / FOLDER / f"{split}-{share:g}-seed{seed}.txt"
    if file.is_file():
        names = file.read_text(encoding="utf-8").splitlines()
        unknown = [name for name in names if name not in place]
        if unknown or not names or len(set(names)) < len(names):
            got = repr(unknown[0]) if unknown else "one of them twice" if names else "none"
            raise ValueError(
                f"{file}: expected ids of different training clips of split {split!r}, got {got}; "
                "remove the file to draw it again"
            )
        return np.sort([place[name] for name in names])
    drawn = _draw({name: int(store.labels[clip]) for name, clip in place.items()}, share, seed)
    with suppress(OSError):  # a read-only store: the draw is the same every time
        write_text(file, "".join(f"{name}\n" for name in drawn))
    return np.sort([place[name] for name in drawn])


def _draw(labels: dict[str, int], share: float, seed: int) -> list[str]:
    """Ids, in order; each class by itself, so that one class's clips do not depend on the others."""
    drawn = []
    for label in sorted(set(labels.values())):
        members = sorted(name for name, own in labels.items() if own == label)
        order = counted(seed, "label subset", label).permutation(len(members))
        drawn += [members[i] for i in order[: max(1, round(share * len(members)))]]
    return sorted(drawn)
