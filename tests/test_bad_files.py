"""Errors of bad files name the file, the location, what was expected and what was found."""

import numpy as np
import pytest

from conftest import read_one
from ulna.core import InputError, MissingError
from ulna.dataset import prepare
from ulna.formats import FORMATS, BadFileError, ntu
from write_files import write_bvh, write_npz, write_ntu, write_nw_ucla, write_sbu, write_utd


def lines(change):
    """Change the lines of an NTU file."""
    return lambda text: "\n".join(change(text.splitlines())) + "\n"


NTU = "S001C001P001R001A001.skeleton"
BAD_NTU = {
    "empty": (lambda text: "", "an empty file"),
    "cut": (lines(lambda rows: rows[:40]), "line 41: expected frame 1, body 0: the joints, found the end of the file"),
    "fewer frames": (lines(lambda rows: ["3", *rows[1:]]), "line 86: expected the end after the 3 frames"),
    "more frames": (lines(lambda rows: ["9", *rows[1:]]), "line 170: expected the number of bodies of frame 6 of 9"),
    "joints": (lines(lambda rows: [*rows[:3], "20", *rows[4:]]), "line 4: expected 25 joints, found 20"),
    "words": (
        lines(lambda rows: [*rows[:6], "x" + rows[6], *rows[7:]]),
        "line 7: expected coordinates in numbers, found 'x",
    ),
    "nan": (lines(lambda rows: [*rows[:6], "nan 1" + rows[6][rows[6].index(" ", 9) :], *rows[7:]]), "joint neck"),
    "no body": (lambda text: "2\n0\n0\n", "a clip with no body"),
    "no frame": (lambda text: "0\n", "no frame at all"),
    "not numbers": (lambda text: "hello", "line 1: expected the number of frames, found 'hello'"),
}


@pytest.mark.parametrize("case", BAD_NTU)
def test_bad_ntu_files_are_named_with_location(tmp_path, case):
    change, message = BAD_NTU[case]
    write_ntu(tmp_path / NTU)
    (tmp_path / NTU).write_text(change((tmp_path / NTU).read_text()))
    with pytest.raises(BadFileError, match=message) as raised:
        ntu.read_skeleton(tmp_path / NTU)
    assert NTU in str(raised.value)
    assert raised.value.path == tmp_path / NTU


BAD_UCLA = {
    "19 joints": ({"skeletons": [[[0.1] * 3] * 19] * 3}, "frame 0: expected 20 joints of 3 numbers, found 19 joints"),
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
    with pytest.raises(BadFileError, match=message):
        read_one("nw_ucla", tmp_path, path)


def test_other_bad_files(tmp_path):
    write_utd(tmp_path / "u" / "a1_s1_t1_skeleton.mat")
    path = tmp_path / "u" / "a1_s1_t1_skeleton.mat"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(BadFileError, match=r"expected a MATLAB level-5 file, found what cannot be read"):
        read_one("utd_mhad", path.parent, path)

    path = tmp_path / "s" / "s03s04" / "07" / "001" / "skeleton_pos.txt"
    write_sbu(path)
    path.write_text(path.read_text() + "1,2,3\n")
    with pytest.raises(BadFileError, match="line 7: expected 91 numbers, found 3"):
        read_one("sbu", tmp_path / "s", path)

    path = tmp_path / "b" / "a.bvh"
    write_bvh(path, ["0 " * 12, "0 " * 12, "0 " * 11])
    with pytest.raises(BadFileError, match="frame 2: expected 12 numbers, one per channel, found 11"):
        read_one("bvh", path.parent, path)
    path.write_text(path.read_text().replace("JOINT LeftHand\n", "JOINT LeftHand\n{"))
    with pytest.raises(BadFileError, match="HIERARCHY"):
        read_one("bvh", path.parent, path)

    path = tmp_path / "n" / "a.npz"
    write_npz(path, position=np.ones((3, 5, 3)))
    with pytest.raises(BadFileError, match="expected 3 joints"):
        read_one("npz", path.parent, path)
    path.write_bytes(b"PK broken")
    with pytest.raises(BadFileError, match="expected arrays saved by numpy"):
        read_one("npz", path.parent, path)


def test_arrays_of_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", position=np.array([{"x": 1}], dtype=object))
    with pytest.raises(BadFileError, match="cannot be read"):
        FORMATS["npz"]().open(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_and_empty_folders(tmp_path, name):
    with pytest.raises(MissingError, match="found nothing"):
        FORMATS[name]().open(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected .* in this folder, found none"):
        FORMATS[name]().open(tmp_path)


def test_bad_files_raise_errors_or_are_listed(tmp_path):
    source = tmp_path / "files"
    for name in ("a01_s01_e01_v01", "a01_s01_e01_v02"):
        write_nw_ucla(source / f"{name}.json")
    (source / "a01_s01_e01_v02.json").write_text("{")
    format = FORMATS["nw_ucla"]()
    with pytest.raises(BadFileError, match=r"a01_s01_e01_v02.json, line 1 column 2: expected JSON"):
        prepare(format, source, tmp_path / "dataset", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    dataset = prepare(format, source, tmp_path / "dataset", skip_bad=True, progress=False)
    assert dataset.num_clips == 1
    assert "a01_s01_e01_v02.json,line 1 column 2,JSON" in (tmp_path / "dataset" / "rejected.csv").read_text()


@pytest.mark.parametrize(("separator", "cut_a_field"), [("  ", True), ("\t", True), (" ", False)])
def test_ntu_spaces_do_not_hide_fields(tmp_path, separator, cut_a_field):
    """A joint line of 11 fields with a doubled space is still a line of 11 fields; tabs separate fields too."""
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_ntu(path, num_frames=2)
    plain = ntu.read_skeleton(path)
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if len(line.split()) == 12)
    words = lines[number].split()
    path.write_text("\n".join([*lines[:number], separator.join(words), *lines[number + 1 :]]))
    assert (ntu.read_skeleton(path).position == plain.position).all()
    if cut_a_field:
        short = words[0] + separator + " ".join(words[1:11])
        path.write_text("\n".join([*lines[:number], short, *lines[number + 1 :]]))
        with pytest.raises(BadFileError, match=rf"line {number + 1}.*12 fields.*11 fields"):
            ntu.read_skeleton(path)
