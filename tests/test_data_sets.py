"""NTU RGB+D and PKU-MMD, from files of their format to results, and the published numbers."""

import csv
import re

import numpy as np
import pytest

from conftest import model_of, tiny
from ulna.cli.fit import main as cli_fit
from ulna.cli.timeline import main as cli_timeline
from ulna.core import InputError, MissingError
from ulna.dataset import prepare
from ulna.encoders import STGCN, CompactTransformer, GLTransformer
from ulna.evaluation import evaluate
from ulna.evaluation.protocols import Linear
from ulna.formats import FORMATS, BadFileError, pku_mmd
from ulna.formats.annotations import read_annotations
from ulna.recipes import RECIPES, published_numbers
from write_files import write_ntu, write_pku

NTU = ("ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset")
PKU = ("pku_mmd1_xsub", "pku_mmd1_xview", "pku_mmd2_xsub", "pku_mmd2_xview")
ACTIONS = [(1, 2, 12), (12, 12, 25), (1, 25, 40)]


@pytest.fixture(scope="module")
def ntu_files(tmp_path_factory):
    """Two actions, one of them by two persons, in three views; setups and subjects of both parts of the splits."""
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
    for number, name in enumerate(names):
        write_pku(folder, name, ACTIONS, num_bodies=1 + number % 2, seed=number)
    train, test = names[:9], names[9:]
    text = "Training videos:\n{}\nValidation videos:\n{}\n"
    (folder / "cross-subject.txt").write_text(text.format(", ".join(train), ", ".join(test)))
    train, test = ([name for name in names if (name[-1] == "L") == is_left] for is_left in (False, True))
    (folder / "cross-view.txt").write_text(text.format(", ".join(train), ", ".join(test)))
    return folder


@pytest.mark.parametrize("name", NTU + PKU)
def test_recipes_run_end_to_end(name, ntu_files, pku_files, tmp_path):
    format, files = ("ntu", ntu_files) if name in NTU else ("pku_mmd", pku_files)
    dataset = prepare(format, files, tmp_path / "dataset", workers=1, progress=False)
    recipe = RECIPES[f"gl_transformer/{name}"]()
    assert recipe.encoder == GLTransformer.Config(), "the paper's size"
    assert recipe.split in dataset.splits
    small = recipe.replace(
        encoder=GLTransformer.Config(embed_dim=4, num_heads=2, depth=1), training=recipe.training.replace(epochs=1)
    )
    model = model_of(small, dataset, tmp_path / "model")
    result = evaluate(model, dataset, Linear(epochs=2), split=recipe.split, seeds=1).result
    assert set(result.per_group) == {"one-person", "two-person"}
    assert result.metadata.seen_test_clips == 0


@pytest.mark.parametrize("method", ["skeletonclr", "aimclr", "slim"])
def test_recipes_of_contrast_and_teachers_run_at_the_papers_size(method, ntu_files, tmp_path):
    dataset = prepare("ntu", ntu_files, tmp_path / "dataset", workers=1, progress=False)
    recipe = RECIPES[f"{method}/ntu60_xsub"]()
    assert recipe.encoder in (STGCN.Config(), CompactTransformer.Config()), "the paper's size"
    if method == "slim":  # heads that are thrown away
        recipe = recipe.replace(pretext=recipe.pretext.replace(prototypes=64, hidden_dim=64, local_views=2))
    else:
        recipe = recipe.replace(pretext=recipe.pretext.replace(queue=64))
    small = recipe.replace(training=recipe.training.replace(epochs=1, batch_size=8))
    model = model_of(small, dataset, tmp_path / "model")
    result = evaluate(model, dataset, Linear(epochs=2), seeds=1, baselines=False).result
    assert result.metadata.seen_test_clips == 0
    assert {name.split("/")[1] for name in RECIPES if name.startswith(f"{method}/")} >= set(NTU)


def test_published_numbers_have_sources_and_recipes_say_that_they_were_not_measured():
    for name in (*NTU, "pku_mmd2_xsub"):
        numbers = published_numbers(name.replace("_x", " x"))
        assert any((number.method, number.protocol) == ("HA-CM 2024", "linear") for number in numbers)
        assert all(number.source and 0 < number.accuracy < 100 for number in numbers)
        assert "Not measured by us." in RECIPES[f"gl_transformer/{name}"].__doc__
    own = [number for number in published_numbers("ntu60 xsub") if number.method == "GL-Transformer 2022"]
    accuracies = {(number.protocol, number.share): number.accuracy for number in own}
    assert accuracies == {("linear", 1): 76.3, ("finetune", 0.05): 64.5, ("finetune", 0.1): 68.6}


def test_pku_mmd_clips_and_splits(pku_files, tmp_path):
    joints = write_pku(tmp_path, "0007-M", [(3, 0, 5), (51, 10, 22), (4, 30, 35)], num_bodies=2, seed=5)
    lines = (tmp_path / "skeleton" / "0007-M.txt").read_text().splitlines()
    for frame in range(30, 35):
        lines[frame] = " ".join(["0"] * 150)
    lines[10] = " ".join(["0"] * 150)
    (tmp_path / "skeleton" / "0007-M.txt").write_text("\n".join(lines))
    (tmp_path / "cross_subject_v2.txt").write_text("Training videos:\n0007-M, 0008-M\nTesting videos:\n0009-M\n")
    format = FORMATS["pku_mmd"]()
    source = format.open(tmp_path)
    assert [path.name for path in source.files] == ["0007-M.txt"]
    clips = format.read(source.files[0], source)
    assert [(c.id, c.label, c.view, c.num_frames) for c in clips] == [
        ("0007-M_000", "brush teeth", 2, 5),
        ("0007-M_001", "writing", 2, 11),
    ]
    np.testing.assert_allclose(clips[0].position, joints[:5], atol=1e-5)
    np.testing.assert_allclose(
        clips[1].position, joints[11:22], atol=1e-5, err_msg="the first frame, without a body, is dropped"
    )
    assert clips[0].splits == {"xsub": "train", "xsub-dev": "train"}
    plain = FORMATS["pku_mmd"](labels=pku_files / "labels").open(pku_files)
    splits = {clip.id: clip.splits for path in plain.files for clip in FORMATS["pku_mmd"]().read(path, plain)}
    assert splits["0010-R_000"] == {"xsub": "test", "xview": "train", "xview-dev": "test"}
    assert splits["0005-L_002"] == {"xsub": "train", "xsub-dev": "test", "xview": "test"}
    assert FORMATS["pku_mmd"].splits == ("xsub", "xsub-dev", "xview", "xview-dev")


BAD = {
    "149 columns": (r"0001-L.txt, line 2: expected 150 numbers, found 149", "short"),
    "a word": (r"0001-L.txt, line 2: expected 150 numbers, found other text", "word"),
    "NaN": (r"frame 1, person 0, joint spine_base: expected finite coordinates", "nan"),
    "frames beyond the end": (r"action 0 \(line 1 of its label file\): expected frames within the 40", "1,30,45,2"),
    "end before start": (r"start before end, found 9 to 9", "1,9,9,2"),
    "unknown action": (
        r"line 1: expected action \(1 to 51\), start and end frame, parted by commas, found '52,",
        "52,1,5",
    ),
    "no commas": (r"line 1: expected action", "1 2 3"),
    "empty labels": (r"expected skeleton data, found an empty file", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_of_bad_pku_files_name_the_location(case, tmp_path):
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
    format = FORMATS["pku_mmd"]()
    source = format.open(tmp_path)
    with pytest.raises(BadFileError, match=message):
        format.read(source.files[0], source)


def test_missing_labels_and_split_files(tmp_path):
    write_pku(tmp_path, "0001-L", [(1, 0, 5)])
    (tmp_path / "labels" / "0001-L.txt").unlink()
    format = FORMATS["pku_mmd"]()
    source = format.open(tmp_path)
    with pytest.raises(BadFileError, match=r"expected a label file 0001-L.txt in .*found none\. Pass --labels FOLDER"):
        format.read(source.files[0], source)
    write_pku(tmp_path, "0001-L", [(1, 0, 5)])
    assert format.read(source.files[0], source)[0].splits == {}
    with pytest.raises(MissingError, match="expected an official PKU-MMD split file"):
        FORMATS["pku_mmd"](cross_view=tmp_path / "none.txt").read(source.files[0], source)


def test_recordings_that_no_list_names_are_in_no_part(tmp_path):
    for name in ("0001-L", "0002-L", "0003-L"):
        write_pku(tmp_path, name, [(1, 0, 5)])
    (tmp_path / "cross-subject.txt").write_text("Training videos:\n0001-L\nValidation videos:\n0002-L\n")
    format = FORMATS["pku_mmd"]()
    source = format.open(tmp_path)
    parts = [format.read(path, source)[0].splits.get("xsub") for path in source.files]
    assert parts == ["train", "test", None]
    (tmp_path / "cross-subject-v2.txt").write_text("Training videos:\n0001-L\n")
    source = FORMATS["pku_mmd"]().open(tmp_path)
    pku_mmd._training.cache_clear()
    with pytest.raises(InputError, match="expected one split file"):
        format.read(source.files[0], source)


def test_pku_mmd_timelines_end_to_end(pku_files, tmp_path, capsys):
    """Official protocol: trained on actions of the training recordings, measured on whole test recordings."""
    dataset = prepare("pku_mmd", pku_files, tmp_path / "dataset", workers=1, progress=False)
    model = model_of(tiny(epochs=1).replace(split="xsub"), dataset, tmp_path / "model")
    cli_fit([str(model.path), "--data", str(dataset.path), "--split", "xsub", "--windows"])
    given = [str(model.path), str(pku_files / "skeleton"), "--format", "pku_mmd", "--split", "xsub", "--together"]
    cli_timeline([*given, "--annotations", str(pku_files / "labels"), "--out", str(tmp_path / "events.csv")])
    scores = dict(re.findall(r"(\w+) ([0-9.]+) %", capsys.readouterr().out.splitlines()[-1]))
    assert set(scores) == {"frame_accuracy", "edit", "f1_10", "f1_25", "f1_50", "mAP_50"}
    names = {row["file"] for row in csv.DictReader((tmp_path / "events.csv").read_text().splitlines())}
    assert names == {"0010-L", "0010-M", "0010-R"}, "the test recordings, whole"
    with pytest.raises(InputError, match=r"split: expected a split with test recordings, of \['xsub', .*found 'x'"):
        cli_timeline([*given[:4], "--split", "x"])


def test_pku_mmd_labels_are_annotations(tmp_path):
    write_pku(tmp_path, "0007-M", [(3, 0, 15), (51, 18, 30)])
    found = read_annotations(tmp_path / "labels").of("0007-M")
    assert [(one.start, one.end, one.label) for one in found] == [(0, 0.5, "brush teeth"), (0.6, 1, "writing")]
    (tmp_path / "labels" / "0007-M.txt").write_text("3,9,9,1\n")
    with pytest.raises(BadFileError, match="line 1: expected an end after the start"):
        read_annotations(tmp_path / "labels")
