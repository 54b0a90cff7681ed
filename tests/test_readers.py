"""Every reader on tiny files in the true format, and every kind of bad file."""

import numpy as np
import pytest

from conftest import GOLDEN, HERE
from ulna.core import get_skeleton
from ulna.data import prepare
from ulna.inputs import disentangle
from ulna.readers import READERS, BadFile, ntu
from ulna.readers.bvh import read_positions
from write_files import ntu_text, write_bvh, write_npz, write_ntu, write_nw_ucla, write_sbu, write_utd


def read_one(name, source, path, **options):
    reader = READERS[name](**options)
    found = reader.open(source)
    (clip,) = reader.read(path, found)
    return clip, found


@pytest.mark.parametrize("name", ["S001C001P001R001A001", "S001C002P003R002A058", "S003C003P007R001A027"])
def test_ntu_agrees_with_the_released_loader(name):
    expected = np.load(HERE / "golden" / "expected.npz")
    clip = ntu.read_skeleton(HERE / "golden" / f"{name}.skeleton")
    np.testing.assert_allclose(clip.position.transpose(3, 0, 2, 1), expected[f"{name}.camera"], atol=1e-6)
    ours = disentangle(clip, facing="released").transpose(3, 0, 2, 1)
    np.testing.assert_allclose(ours, expected[f"{name}.position"], atol=1e-5)


def test_ntu_facts_and_splits(tmp_path):
    path = tmp_path / "S002C003P003R002A058.skeleton"
    position = write_ntu(path, num_frames=5, num_bodies=2)
    clip, found = read_one("ntu", tmp_path, path)
    np.testing.assert_allclose(clip.position, position, rtol=1e-6)
    assert (clip.label, clip.subject, clip.view, clip.setup) == (57, 3, 3, 2)
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
    assert clip.present.any(axis=2).tolist() == [[True, False], [False, False], [True, False], [True, True]]


def test_ntu_skip_list(tmp_path):
    for name in ("S001C001P001R001A001", "S001C001P001R001A002"):
        write_ntu(tmp_path / "files" / f"{name}.skeleton")
    listed = tmp_path / "missing.txt"
    listed.write_text("S001C001P001R001A002\n")
    found = READERS["ntu"](skip_list=listed).open(tmp_path / "files")
    assert [path.stem for path in found.files] == ["S001C001P001R001A001"]


def test_nw_ucla(tmp_path):
    path = tmp_path / "a08_s03_e01_v03.json"
    joints = write_nw_ucla(path)
    clip, found = read_one("nw_ucla", tmp_path, path)
    np.testing.assert_allclose(clip.position[:, 0], joints, atol=1e-6)
    assert found.classes[clip.label] == "donning"
    assert clip.splits == {"xview": "test", "clean": "test"}
    write_nw_ucla(tmp_path / "a02_s03_e01_v03.json")
    assert read_one("nw_ucla", tmp_path, tmp_path / "a02_s03_e01_v03.json")[0].splits == {"xview": "test"}
    write_nw_ucla(tmp_path / "a02_s03_e01_v02.json")
    splits = read_one("nw_ucla", tmp_path, tmp_path / "a02_s03_e01_v02.json")[0].splits
    assert splits == {"xview": "train", "clean": "train", "xview-dev": "test"}


def test_nw_ucla_zeros_are_unseen_joints(tmp_path):
    path = tmp_path / "a04_s01_e01_v01.json"
    joints = np.ones((3, 20, 3))
    joints[1, 4] = 0
    write_nw_ucla(path, skeletons=joints.tolist())
    clip, _ = read_one("nw_ucla", tmp_path, path)
    assert np.argwhere(~clip.present).tolist() == [[1, 0, 4]]


def test_utd_mhad_is_reordered(tmp_path):
    path = tmp_path / "a27_s3_t2_skeleton.mat"
    joints = write_utd(path)
    clip, found = read_one("utd_mhad", tmp_path, path)
    kinect = get_skeleton("kinect_v1")
    for joint, row in (("head", 0), ("spine", 2), ("hip_centre", 3), ("left_shoulder", 4), ("right_foot", 19)):
        np.testing.assert_allclose(clip.position[:, 0, kinect.index(joint)], joints[row].T, rtol=1e-6)
    assert found.classes[clip.label] == "squat"
    assert clip.splits == {"xsub": "train", "xsub-dev": "test"}


def test_sbu_is_turned_into_metres(tmp_path):
    path = tmp_path / "s03s04" / "07" / "001" / "skeleton_pos.txt"
    values = write_sbu(path)
    clip, found = read_one("sbu", tmp_path, path)
    np.testing.assert_allclose(clip.position[..., 0], 1.28 - 2.56 * values[..., 0], atol=1e-6)
    np.testing.assert_allclose(clip.position[..., 1], 0.96 - 1.92 * values[..., 1], atol=1e-6)
    np.testing.assert_allclose(clip.position[..., 2], 1.28 * values[..., 2], atol=1e-6)
    assert (clip.fps, clip.num_persons, found.classes[clip.label]) == (15, 2, "exchange object")
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


def test_bvh_with_labels(tmp_path):
    for name in ("a", "b"):
        write_bvh(tmp_path / "files" / f"{name}.bvh")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,subject,split:mine\na,walk,1,train\nb.bvh,run,2,test\n")
    clip, found = read_one("bvh", tmp_path / "files", tmp_path / "files" / "b.bvh", labels=table, drop_first=1, every=2)
    assert found.classes == ("run", "walk")
    assert (clip.num_frames, clip.label, clip.subject, clip.splits) == (1, 0, 2, {"mine": "test"})


def test_npz(tmp_path):
    position = write_npz(tmp_path / "a.npz", label="wave", fps=25.0, subject=4)
    write_npz(tmp_path / "b.npz", label="bow", position=np.full((2, 2, 3, 3), np.nan).tolist() and _two_persons())
    clip, found = read_one("npz", tmp_path, tmp_path / "a.npz")
    np.testing.assert_allclose(clip.position[:, 0], position, atol=1e-6)
    assert (found.classes, found.num_persons) == (("bow", "wave"), 2)
    assert (clip.fps, clip.subject, clip.label) == (25, 4, 1)
    other, _ = read_one("npz", tmp_path, tmp_path / "b.npz")
    assert other.present[:, 1].tolist() == [[True] * 3, [False] * 3]


def _two_persons():
    position = np.ones((2, 2, 3, 3))
    position[1, 1] = np.nan
    return position


def test_npz_with_a_known_skeleton(tmp_path):
    position = np.random.default_rng(0).normal(size=(4, 1, 15, 3))
    write_npz(tmp_path / "a.npz", position=position, joints=..., parents=..., skeleton="sbu")
    assert read_one("npz", tmp_path, tmp_path / "a.npz")[1].skeleton.name == "sbu"


def lines(change):
    """Change the lines of an NTU file."""
    return lambda text: "\n".join(change(text.splitlines())) + "\n"


NTU = "S001C001P001R001A001.skeleton"
BAD_NTU = {
    "empty": (lambda text: "", "an empty file"),
    "cut": (lines(lambda rows: rows[:40]), "line 41: expected frame 1, body 0: the joints, got the end of the file"),
    "fewer frames": (lines(lambda rows: ["3", *rows[1:]]), "line 86: expected the end after the 3 frames"),
    "more frames": (lines(lambda rows: ["9", *rows[1:]]), "line 170: expected the number of bodies of frame 6 of 9"),
    "joints": (lines(lambda rows: [*rows[:3], "20", *rows[4:]]), "line 4: expected 25 joints, got 20"),
    "words": (
        lines(lambda rows: [*rows[:6], "x" + rows[6], *rows[7:]]),
        "line 7: expected coordinates in numbers, got 'x",
    ),
    "nan": (lines(lambda rows: [*rows[:6], "nan 1" + rows[6][rows[6].index(" ", 9) :], *rows[7:]]), "joint neck"),
    "no body": (lambda text: "2\n0\n0\n", "a clip with no body"),
    "no frame": (lambda text: "0\n", "no frame at all"),
    "not numbers": (lambda text: "hello", "line 1: expected the number of frames, got 'hello'"),
}


@pytest.mark.parametrize("case", BAD_NTU)
def test_bad_ntu_files_are_named_with_place(tmp_path, case):
    change, message = BAD_NTU[case]
    write_ntu(tmp_path / NTU)
    (tmp_path / NTU).write_text(change((tmp_path / NTU).read_text()))
    with pytest.raises(BadFile, match=message) as raised:
        ntu.read_skeleton(tmp_path / NTU)
    assert NTU in str(raised.value)


BAD_UCLA = {
    "19 joints": ({"skeletons": [[[0.1] * 3] * 19] * 3}, "frame 0: expected 20 joints of 3 numbers, got 19 joints"),
    "ragged": ({"skeletons": [[[0.1] * 3] * 20, [[0.1] * 3] * 21]}, "frame 1: expected 20 joints"),
    "text": ({"skeletons": [[[0.1, "x", 1]] * 20]}, "frame 0, joint 0"),
    "nan": ({"skeletons": [[[0.1, float("nan"), 1]] * 20]}, "joint hip_centre: expected finite"),
    "no key": ({"skeletons": ...}, "expected key 'skeletons'"),
    "no frames": ({"skeletons": []}, "no body"),
    "zeros": ({"skeletons": [[[0.0] * 3] * 20]}, "no body"),
    "label": ({"label": 9}, r"key 'label': expected 1"),
}


@pytest.mark.parametrize("case", BAD_UCLA)
def test_bad_nw_ucla_files(tmp_path, case):
    changes, message = BAD_UCLA[case]
    path = tmp_path / "a01_s01_e01_v01.json"
    write_nw_ucla(path, **changes)
    with pytest.raises(BadFile, match=message):
        read_one("nw_ucla", tmp_path, path)


def test_other_bad_files(tmp_path):
    write_utd(tmp_path / "u" / "a1_s1_t1_skeleton.mat")
    path = tmp_path / "u" / "a1_s1_t1_skeleton.mat"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BadFile, match=r"expected a .mat file, got what cannot be read"):
        read_one("utd_mhad", path.parent, path)

    path = tmp_path / "s" / "s03s04" / "07" / "001" / "skeleton_pos.txt"
    write_sbu(path)
    path.write_text(path.read_text() + "1,2,3\n")
    with pytest.raises(BadFile, match="line 7: expected 91 numbers, got 3"):
        read_one("sbu", tmp_path / "s", path)

    path = tmp_path / "b" / "a.bvh"
    write_bvh(path, ["0 " * 12, "0 " * 12, "0 " * 11])
    with pytest.raises(BadFile, match="frame 2: expected 12 numbers, one a channel, got 11"):
        read_one("bvh", path.parent, path)
    path.write_text(path.read_text().replace("JOINT LeftHand\n", "JOINT LeftHand\n{"))
    with pytest.raises(BadFile, match="HIERARCHY"):
        read_one("bvh", path.parent, path)

    path = tmp_path / "n" / "a.npz"
    write_npz(path, position=np.ones((3, 5, 3)))
    with pytest.raises(BadFile, match="expected 3 joints"):
        read_one("npz", path.parent, path)
    path.write_bytes(b"PK broken")
    with pytest.raises(BadFile, match="expected arrays saved by numpy"):
        read_one("npz", path.parent, path)


def test_arrays_of_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", position=np.array([{"x": 1}], dtype=object))
    with pytest.raises(BadFile, match="cannot be read"):
        READERS["npz"]().open(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_missing_and_empty_folders(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="nothing there"):
        READERS[name]().open(tmp_path / "none")
    with pytest.raises(ValueError, match=r"expected .* in this folder, got none"):
        READERS[name]().open(tmp_path)


def test_bad_files_stop_or_are_listed(tmp_path):
    source = tmp_path / "files"
    for name in ("a01_s01_e01_v01", "a01_s01_e01_v02"):
        write_nw_ucla(source / f"{name}.json")
    (source / "a01_s01_e01_v02.json").write_text("{")
    reader = READERS["nw_ucla"]()
    with pytest.raises(BadFile, match=r"a01_s01_e01_v02.json, line 1 column 2: expected JSON"):
        prepare(reader, source, tmp_path / "store", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    store = prepare(reader, source, tmp_path / "store", skip_bad=True, progress=False)
    assert store.num_clips == 1
    assert "a01_s01_e01_v02.json,line 1 column 2,JSON" in (tmp_path / "store" / "rejected.csv").read_text()


def test_processes_read_what_one_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("ulna.data.preparing.FEW_FILES", 2)
    for k in range(5):
        write_nw_ucla(tmp_path / "files" / f"a01_s01_e0{k}_v01.json", seed=k)
    stores = [
        prepare(READERS["nw_ucla"](), tmp_path / "files", tmp_path / f"s{n}", workers=n, progress=False) for n in (1, 2)
    ]
    assert stores[0].fingerprint == stores[1].fingerprint


def test_golden_files_are_those_of_the_reference():
    if (GOLDEN / "ntu").is_dir():
        for path in (GOLDEN / "ntu").iterdir():
            assert (HERE / "golden" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("odd", [("  ", 1), ("\t", 1), (" ", 0)])
def test_ntu_spaces_do_not_hide_fields(tmp_path, odd):
    """A joint line of 11 fields with a doubled space is still a line of 11 fields; tabs part fields too."""
    separator, missing = odd
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_ntu(path, num_frames=2)
    plain = ntu.read_skeleton(path)
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if len(line.split()) == 12)
    words = lines[number].split()
    path.write_text("\n".join([*lines[:number], separator.join(words), *lines[number + 1 :]]))
    assert (ntu.read_skeleton(path).position == plain.position).all()
    if missing:
        short = words[0] + separator + " ".join(words[1:11])
        path.write_text("\n".join([*lines[:number], short, *lines[number + 1 :]]))
        with pytest.raises(BadFile, match=rf"line {number + 1}.*12 fields.*11 fields"):
            ntu.read_skeleton(path)
