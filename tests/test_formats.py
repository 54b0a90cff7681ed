"""Every format, on tiny files of it."""

import hashlib
import warnings

import bvhio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import GOLDEN, HERE, read_one
from ulna.core import UlnaError, UlnaWarning, get_skeleton
from ulna.dataset import prepare
from ulna.formats import FORMATS, ntu
from ulna.formats.bvh import read_positions
from ulna.preprocessing import disentangle
from write_files import (
    BVH,
    BVH_SIX_CHANNELS,
    ntu_text,
    write_bvh,
    write_npz,
    write_ntu,
    write_nw_ucla,
    write_sbu,
    write_utd,
)
from write_pose_files import POSE_WRITERS

# Recordings in the format of NTU, and what the authors' released loader makes of them, with their SHA-256.
GOLDEN_FILES = {
    "S001C001P001R001A001.skeleton": "8cd13964145d10d68aa194e09f5eee27c510f048697c4d2ba961c122cd54210a",
    "S001C002P003R002A058.skeleton": "9d58a7c0641fce46300a232cbc101063fe505a03e95e251326f3cbe5d7ee8388",
    "S003C003P007R001A027.skeleton": "335ee6064366df0a853f63c2eec61beb061ca20e7762c285c9b981843559f9c3",
    "expected.npz": "ec9f905f94eb3e2295da65000291357f848c7be3ecd18b35541031995aae6b3a",
}


@pytest.mark.parametrize("name", ["S001C001P001R001A001", "S001C002P003R002A058", "S003C003P007R001A027"])
def test_ntu_agrees_with_the_released_loader(name):
    expected = np.load(HERE / "golden" / "expected.npz")
    clip = ntu.read_skeleton(HERE / "golden" / f"{name}.skeleton")
    np.testing.assert_allclose(clip.position.transpose(3, 0, 2, 1), expected[f"{name}.camera"], atol=1e-6)
    ours = disentangle(clip, heading="released").transpose(3, 0, 2, 1)
    np.testing.assert_allclose(ours, expected[f"{name}.position"], atol=1e-5)


def test_ntu_metadata_and_splits(tmp_path):
    path = tmp_path / "S002C003P003R002A058.skeleton"
    position = write_ntu(path, num_frames=5, num_bodies=2)
    clip, found = read_one("ntu", tmp_path, path)
    np.testing.assert_allclose(clip.position, position, rtol=1e-6)
    assert (clip.label, clip.subject, clip.view, clip.setup) == ("shaking hands", 3, 3, 2)
    assert clip.splits["xsub"] == "test"
    assert clip.splits["xview"] == "train"
    assert clip.splits["xview-dev"] == "test"
    assert clip.splits["xset"] == "train"
    assert found.classes[57] == "shaking hands"
    assert len(found.classes) == 60
    assert found.class_groups["two-person"][0] == "punch or slap"


def test_ntu_120_is_recognised(tmp_path):
    path = tmp_path / "S018C001P045R001A120.skeleton"
    write_ntu(path)
    clip, found = read_one("ntu", tmp_path, path)
    assert len(found.classes) == 120
    assert len(set(found.classes)) == 120
    assert clip.splits["xsub"] == "train"
    assert len(ntu.SUBJECTS_60) == 20
    assert len(ntu.SUBJECTS_120) == 53


def test_ntu_bodies(tmp_path):
    rest = np.ones((25, 3))
    moving = [rest * (1 + t % 2) for t in range(4)]
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text(ntu_text([[], [], *([rest, rest * 3, step] for step in moving)]))
    first = ntu.read_skeleton(path, bodies="first")
    assert first.num_frames == 4, "leading frames without a body are dropped"
    assert (first.position[:, 1] == 3).all()
    motion = ntu.read_skeleton(path, bodies="motion")
    assert (motion.position[:, 0, 0, 0] == [1, 2, 1, 2]).all(), "the body that moves most comes first"


def test_ntu_gap_keeps_its_frames(tmp_path):
    body = np.ones((25, 3))
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text(ntu_text([[body], [], [body], [body, body]]))
    clip = ntu.read_skeleton(path)
    assert clip.visible.any(axis=2).tolist() == [[True, False], [False, False], [True, False], [True, True]]


def test_ntu_skip_list(tmp_path):
    for name in ("S001C001P001R001A001", "S001C001P001R001A002"):
        write_ntu(tmp_path / "files" / f"{name}.skeleton")
    listed = tmp_path / "missing.txt"
    listed.write_text("S001C001P001R001A002\n")
    found = FORMATS["ntu"](skip_list=listed).open(tmp_path / "files")
    assert [path.stem for path in found.files] == ["S001C001P001R001A001"]


def test_nw_ucla(tmp_path):
    path = tmp_path / "a08_s03_e01_v03.json"
    joints = write_nw_ucla(path)
    clip, found = read_one("nw_ucla", tmp_path, path)
    np.testing.assert_allclose(clip.position[:, 0], joints, atol=1e-6)
    assert (clip.label, found.classes.index(clip.label)) == ("donning", 6)
    assert clip.splits == {"xview": "test", "clean": "test"}
    write_nw_ucla(tmp_path / "a02_s03_e01_v03.json")
    assert read_one("nw_ucla", tmp_path, tmp_path / "a02_s03_e01_v03.json")[0].splits == {"xview": "test"}
    write_nw_ucla(tmp_path / "a02_s03_e01_v02.json")
    splits = read_one("nw_ucla", tmp_path, tmp_path / "a02_s03_e01_v02.json")[0].splits
    assert splits == {"xview": "train", "clean": "train", "xview-dev": "test"}


def test_nw_ucla_zeros_are_missing_joints(tmp_path):
    path = tmp_path / "a04_s01_e01_v01.json"
    joints = np.ones((3, 20, 3))
    joints[1, 4] = 0
    write_nw_ucla(path, skeletons=joints.tolist())
    clip, _ = read_one("nw_ucla", tmp_path, path)
    assert np.argwhere(~clip.visible).tolist() == [[1, 0, 4]]


def test_utd_mhad_is_reordered(tmp_path):
    path = tmp_path / "a27_s3_t2_skeleton.mat"
    joints = write_utd(path)
    clip, found = read_one("utd_mhad", tmp_path, path)
    kinect = get_skeleton("kinect_v1")
    for joint, row in (("head", 0), ("spine", 2), ("hip_centre", 3), ("left_shoulder", 4), ("right_foot", 19)):
        np.testing.assert_allclose(clip.position[:, 0, kinect.index(joint)], joints[row].T, rtol=1e-6)
    assert (clip.label, found.classes.index(clip.label)) == ("squat", 26)
    assert clip.splits == {"xsub": "train", "xsub-dev": "test"}


def test_sbu_is_converted_to_metres(tmp_path):
    path = tmp_path / "s03s04" / "07" / "001" / "skeleton_pos.txt"
    values = write_sbu(path)
    clip, found = read_one("sbu", tmp_path, path)
    np.testing.assert_allclose(clip.position[..., 0], 1.28 - 2.56 * values[..., 0], atol=1e-6)
    np.testing.assert_allclose(clip.position[..., 1], 0.96 - 1.92 * values[..., 1], atol=1e-6)
    np.testing.assert_allclose(clip.position[..., 2], 1.28 * values[..., 2], atol=1e-6)
    assert (clip.fps, clip.num_persons, clip.label) == (15, 2, "exchange object")
    assert found.classes.index(clip.label) == 6
    assert [clip.splits[f"fold{k}"] for k in range(1, 6)] == ["test", "train", "train", "train", "train"]
    assert clip.splits["fold5-dev"] == "test"
    assert "fold1-dev" not in clip.splits


def test_bvh_forward_kinematics(tmp_path):
    path = tmp_path / "a.bvh"
    write_bvh(path)
    position, hierarchy, fps = read_positions(path, units="cm")
    assert hierarchy.joints == ("Hips", "LeftArm", "LeftHand")
    np.testing.assert_allclose(position[0], [[0, 1, 0], [0.1, 1, 0], [0.3, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(position[1], [[0.01, 1.02, 0.03], [0.01, 1.12, 0.03], [0.01, 1.32, 0.03]], atol=1e-9)
    np.testing.assert_allclose(position[2], [[0, 1, 0], [0.1, 1, 0], [0.1, 1, -0.2]], atol=1e-9)
    assert fps == pytest.approx(30, abs=1e-3)
    upright, _, _ = read_positions(path, units="m", up="z")
    np.testing.assert_allclose(upright[0, 0], [0, 0, -100], atol=1e-9)


def test_bvh_position_channels_replace_offsets(tmp_path):
    """Joints of six channels, the root included: whatever is in OFFSET has no effect."""
    path = tmp_path / "a.bvh"
    rows = [
        "0 0 0 0 0 0  0 0 0 0 0 0  0 0 0 0 0 0",
        "1 2 3 0 0 0  4 0 0 0 0 0  0 0 0 0 5 0",
        "1 2 3 90 0 0  4 0 0 0 0 90  0 0 0 0 0 5",  # hips rotated about z, arm about y
        "1 2 3 90 0 0  4 0 0 0 0 90  90 0 0 0 0 5",  # a joint's own rotation does not move it
    ]
    expected = [
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[1, 2, 3], [5, 2, 3], [5, 7, 3]],
        [[1, 2, 3], [1, 6, 3], [1, 11, 3]],
        [[1, 2, 3], [1, 6, 3], [1, 11, 3]],
    ]
    write_bvh(path, rows, head=BVH_SIX_CHANNELS.replace("Frames: 3", "Frames: 4"))
    position, hierarchy, _ = read_positions(path, units="cm")
    assert [len(channels) for channels in hierarchy.channels] == [6, 6, 6]
    assert hierarchy.offsets.tolist() == [[0, 100, 0], [10, 0, 0], [20, 0, 0]]
    np.testing.assert_allclose(position, np.array(expected) / 100, atol=1e-9)
    clip, _ = read_one("bvh", tmp_path, path)
    np.testing.assert_allclose(clip.position[:, 0], np.array(expected) / 100, atol=1e-7)


def test_bvh_with_labels(tmp_path):
    for name in ("a", "b"):
        write_bvh(tmp_path / "files" / f"{name}.bvh")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,subject,split:mine\na,walk,1,train\nb.bvh,run,2,test\n")
    clip, found = read_one("bvh", tmp_path / "files", tmp_path / "files" / "b.bvh", labels=table, drop_first=1, every=2)
    assert found.classes == ("run", "walk")
    assert (clip.num_frames, clip.label, clip.subject, clip.splits) == (1, "run", 2, {"mine": "test"})


def test_npz(tmp_path):
    position = write_npz(tmp_path / "a.npz", label="wave", fps=25.0, subject=4)
    write_npz(tmp_path / "b.npz", label="bow", position=_two_persons())
    clip, found = read_one("npz", tmp_path, tmp_path / "a.npz")
    np.testing.assert_allclose(clip.position[:, 0], position, atol=1e-6)
    assert (found.classes, found.num_persons) == (("bow", "wave"), 2)
    assert (clip.fps, clip.subject, clip.label) == (25, 4, "wave")
    other, _ = read_one("npz", tmp_path, tmp_path / "b.npz")
    assert other.visible[:, 1].tolist() == [[True] * 3, [False] * 3]


def _two_persons():
    position = np.ones((2, 2, 3, 3))
    position[1, 1] = np.nan
    return position


def test_npz_with_a_known_skeleton(tmp_path):
    position = np.random.default_rng(0).normal(size=(4, 1, 15, 3))
    write_npz(tmp_path / "a.npz", position=position, joints=..., parents=..., skeleton="sbu")
    assert read_one("npz", tmp_path, tmp_path / "a.npz")[1].skeleton.name == "sbu"


def test_several_processes_read_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("ulna.dataset.preparing.FEW_FILES", 2)
    for k in range(5):
        write_nw_ucla(tmp_path / "files" / f"a01_s01_e0{k}_v01.json", seed=k)
    datasets = [
        prepare(FORMATS["nw_ucla"](), tmp_path / "files", tmp_path / f"s{n}", workers=n, progress=False) for n in (1, 2)
    ]
    assert datasets[0].fingerprint == datasets[1].fingerprint


def test_golden_files_are_complete_and_unchanged():
    found = {name: hashlib.sha256((HERE / "golden" / name).read_bytes()).hexdigest() for name in GOLDEN_FILES}
    assert found == GOLDEN_FILES


@pytest.mark.skipif(not (GOLDEN / "ntu").is_dir(), reason="no reference vectors here")
def test_golden_files_are_those_of_the_reference():
    assert {path.name for path in (GOLDEN / "ntu").iterdir()} == set(GOLDEN_FILES)
    for name in GOLDEN_FILES:
        assert (HERE / "golden" / name).read_bytes() == (GOLDEN / "ntu" / name).read_bytes()


@pytest.mark.parametrize("head", [BVH, BVH_SIX_CHANNELS], ids=["rotations", "positions and rotations"])
def test_bvh_agrees_with_bvhio(tmp_path, head):
    random = np.random.default_rng(0)
    num_channels = 12 if head is BVH else 18
    rows = [" ".join(f"{value:.3f}" for value in random.uniform(-90, 90, num_channels)) for _ in range(3)]
    write_bvh(tmp_path / "a.bvh", rows, head=head)
    position, hierarchy, _ = read_positions(tmp_path / "a.bvh", units="m")
    root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
    for frame in range(3):
        root.loadPose(frame, recursive=True)
        expected = {joint.Name: np.array(joint.PositionWorld) for joint, _, _ in root.layout()}
        for k, name in enumerate(hierarchy.joints):
            if name in expected:  # bvhio has no end sites
                np.testing.assert_allclose(position[frame, k], expected[name], atol=1e-3)


WRITERS = {
    "bvh": ("a.bvh", write_bvh),
    "npz": ("a.npz", write_npz),
    "ntu": ("S001C001P001R001A001.skeleton", write_ntu),
    "nw_ucla": ("a01_s01_e01_v01.json", write_nw_ucla),
    "sbu": ("s03s04/07/001/skeleton_pos.txt", write_sbu),
    "utd_mhad": ("a1_s1_t1_skeleton.mat", write_utd),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_parsers_of_ntu_agree_on_damaged_files(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "S001C001P001R001A001.skeleton"
    write_ntu(path, num_frames=2, num_bodies=2)
    content = path.read_bytes()
    if data.draw(st.booleans(), "carriage returns"):
        content = content.replace(b"\n", b"\r\n")
    start = data.draw(st.integers(0, len(content)), "start")
    length = data.draw(st.sampled_from([0, 0, 1, 2, 8, 100]), "length")
    new = data.draw(
        st.sampled_from([b"", b"1", b"-1", b"nan", b" ", b"\n", b"\r", b"\t", b"\xc2\xa0", b"x", b" 7", b"1e5"])
    )
    content = content[:start] + new + content[start + length :]
    plain = ntu._parse_plain(content)
    if plain is None:
        return
    lines = ntu._parse_lines(path, content.decode())
    for one, two in zip(plain, lines, strict=True):
        assert np.array_equal(one, two, equal_nan=True)


def test_numbers_of_ntu_that_are_too_large_are_refused(tmp_path):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_ntu(path, num_frames=2)
    lines = path.read_text().splitlines()
    lines[4] = " ".join(["1e300", *lines[4].split()[1:]])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UlnaError, match=r"frame 0, person 0, joint .* finite coordinates"):
        ntu.read_skeleton(path)


def test_plain_files_of_ntu_take_the_fast_parser(tmp_path):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_ntu(path, num_frames=3, num_bodies=2)
    content = path.read_bytes()
    for same in (content, content.replace(b"\n", b"\r\n"), content.rstrip(b"\n")):
        counts, joints = ntu._parse_plain(same)
        assert counts.tolist() == [2, 2, 2]
        assert joints.shape == (6, 25, 3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", WRITERS | POSE_WRITERS)
def test_files_with_any_bytes_replaced_are_refused_or_read(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp(name)
    ending, write = (WRITERS | POSE_WRITERS)[name]
    path = folder / ending
    write(path)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1), "start")
    length = data.draw(st.sampled_from([0, 1, 2, 8, 100, len(content)]), "length")
    new = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"-1", b"1e999", b"nan", b" ", b"\n", b"9" * 40]))
    )
    path.write_bytes(content[:start] + new + content[start + length :])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UlnaWarning)
            dataset = prepare(name, folder, folder / "dataset", workers=1, progress=False)
        assert np.isfinite(dataset.clip(0).position).all()
    except UlnaError as error:
        assert len(str(error)) < 500
        assert str(error).isprintable()
        assert not (folder / "dataset").exists()
