"""Encoders on skeletons that they were not pretrained on."""

import dataclasses

import numpy as np
import pytest
import torch

from conftest import make_clip
from ulna.core import get_skeleton, options
from ulna.core.joint_matching import match_joints
from ulna.data import Batch, write_dataset
from ulna.preprocessing import Disentangled
from ulna.preprocessing.mapped import Mapped
from ulna.evaluation import PROTOCOLS
from ulna.evaluation.evaluation import evaluate

FORM = Disentangled(max_frames=16)


def test_transfer_to_another_skeleton(dataset, run, tmp_path):
    clips = [
        make_clip(f"c{i}", 6, skeleton="kinect_v2", label=i % 2, seed=i, splits={"s": "train" if i % 4 < 2 else "test"})
        for i in range(16)
    ]
    other = write_dataset(tmp_path / "dataset", clips, get_skeleton("kinect_v2"), classes=["x", "y"])
    with pytest.raises(ValueError, match="or map joints by name"):
        evaluate(run, other, protocol=options(PROTOCOLS, "linear"), split="s")
    result = evaluate(run, other, protocol=options(PROTOCOLS, "transfer", judge="knn"), split="s", baselines=False)
    assert len(result["transfer-knn"].labels) == 8
    assert not (run.path / "classifiers" / "transfer.safetensors").exists()


def test_joints_stand_for_one_another():
    v1, v2, sbu = (get_skeleton(name) for name in ("kinect_v1", "kinect_v2", "sbu"))
    assert match_joints(v2, v2) == tuple(range(25))
    names = {joint: None if k is None else v2.joints[k] for joint, k in zip(v1.joints, match_joints(v2, v1), strict=True)}
    assert names["hip_centre"] == "spine_base"
    assert names["spine"] == "spine_mid"
    assert names["shoulder_centre"] == "spine_shoulder"
    assert all(names[j] == j for j in v1.joints if j not in ("hip_centre", "spine", "shoulder_centre"))
    back = {joint: None if k is None else sbu.joints[k] for joint, k in zip(v2.joints, match_joints(sbu, v2), strict=True)}
    assert back["spine_shoulder"] == "neck", "the centre chooses first"
    assert [joint for joint, k in back.items() if k is None] == [
        "spine_base", "neck", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_hand_tip", "left_thumb",
        "right_hand_tip", "right_thumb",
    ]  # fmt: skip
    taken = [k for k in match_joints(sbu, v2) if k is not None]
    assert len(set(taken)) == len(taken), "no joint stands for two"
    camel = dataclasses.replace(
        v1, name="camel", joints=tuple("".join(w.title() for w in j.split("_")) for j in v1.joints), centre="Spine",
        shoulders=("LeftShoulder", "RightShoulder"), parts={}, torso=(),
    )  # fmt: skip
    assert match_joints(camel, v1) == tuple(range(20))
    bare = dataclasses.replace(v1, name="bare", joints=("a",), parents=(-1,), centre="a", shoulders=None, parts={},
                               torso=())  # fmt: skip
    with pytest.raises(ValueError, match="stand for spine, left_shoulder, right_shoulder of 'kinect_v1', got 'bare'"):
        match_joints(bare, v1)


def test_mapped_clips_are_the_same_motion():
    v1, v2 = get_skeleton("kinect_v1"), get_skeleton("kinect_v2")
    clip = make_clip("a", 7, skeleton="kinect_v1")
    position = np.zeros((7, 1, 25, 3), np.float32)
    own = [k if k is not None else 0 for k in match_joints(v2, v1)]
    position[:, :, own] = clip.position
    there = np.zeros((7, 1, 25), bool)
    there[:, :, own] = True
    seen = dataclasses.replace(clip, position=position, visible=there, skeleton=v2)
    mapped = Mapped(FORM, v2, v1)
    torch.testing.assert_close(mapped(Batch.from_clips([seen])).position, FORM(Batch.from_clips([clip])).position)
    assert (
        not Mapped(FORM, get_skeleton("sbu"), v1)(Batch.from_clips([make_clip("b", 3, skeleton="sbu")]))
        .visible[:, :, v1.index("left_wrist")]
        .any()
    )
