"""The leak audit, on copies made by hand."""

import csv
import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ulna.audit import ClipSet, audit
from ulna.core import Clip, InputError, get_skeleton
from ulna.dataset import Dataset

V1, V2 = get_skeleton("kinect_v1"), get_skeleton("kinect_v2")


def body(name, num_frames=40, *, seed, skeleton=V1, **known):
    """Return a clip of one person whose size and smooth motion depend on the seed."""
    random = np.random.default_rng(seed)
    rest = np.random.default_rng(0).normal(0, 0.4, (skeleton.num_joints, 3)) * random.uniform(0.8, 1.2)
    time = np.arange(num_frames)[:, None, None]
    rate, phase = random.uniform(0.05, 0.3, (2, *rest.shape))
    position = rest + 0.15 * np.sin(time * rate + 20 * phase) + [0, 1, 3]
    return Clip(name, position[:, None].astype(np.float32), skeleton, **known)


def at(position, time):
    """Return positions linearly interpolated at some times."""
    before = np.minimum(time.astype(int), len(position) - 2)
    part = (time - before)[:, None, None, None]
    return position[before] * (1 - part) + position[before + 1] * part


CHANGES = {
    "rotated": lambda x: x @ Rotation.from_euler("xyz", [0.3, 2.0, -0.4]).as_matrix().T,
    "moved": lambda x: x + np.array([1.0, -0.2, 0.5]),
    "slower": lambda x: at(x, np.arange(53) * 0.75),
    "faster": lambda x: at(x, np.arange(29) * 1.35),
    "cropped": lambda x: x[9:33],
    "everything": lambda x: at(x @ Rotation.from_euler("y", 1.0).as_matrix().T + [0, 0, 2], 5 + np.arange(28) * 1.2),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """60 training clips; test clips: every change of one of them, two exact copies, twelve that are no copies."""
    train = [body(f"train{i}", seed=i, label="ab"[i % 2], splits={"s": "train"}) for i in range(60)]
    test = []
    for clip, (name, change) in zip(train[10:], CHANGES.items(), strict=False):
        position = change(clip.position).astype(np.float32)
        test.append(Clip(f"{name} {clip.id}", position, V1, splits={"s": "test"}, label=clip.label))
    test += [dataclasses.replace(clip, id=f"copy {clip.id}", splits={"s": "test"}) for clip in train[:2]]
    test += [body(f"own{i}", seed=100 + i, label="a", splits={"s": "test"}) for i in range(12)]
    return Dataset.write(tmp_path_factory.mktemp("audit") / "dataset", train + test, classes=["a", "b"])


def halves(dataset):
    train, test = dataset.split("s")
    return ClipSet(dataset, test), [ClipSet(dataset, train)]


def test_copies_are_found_and_nothing_else(dataset):
    matches = {match.test: match for match in audit(*halves(dataset)).matches}
    assert {test: match.known for test, match in matches.items()} == {
        name: name.rpartition(" ")[2] for name in dataset.ids if " " in name
    }
    assert [match.is_exact for match in matches.values()] == [True] * 2 + [False] * len(CHANGES)
    assert all(match.alignment.distance < 0.006 for match in matches.values())


def test_differences_of_copies_are_measured(dataset):
    matches = {match.test.rpartition(" ")[0]: match for match in audit(*halves(dataset)).matches}
    assert matches["rotated"].alignment.degrees == pytest.approx(
        np.degrees(Rotation.from_euler("xyz", [0.3, 2.0, -0.4]).magnitude()), abs=0.5
    )
    assert matches["moved"].alignment.metres == pytest.approx(np.linalg.norm([1.0, -0.2, 0.5]), abs=0.01)
    assert matches["slower"].alignment.speed == pytest.approx(0.75, abs=0.01)
    assert matches["faster"].alignment.speed == pytest.approx(1.35, abs=0.01)
    assert matches["cropped"].alignment.overlap == 1
    assert matches["cropped"].alignment.speed == pytest.approx(1, abs=0.01)
    assert matches["copy"].kind == "exact"
    assert matches["moved"].kind == "moved 1.14 m"
    assert "speed 1.35" in matches["faster"].kind


def test_exact_copies_alone_and_the_threshold(dataset):
    test, known = halves(dataset)
    assert len(audit(test, known, near=False).matches) == 2
    assert len(audit(test, known, threshold=1e-9).matches) == 2
    with pytest.raises(InputError, match="threshold: expected a number above 0, found 0"):
        audit(test, known, threshold=0.0)


def test_copies_in_another_dataset_and_skeleton(dataset, tmp_path):
    """All test clips of a dataset occur in another dataset, with more joints."""
    test = dataset.split("s")[1]
    names = {"hip_centre": "spine_base", "spine": "spine_mid", "shoulder_centre": "spine_shoulder"}
    joints = [V2.index(names.get(joint, joint)) for joint in V1.joints]
    others = []
    for i in test:
        clip = dataset.clip(int(i))
        position = np.zeros((clip.num_frames, 1, 25, 3), np.float32)
        position[:, :, joints] = clip.position
        visible = np.zeros(position.shape[:3], bool)
        visible[:, :, joints] = True
        others.append(Clip(f"other {clip.id}", position, V2, visible=visible))
    known = Dataset.write(tmp_path / "known", others)
    matches = audit(ClipSet(dataset, test), [ClipSet(known, np.arange(len(others)))]).matches
    assert {match.test: match.known for match in matches} == {dataset.ids[i]: f"other {dataset.ids[i]}" for i in test}
    assert not any(match.is_exact for match in matches)


def test_short_and_still_clips_match_nothing(tmp_path):
    still = [Clip(f"still{i}", np.repeat(body("x", 1, seed=i).position, 12, axis=0), V1) for i in range(4)]
    short = [body(f"short{i}", 1 + i, seed=10 + i) for i in range(4)]
    clips = [
        dataclasses.replace(clip, splits={"s": "train" if i % 2 else "test"}, label="a")
        for i, clip in enumerate(still + short)
    ]
    dataset = Dataset.write(tmp_path / "dataset", clips, classes=["a"])
    assert audit(*halves(dataset)).matches == []


def test_the_command(command, dataset, tmp_path):
    code, out, err = command("audit", dataset.path, "--split", "s", "--out", tmp_path / "pairs.csv")
    assert code == 0
    assert "of 20 test clips 8 are copies of one of 60 clips (2 exact, 6 near)" in out
    assert "copy train0 is train0: exact, 0.0 mm apart" in out
    assert "report accuracy without them as well" in err
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[0]["kind"] == "exact"
    assert command("audit", dataset.path, "--split", "s", "--out", tmp_path / "pairs.csv")[0] == 2
    code, _, err = command("audit", dataset.path, "--split", "t")
    assert code == 2
    assert "known: s" in err


def test_clips_without_movement_are_no_copies(tmp_path):
    """Two recordings of a person who sits still."""
    pose = body("x", 1, seed=0).position
    clips = []
    for seed, part in enumerate(("train", "test")):
        noise = np.random.default_rng(seed).normal(0, 0.005, (60, 1, 20, 3)).astype(np.float32)
        clips.append(Clip(part, pose + noise, V1, label="a", splits={"s": part}))
    assert audit(*halves(Dataset.write(tmp_path / "dataset", clips, classes=["a"]))).matches == []


def test_joints_that_are_never_visible_are_left_out(dataset, tmp_path):
    def without_head(clip):
        visible = clip.visible.copy()
        visible[:, :, V1.index("head")] = False
        return dataclasses.replace(clip, visible=visible)

    clips = [without_head(dataset.clip(i)) for i in range(dataset.num_clips)]
    found = audit(*halves(Dataset.write(tmp_path / "dataset", clips, classes=["a", "b"])))
    assert len(found.matches) == 8


def test_clips_with_too_few_frames_are_listed(tmp_path):
    clips = [
        body("known", seed=0, label="a", splits={"s": "train"}),
        body("short", 4, seed=1, label="a", splits={"s": "test"}),
        body("single", 1, seed=2, label="a", splits={"s": "test"}),
        body("long", seed=3, label="a", splits={"s": "test"}),
    ]
    dataset = Dataset.write(tmp_path / "dataset", clips, classes=["a"])
    assert audit(*halves(dataset)).not_compared == ["short", "single"]


def test_nothing_to_compare(dataset):
    test, _ = halves(dataset)
    with pytest.raises(InputError, match="expected test clips and clips to compare them with"):
        audit(test, [ClipSet(dataset, np.array([], dtype=int))])
