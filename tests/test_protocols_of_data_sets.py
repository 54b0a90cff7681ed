"""NTU RGB+D and PKU-MMD, from files in the true format to a table beside the published numbers."""

import dataclasses

import numpy as np
import pytest

from conftest import run_of
from ulna.cli.sweep import Sweep
from ulna.core import options
from ulna.data import prepare
from ulna.encoders import ENCODERS
from ulna.evaluation import PROTOCOLS
from ulna.evaluation.evaluation import evaluate
from ulna.formats import FORMATS, BadFileError, pku_mmd
from ulna.recipes import RECIPES, TABLES
from write_files import write_ntu, write_pku

NTU = ("ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset")
PKU = ("pku_mmd1_xsub", "pku_mmd1_xview", "pku_mmd2_xsub", "pku_mmd2_xview")
ACTIONS = [(1, 2, 12), (12, 12, 25), (1, 25, 40)]


@pytest.fixture(scope="module")
def ntu_files(tmp_path_factory):
    """Two actions, one of them by two persons, in three views; setups and subjects of both halves."""
    folder = tmp_path_factory.mktemp("ntu")
    for number, (setup, subject) in enumerate([(1, 1), (2, 2), (17, 3), (18, 6)]):
        for camera in (1, 2, 3):
            for action in (1, 50):
                name = f"S{setup:03d}C{camera:03d}P{subject:03d}R001A{action:03d}.skeleton"
                write_ntu(folder / name, 8, 1 + (action == 50), seed=number * 10 + camera)
    return folder


@pytest.fixture(scope="module")
def pku_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pku")
    names = [f"{number:04d}-{camera}" for number in (2, 3, 5, 10) for camera in "LMR"]
    for place, name in enumerate(names):
        write_pku(folder, name, ACTIONS, num_bodies=1 + place % 2, seed=place)
    trains, rest = names[:9], names[9:]
    text = "Training videos:\n{}\nValidation videos:\n{}\n"
    (folder / "cross-subject.txt").write_text(text.format(", ".join(trains), ", ".join(rest)))
    seen, unseen = ([name for name in names if (name[-1] == "L") == is_left] for is_left in (False, True))
    (folder / "cross-view.txt").write_text(text.format(", ".join(seen), ", ".join(unseen)))
    return folder


@pytest.mark.parametrize("name", NTU + PKU)
def test_recipes_run_end_to_end(name, ntu_files, pku_files, tmp_path):
    reader, files = (FORMATS["ntu"](), ntu_files) if name in NTU else (FORMATS["pku_mmd"](), pku_files)
    dataset = prepare(reader, files, tmp_path / "dataset", workers=1, progress=False)
    recipe = RECIPES[f"gl_transformer/{name}"]()
    assert options(ENCODERS, "gl_transformer") == recipe.encoder, "the paper's size"
    assert recipe.split in dataset.splits
    small = dataclasses.replace(
        recipe,
        encoder=options(ENCODERS, "gl_transformer", width=4, num_heads=2, num_blocks=1),
        training=dataclasses.replace(recipe.training, epochs=1),
    )
    run = run_of(small, dataset, tmp_path / "run")
    protocol = options(PROTOCOLS, "linear", epochs=2)
    result = evaluate(run, dataset, protocol=protocol, split=recipe.split, seeds=1)["linear"]
    assert set(result.per_group) == {"one-person", "two-person"}
    assert result.metadata["pretrained_on_test"] == 0


def test_published_numbers_stand_beside_empty_cells(tmp_path):
    for name in (*NTU, "pku_mmd2"):
        table = TABLES[name]()
        protocols = tuple([words.split() for words in table.protocols])
        sweep = Sweep(name, table, tmp_path, tmp_path / name, 1, protocols, table.splits, [])
        rows = sweep.write().read_text().splitlines()
        own = next(row for row in rows if "**gl_transformer/" in row)
        assert set(own.split("**")[2].replace("|", "")) == {" "}, "nobody has measured ours"
        assert any(row.startswith("| HA-CM 2024 | ") for row in rows)
    assert "76.3 | 64.5 | 68.6" in (tmp_path / "ntu60_xsub" / "ntu60_xsub.md").read_text()


def test_pku_mmd_by_hand(pku_files, tmp_path):
    joints = write_pku(tmp_path, "0007-M", [(3, 0, 5), (51, 10, 22), (4, 30, 35)], num_bodies=2, seed=5)
    lines = (tmp_path / "skeleton" / "0007-M.txt").read_text().splitlines()
    for frame in range(30, 35):
        lines[frame] = " ".join(["0"] * 150)
    lines[10] = " ".join(["0"] * 150)
    (tmp_path / "skeleton" / "0007-M.txt").write_text("\n".join(lines))
    (tmp_path / "cross_subject_v2.txt").write_text("Training videos:\n0007-M, 0008-M\nTesting videos:\n0009-M\n")
    reader = FORMATS["pku_mmd"]()
    source = reader.open(tmp_path)
    assert [path.name for path in source.files] == ["0007-M.txt"]
    clips = reader.read(source.files[0], source)
    assert [(c.id, c.label, c.view, c.num_frames) for c in clips] == [
        ("0007-M_000", 2, 2, 5),
        ("0007-M_001", 50, 2, 11),
    ]
    np.testing.assert_allclose(clips[0].position, joints[:5], atol=1e-5)
    np.testing.assert_allclose(clips[1].position, joints[11:22], atol=1e-5), "led in by a frame without a body"
    assert clips[0].splits == {"xsub": "train", "xsub-dev": "train"}
    plain = FORMATS["pku_mmd"](labels=pku_files / "labels").open(pku_files)
    splits = {clip.id: clip.splits for path in plain.files for clip in FORMATS["pku_mmd"]().read(path, plain)}
    assert splits["0010-R_000"] == {"xsub": "test", "xview": "train", "xview-dev": "test"}
    assert splits["0005-L_002"] == {"xsub": "train", "xsub-dev": "test", "xview": "test"}
    assert FORMATS["pku_mmd"].splits == ("xsub", "xsub-dev", "xview", "xview-dev")


BAD = {
    "149 columns": (r"0001-L.txt, line 2: expected 150 numbers, got 149", "short"),
    "a word": (r"0001-L.txt, line 2: expected 150 numbers, got other text", "word"),
    "NaN": (r"frame 1, person 0, joint spine_base: expected finite coordinates", "nan"),
    "frames beyond the end": (r"action 0 \(line 1 of its label file\): expected frames within the 40", "1,30,45,2"),
    "end before start": (r"start before end, got 9 to 9", "1,9,9,2"),
    "unknown action": (
        r"line 1: expected action \(1 to 51\), start and end frame, parted by commas, got '52,",
        "52,1,5",
    ),
    "no commas": (r"line 1: expected action", "1 2 3"),
    "empty labels": (r"expected skeleton data, got an empty file", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_pku_files_say_where(case, tmp_path):
    message, change = BAD[case]
    write_pku(tmp_path, "0001-L", [(1, 0, 5)])
    file = tmp_path / "skeleton" / "0001-L.txt"
    lines = file.read_text().splitlines()
    words = lines[1].split()
    rows = {"short": words[:-1], "word": ["x", *words[1:]], "nan": ["nan", *words[1:]]}
    if change in rows:
        lines[1] = " ".join(rows[change])
        file.write_text("\n".join(lines))
    else:
        (tmp_path / "labels" / "0001-L.txt").write_text(change)
    reader = FORMATS["pku_mmd"]()
    source = reader.open(tmp_path)
    with pytest.raises(BadFileError, match=message):
        reader.read(source.files[0], source)


def test_missing_labels_and_split_files(tmp_path):
    write_pku(tmp_path, "0001-L", [(1, 0, 5)])
    (tmp_path / "labels" / "0001-L.txt").unlink()
    reader = FORMATS["pku_mmd"]()
    source = reader.open(tmp_path)
    with pytest.raises(BadFileError, match=r"expected a label file 0001-L.txt in .*got none; give --labels FOLDER"):
        reader.read(source.files[0], source)
    write_pku(tmp_path, "0001-L", [(1, 0, 5)])
    assert reader.read(source.files[0], source)[0].splits == {}
    with pytest.raises(FileNotFoundError, match="expected an official PKU-MMD split file"):
        FORMATS["pku_mmd"](cross_view=tmp_path / "none.txt").read(source.files[0], source)


def test_recordings_that_no_list_names_take_no_part(tmp_path):
    for name in ("0001-L", "0002-L", "0003-L"):
        write_pku(tmp_path, name, [(1, 0, 5)])
    (tmp_path / "cross-subject.txt").write_text("Training videos:\n0001-L\nValidation videos:\n0002-L\n")
    reader = FORMATS["pku_mmd"]()
    source = reader.open(tmp_path)
    parts = [reader.read(path, source)[0].splits.get("xsub") for path in source.files]
    assert parts == ["train", "test", None]
    (tmp_path / "cross-subject-v2.txt").write_text("Training videos:\n0001-L\n")
    source = FORMATS["pku_mmd"]().open(tmp_path)
    pku_mmd._training.cache_clear()
    with pytest.raises(ValueError, match="expected one split file"):
        reader.read(source.files[0], source)
