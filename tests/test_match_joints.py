"""Models on skeletons that they were not pretrained on: joints are matched by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import CLASSES, make_clip
from ulna.batch import Batch
from ulna.core import SKELETONS, InputError, get_skeleton, joint_names, match_joints
from ulna.dataset import Dataset
from ulna.evaluation import evaluate
from ulna.evaluation.protocols import KNN, FineTune, Linear
from ulna.preprocessing import Disentangled

V1, V2, SBU = (get_skeleton(name) for name in ("kinect_v1", "kinect_v2", "sbu"))


def on_skeleton(clip, skeleton):
    """The same motion on a skeleton with more joints; those that have no counterpart are missing."""
    joints = [k if k is not None else 0 for k in match_joints(skeleton, clip.skeleton)]
    position = np.zeros((*clip.position.shape[:2], skeleton.num_joints, 3), np.float32)
    visible = np.zeros(position.shape[:3], bool)
    position[:, :, joints], visible[:, :, joints] = clip.position, clip.visible
    return replace(clip, position=position, visible=visible, skeleton=skeleton)


def write(path, skeleton, num=16):
    clips = [
        make_clip(f"c{i}", 6, skeleton=skeleton, label=CLASSES[i % 2], seed=i, speed=0.1,
                  splits={"s": "train" if i % 4 < 2 else "test"})
        for i in range(num)
    ]  # fmt: skip
    return Dataset.write(path, clips, classes=CLASSES)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """16 clips of another skeleton, which has a counterpart of every joint."""
    return write(tmp_path_factory.mktemp("other") / "dataset", "kinect_v2")


@pytest.fixture(scope="module")
def same_motion(dataset, tmp_path_factory):
    """The clips of the model's own dataset, on another skeleton."""
    clips = [on_skeleton(dataset.clip(i), V2) for i in range(dataset.num_clips)]
    return Dataset.write(tmp_path_factory.mktemp("same") / "dataset", clips, classes=dataset.classes)


def test_models_refuse_another_skeleton_unless_joints_are_matched(model, other):
    message = r"expected skeleton 'kinect_v1' .* found 'kinect_v2' .*\. Match joints by name"
    clips = [other.clip(0)]
    with pytest.raises(InputError, match=message):
        evaluate(model, other, Linear(), split="s")
    for data in (other, clips):
        with pytest.raises(InputError, match=message):
            model.embed(data)
    with pytest.raises(InputError, match=message):
        model.fit(other)
    model.fit(other, match_joints=True, classifier="matched")
    for data in (other, clips):
        with pytest.raises(InputError, match=message):
            model.predict(data, classifier="matched")
    del model.classifiers["matched"]


def test_evaluation_on_another_skeleton(model, other):
    evaluation = evaluate(model, other, KNN(), split="s", baselines=False, match_joints=True, save=True)
    assert len(evaluation.result.labels) == 8
    assert evaluation.result.metadata.missing_joints == []
    file = model.path / "results" / f"knn-s-{other.fingerprint[:8]}.json"
    assert file.is_file(), "named after the dataset, which is not that of pretraining"
    assert not (model.path / "classifiers").exists(), "k-NN has no classifier"
    evaluation = evaluate(model, other, Linear(epochs=2), split="s", seeds=1, match_joints=True)
    assert evaluation.random_init is not None
    assert evaluation.raw_joints is not None


def test_missing_joints_are_reported(model, tmp_path):
    small = write(tmp_path / "dataset", "sbu")
    evaluation = evaluate(model, small, KNN(), split="s", baselines=False, match_joints=True)
    missing = evaluation.result.metadata.missing_joints
    assert "left_wrist" in missing
    assert missing == model.preprocessor.missing_joints(SBU)
    assert f"missing joints of the clips' skeleton: {', '.join(missing)}" in evaluation.table()


@pytest.mark.parametrize(
    "protocol", [KNN(k=3), Linear(epochs=10), FineTune(epochs=2, steps=0)], ids=lambda protocol: protocol.name
)
def test_the_same_motion_is_evaluated_alike(model, dataset, same_motion, protocol):
    options = {"split": "half", "seeds": 1, "baselines": False}
    expected = evaluate(model, dataset, protocol, **options).result
    result = evaluate(model, same_motion, protocol, match_joints=True, **options).result
    assert [seed.predictions for seed in result.seeds] == [seed.predictions for seed in expected.seeds]


def test_the_same_motion_is_embedded_alike(model, dataset, same_motion):
    expected = model.embed(dataset)
    np.testing.assert_allclose(model.embed(same_motion, match_joints=True), expected, atol=1e-5, rtol=0)
    clips = [same_motion.clip(i) for i in range(3)]
    np.testing.assert_allclose(model.embed(clips, match_joints=True), expected[:3], atol=1e-5, rtol=0)
    np.testing.assert_allclose(model.embed(dataset, match_joints=True), expected, atol=1e-5, rtol=0)


def test_the_same_motion_is_classified_alike(model, dataset, same_motion):
    expected = model.fit(dataset, split="half", classifier="own")
    matched = model.fit(same_motion, split="half", classifier="matched", match_joints=True)
    torch.testing.assert_close(matched.weight, expected.weight, atol=1e-2, rtol=1e-2)
    own = model.predict(dataset, classifier="own")
    for data in (same_motion, [same_motion.clip(i) for i in range(dataset.num_clips)]):
        predictions = model.predict(data, classifier="own", match_joints=True)
        for one, two in zip(predictions, own, strict=True):
            assert (one.clip, one.label) == (two.clip, two.label)
            np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-3)
    matched = model.predict(same_motion, classifier="matched", match_joints=True)
    assert [prediction.label for prediction in matched] == [prediction.label for prediction in own]
    correct = [one.label == dataset.classes[label] for one, label in zip(own, dataset.labels, strict=True)]
    assert np.mean(correct) > 0.7
    model.classifiers.clear()


def test_joints_are_matched_by_name_and_synonym():
    assert match_joints(V2, V2) == tuple(range(25))
    names = {
        joint: None if k is None else V2.joints[k] for joint, k in zip(V1.joints, match_joints(V2, V1), strict=True)
    }
    assert names["hip_centre"] == "spine_base"
    assert names["spine"] == "spine_mid"
    assert names["shoulder_centre"] == "spine_shoulder"
    assert all(names[j] == j for j in V1.joints if j not in ("hip_centre", "spine", "shoulder_centre"))
    back = {
        joint: None if k is None else SBU.joints[k] for joint, k in zip(V2.joints, match_joints(SBU, V2), strict=True)
    }
    assert back["spine_shoulder"] == "neck", "the centre is matched first"
    assert [joint for joint, k in back.items() if k is None] == [
        "spine_base", "neck", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_hand_tip", "left_thumb",
        "right_hand_tip", "right_thumb",
    ]  # fmt: skip
    taken = [k for k in match_joints(SBU, V2) if k is not None]
    assert len(set(taken)) == len(taken), "no joint is matched twice"
    camel = replace(
        V1, name="camel", joints=tuple("".join(w.title() for w in j.split("_")) for j in V1.joints), centre="Spine",
        shoulders=("LeftShoulder", "RightShoulder"), parts={}, torso=(),
    )  # fmt: skip
    assert match_joints(camel, V1) == tuple(range(20))
    bare = replace(
        V1, name="bare", joints=("a",), parents=(-1,), centre="a", shoulders=None, parts={}, torso=()
    )  # fmt: skip
    message = "counterparts of spine, left_shoulder, right_shoulder of skeleton 'kinect_v1', found skeleton 'bare'"
    with pytest.raises(InputError, match=message):
        match_joints(bare, V1)


def test_clips_with_matched_joints_are_the_same_motion():
    preprocessor = Disentangled(Disentangled.Config(max_frames=16), V1, 1)
    clip = make_clip("a", 7, skeleton="kinect_v1")
    matched = preprocessor.matching()(Batch.from_clips([on_skeleton(clip, V2)]))
    expected = preprocessor(Batch.from_clips([clip]))
    torch.testing.assert_close(matched.position, expected.position)
    assert torch.equal(matched.visible, expected.visible)
    assert (matched.skeleton, matched.layout) == (expected.skeleton, expected.layout)
    sbu = preprocessor.matching()(Batch.from_clips([make_clip("b", 3, skeleton="sbu")]))
    assert not sbu.visible[:, :, V1.index("left_wrist")].any()
    assert sbu.visible[:, :, V1.index("left_hand")].all()


SHARED = ("left_shoulder", "right_elbow", "left_wrist", "right_hip", "left_knee", "right_ankle")


@pytest.mark.parametrize("source", SKELETONS)
@pytest.mark.parametrize("target", SKELETONS)
def test_all_known_skeletons_share_a_body(source, target):
    """The middle and the limbs of every known human skeleton have counterparts in every other, on the same side."""
    one, two = get_skeleton(source), get_skeleton(target)
    matched = match_joints(one, two)
    counterpart = {joint: one.joints[k] for joint, k in zip(two.joints, matched, strict=True) if k is not None}
    names = dict(zip(two.joints, joint_names(two), strict=True))
    theirs = dict(zip(one.joints, joint_names(one), strict=True))
    assert two.centre in counterpart
    limbs = {names[joint]: theirs[other] for joint, other in counterpart.items()}
    for joint in SHARED:
        own = next(
            name for name in (joint, joint.replace("wrist", "hand"), joint.replace("ankle", "foot")) if name in limbs
        )
        side, _, part = own.partition("_")
        assert limbs[own].startswith(side)
        alike = {
            "wrist": ("wrist", "hand"),
            "hand": ("wrist", "hand"),
            "ankle": ("ankle", "foot"),
            "foot": ("ankle", "foot"),
        }
        assert limbs[own].removeprefix(f"{side}_") in alike.get(part, (part,)), (own, limbs[own])
    for joint, other in counterpart.items():
        if names[joint].startswith(("left_", "right_")):
            assert theirs[other].partition("_")[0] == names[joint].partition("_")[0], (joint, other)
    assert len(set(counterpart.values())) == len(counterpart)


def test_rigs_name_joints_after_bones():
    mixamo, kinect = get_skeleton("mixamo"), get_skeleton("kinect_v1")
    found = dict(zip(kinect.joints, match_joints(mixamo, kinect), strict=True))
    assert mixamo.joints[found["left_shoulder"]] == "LeftArm"
    assert mixamo.joints[found["right_ankle"]] == "RightFoot"
    assert mixamo.joints[found["right_foot"]] == "RightToeBase"


@pytest.mark.parametrize("name", SKELETONS)
def test_known_skeletons_are_trees_with_two_sides(name):
    skeleton = get_skeleton(name)
    assert (skeleton.hops >= 0).all()
    assert skeleton.parents.count(-1) == 1
    mirror = list(skeleton.mirror)
    assert [mirror[k] for k in mirror] == list(range(skeleton.num_joints))
    assert sum(k != other for k, other in enumerate(mirror)) >= 10
    for one, two in (("left_arm", "right_arm"), ("left_leg", "right_leg")):
        assert {skeleton.joints[mirror[skeleton.index(joint)]] for joint in skeleton.parts[one]} == set(
            skeleton.parts[two]
        )
    assert skeleton.joints[mirror[skeleton.index(skeleton.shoulders[0])]] == skeleton.shoulders[1]
