"""Make the sample that ships inside the package from a folder of CMU motion capture clips in BVH.

    python scripts/make_cmu_sample.py FOLDER

FOLDER holds `SSS_TT.bvh` files (a character rig in centimetres, y up, 60 fps, frame 0 an inserted T-pose) and
`CMU data.csv` with a description for each. The data was obtained from mocap.cs.cmu.edu; the database was created
with funding from NSF EIA-0196217. Keeps 22 body joints at 30 fps, whole millimetres, and one label for each
recording whose description belongs to a kind that several recordings share; the others stay unlabelled.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from ulna.core import get_skeleton
from ulna.formats.bvh import read_positions

RIG = {
    "hip": "Hip", "waist": "Waist", "spine": "Spine01", "chest": "Spine02", "neck": "NeckTwist01", "head": "Head",
    "clavicle": "Clavicle", "shoulder": "Upperarm", "elbow": "Forearm", "hand": "Hand",
    "thigh": "Thigh", "knee": "Calf", "ankle": "Foot", "toes": "ToeBase",
}  # fmt: skip
KINDS = {
    "walk": "walk", "slow walk": "walk", "brisk walk": "walk", "playground": "climb", "swordplay": "swordplay",
    "dance": "dance", "basketball": "basketball",
}  # fmt: skip
OUT = Path(__file__).parent.parent / "src" / "ulna" / "sample" / "cmu.npz"


def rig_joint(joint: str) -> str:
    """Name in the character rig of a joint of the skeleton `cmu_body`."""
    side, _, rest = joint.partition("_")
    if side not in ("left", "right"):
        return f"CC_Base_{RIG[joint]}"
    return f"CC_Base_{side[0].upper()}_{RIG['thigh' if rest == 'hip' else rest]}"


def main(folder: Path) -> None:
    skeleton = get_skeleton("cmu_body")
    table = next(folder.rglob("CMU data.csv"))
    with table.open() as file:
        kinds = {
            f"{int(row['Subject']):03d}_{int(row['Trial #']):02d}": row["Motion Description"].partition(" - ")[0]
            for row in csv.DictReader(file)
            if row["Subject"].strip()
        }
    positions, lengths, ids, labels = [], [], [], []
    for path in sorted(folder.rglob("*.bvh")):
        position, hierarchy, _ = read_positions(path, units="cm", up="y")
        joints = [hierarchy.joints.index(rig_joint(joint)) for joint in skeleton.joints]
        kept = position[1::2, joints]
        positions.append(np.rint(kept * 1000).astype(np.int16))
        lengths.append(len(kept))
        ids.append(path.stem)
        labels.append(KINDS.get(kinds[path.stem], ""))
    np.savez_compressed(OUT, millimetres=np.concatenate(positions), lengths=lengths, ids=ids, labels=labels)
    print(f"{OUT}: {len(ids)} recordings, {sum(lengths)} frames, {OUT.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
