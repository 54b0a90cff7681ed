"""Skeletons, name tables, options, random streams, folders."""

import numpy as np
import pytest

from ulna.core import (
    SKELETONS,
    Clip,
    Config,
    ExistsError,
    InputError,
    NameTable,
    NodeLayout,
    Skeleton,
    get_skeleton,
    new_folder,
    random_stream,
)
from ulna.encoders import GLTransformer


class SkeletonFile(Config):
    """A file that holds a skeleton."""

    skeleton: Skeleton


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons_are_consistent(name):
    skeleton = get_skeleton(name)
    mirror = np.array(skeleton.mirror)
    assert (mirror[mirror] == np.arange(skeleton.num_joints)).all()
    assert sum(len(part) for part in skeleton.parts.values()) == skeleton.num_joints
    assert all(len(skeleton.parts[f"left_{limb}"]) == len(skeleton.parts[f"right_{limb}"]) for limb in ("arm", "leg"))
    assert (skeleton.hops >= 0).all(), "every joint can be reached from every other"
    assert (skeleton.hops == skeleton.hops.T).all()
    assert SkeletonFile.from_json({"skeleton": skeleton.to_json()}).skeleton == skeleton
    for joint, other in zip(skeleton.joints, mirror, strict=True):
        if joint.startswith("left"):
            assert skeleton.joints[other] == joint.replace("left", "right")


def test_released_joint_numbers():
    kinect = get_skeleton("kinect_v2")
    assert [kinect.index(joint) for joint in (kinect.centre, *kinect.shoulders)] == [20, 4, 8]
    assert sorted(kinect.index(joint) for joint in kinect.torso) == [0, 1, 4, 8, 12, 16, 20]
    assert get_skeleton("kinect_v1").index("spine") == 1


def test_own_skeleton_is_understood():
    joints = ["Hips", "Spine", "LeftArm", "LeftHand", "RightArm", "RightHand", "LeftUpLeg", "RightUpLeg"]
    skeleton = Skeleton.from_joints("own", joints, [-1, 0, 1, 2, 1, 4, 0, 0])
    assert skeleton.centre == "Spine"
    assert skeleton.parts["left_arm"] == ("LeftArm", "LeftHand")
    assert skeleton.parts["right_leg"] == ("RightUpLeg",)
    assert skeleton.joints[skeleton.mirror[3]] == "RightHand"


@pytest.mark.parametrize(
    ("parents", "message"),
    [([-1, 0], "one parent per joint"), ([-1, 2, 1], "cycle"), ([-1, 9, 0], "another joint's index")],
)
def test_impossible_skeletons_are_refused(parents, message):
    with pytest.raises(InputError, match=message):
        Skeleton.from_joints("own", ["a", "b", "c"], parents)


def test_node_layout():
    kinect = get_skeleton("kinect_v1")
    assert NodeLayout.of(kinect).root == 1
    assert len(NodeLayout.of(kinect, "local")) == 19
    assert NodeLayout.of(kinect, "mixed").root is None


def test_errors_of_unknown_names_suggest_the_nearest():
    table = NameTable("thing", {"hammer": "os:path", "saw": "os:sep"})
    with pytest.raises(InputError, match=r"unknown thing 'hamer'; did you mean 'hammer'\? known: hammer, saw"):
        table["hamer"]
    with pytest.raises(InputError, match="did you mean 'kinect_v2'"):
        get_skeleton("kinectv2")
    with pytest.raises(InputError, match=r"unknown field 'embed_dmi'; did you mean 'embed_dim'\?"):
        GLTransformer.Config(embed_dmi=3)


def test_random_streams_depend_on_seed_name_and_counters_alone():
    first = random_stream(1, "a", 5).random(4)
    random_stream(1, "b").random(100)
    assert (random_stream(1, "a", 5).random(4) == first).all()
    others = [random_stream(2, "a", 5), random_stream(1, "b", 5), random_stream(1, "a", 6), random_stream(1, "a", 5, 1)]
    assert all((other.random(4) != first).all() for other in others)


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "made") as partial:  # noqa: PT012
        (partial / "half").write_text("x")
        (partial / "missing").read_text()
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "made") as partial:
        (partial / "all").write_text("x")
    assert (tmp_path / "made" / "all").is_file()
    with pytest.raises(ExistsError, match="exists already"), new_folder(tmp_path / "made"):
        pass


@pytest.mark.parametrize(("changes", "message"), [
    ({"fps": 1e-300}, "frames per second"), ({"fps": 1e12}, "frames per second"), ({"fps": float("nan")}, "frames per"),
    ({"position": np.full((4, 1, 20, 3), 1e20, np.float32)}, "expected coordinates up to 1e"),
])  # fmt: skip
def test_clips_that_cannot_be_computed_with(changes, message):
    content = {"position": np.zeros((4, 1, 20, 3), np.float32)} | changes
    with pytest.raises(InputError, match=message):
        Clip(id="a", skeleton=get_skeleton("kinect_v1"), **content)
