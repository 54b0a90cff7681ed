"""Write a dataset with one and two persons per clip: python -m benchmarks.mixed UTD_MHAD SBU OUT.

UTD_MHAD and SBU are prepared datasets. Joints of UTD-MHAD are matched to SBU's 15 by name. The split `mixed` consists
of UTD-MHAD's `xsub` (odd subjects train) and SBU's `fold1`; classes of both are kept apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

from ulna.core import Clip, match_joints
from ulna.dataset import Dataset


def write(utd_mhad: Dataset, sbu: Dataset, out: str) -> Dataset:
    """Write the mixed dataset."""
    joints = [joint for joint in match_joints(utd_mhad.skeleton, sbu.skeleton) if joint is not None]
    assert len(joints) == sbu.skeleton.num_joints

    def clips() -> Iterator[Clip]:
        for dataset, prefix, split in ((utd_mhad, "utd", "xsub"), (sbu, "sbu", "fold1")):
            for index in range(dataset.num_clips):
                clip = dataset.clip(index)
                if prefix == "utd":
                    position, visible = clip.position[:, :, joints], clip.visible[:, :, joints]
                    clip = replace(clip, position=position, visible=visible, skeleton=sbu.skeleton)
                parts = {"mixed": clip.splits[split]} if split in clip.splits else {}
                yield replace(clip, id=f"{prefix}/{clip.id}", label=f"{prefix}/{clip.label}", splits=parts)

    classes = [f"utd/{name}" for name in utd_mhad.classes] + [f"sbu/{name}" for name in sbu.classes]
    groups = {"one-person": classes[: len(utd_mhad.classes)], "two-person": classes[len(utd_mhad.classes) :]}
    return Dataset.write(out, clips(), classes=classes, class_groups=groups, skeleton=sbu.skeleton, num_persons=2)


if __name__ == "__main__":
    print(write(Dataset(sys.argv[1]), Dataset(sys.argv[2]), sys.argv[3]))
