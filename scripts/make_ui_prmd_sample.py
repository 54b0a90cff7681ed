"""Make the sample of UI-PRMD that ships inside the package from a dataset of the whole.

    ulna prepare ui_prmd FOLDER DATASET
    python scripts/make_ui_prmd_sample.py DATASET

UI-PRMD is in the public domain (PDDL 1.0): Vakanski, Jun, Paul, Baker, Data 3(1):2, 2018. Keeps four of the twenty
clips of each movement and person (episodes 2 and 6, correct and incorrect), in whole millimetres; files are smaller if
each frame is stored as the difference from the one before.
"""

import sys
from pathlib import Path

import numpy as np

from ulna.dataset import Dataset

EPISODES = ("e02", "e06")
OUT = Path(__file__).parent.parent / "src" / "ulna" / "sample" / "ui_prmd.npz"


def main(path: Path) -> None:
    dataset = Dataset(path)
    chosen = [i for i, name in enumerate(dataset.ids) if name.split("_")[2] in EPISODES]
    chosen.sort(key=lambda i: dataset.ids[i])
    steps = []
    for i in chosen:
        millimetres = np.rint(dataset.clip(i).position[:, 0] * 1000).astype(np.int16)
        steps.append(np.diff(millimetres, axis=0, prepend=np.zeros_like(millimetres[:1])))
    np.savez_compressed(
        OUT, steps=np.concatenate(steps), lengths=[len(own) for own in steps], ids=[dataset.ids[i] for i in chosen]
    )
    print(f"{OUT}: {len(chosen)} clips, {sum(map(len, steps))} frames, {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
