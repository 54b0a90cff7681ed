"""Damaged runs and datasets, values out of range: one clear message each, nothing lost."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ulna
from conftest import run_of, tiny
from test_train import cut_power_at
from ulna.core import options
from ulna.data import Dataset, prepare
from ulna.encoders import ENCODERS, GLTransformer
from ulna.preprocessing import PREPROCESSORS
from ulna.evaluation import KNN, PROTOCOLS, Linear, EvalResult
from ulna.evaluation.classifier import Classifier
from ulna.evaluation.evaluation import evaluate
from ulna.formats import FORMATS, BadFileError
from ulna.training import Recipe, Training
from write_files import write_bvh, write_npz, write_ntu, write_nw_ucla, write_sbu


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    run = run_of(tiny(epochs=1), dataset, tmp_path_factory.mktemp("runs") / "run")
    evaluate(run, dataset, protocol=options(PROTOCOLS, "linear", epochs=2), split="half", seeds=1, baselines=False)
    return run.path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def set_nan(path):
    weights = load_file(path)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, path)


def drop_one(path):
    weights = load_file(path)
    weights.popitem()
    save_file(weights, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "got a damaged file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "got a damaged file"),
        (drop_one, "got a damaged file"),
        (set_nan, "expected finite weights"),
    ],
)
def test_damaged_weights(run, damage, message):
    damage(run / "weights.safetensors")
    with pytest.raises(ValueError, match=rf"weights.safetensors: .*{message}"):
        _ = ulna.load(run).encoder


@pytest.mark.parametrize(
    "change",
    [
        {"num_persons": "x"}, {"data": 5}, {"skeleton": None}, {"recipe": {}}, {"training_seconds": None},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_recipes(run, change):
    metadata = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(metadata | change))
    with pytest.raises(ValueError, match=r"recipe.json: expected the recipe of a run, got a damaged file"):
        ulna.load(run)


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [("encoder", "width", "abc"), ("input", "heading", "zzz"), ("pretext", "intervals", 5), ("pretext", "magnitude", 3)],
)
def test_recipes_with_values_of_another_kind(part, option, value):
    values = tiny().to_json()
    values[part][option] = value
    with pytest.raises(ValueError, match=rf"{option}: expected .*, got"):
        Recipe.from_json(values)


def test_damaged_classifier_and_results(run):
    classifier = run / "classifiers" / "linear.safetensors"
    classifier.parent.mkdir(exist_ok=True)
    save_file(
        {"weight": torch.zeros(2, 80), "bias": torch.zeros(2)},
        classifier,
        {"classes": '["only one"]', "split": "x", "fingerprint": ""},
    )
    with pytest.raises(ValueError, match="do not fit one another"):
        Classifier.open(run)
    classifier.write_bytes(b"{}")
    with pytest.raises(ValueError, match="expected a classifier, got a damaged file"):
        Classifier.open(run)
    result = run / "results" / "linear-half.json"
    for text in ("", "[]", "{}"):
        result.write_text(text)
        with pytest.raises(ValueError, match=r"linear-half.json: expected a saved result"):
            EvalResult.open(result)


def test_a_damaged_checkpoint_is_named(dataset, tmp_path, monkeypatch):
    cut_power_at(4, monkeypatch)
    with pytest.raises(RuntimeError, match="power cut"):
        run_of(tiny(), dataset, tmp_path / "run")
    (tmp_path / "run.unfinished" / "checkpoints" / "last.ckpt").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"last.ckpt: expected a checkpoint, got a damaged file"):
        run_of(tiny(), dataset, tmp_path / "run", resume=True)


def test_what_fails_before_the_first_step_leaves_nothing(dataset, tmp_path, monkeypatch):
    def fail(self, batch, batch_idx):
        raise RuntimeError("no memory")

    monkeypatch.setattr(ulna.training.module.Pretraining, "training_step", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        run_of(tiny(), dataset, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(epochs=-1), "training.epochs: expected a number at least 1, got -1"),
        (lambda: Training(learning_rate=float("nan")), "training.learning_rate: expected a number above 0"),
        (lambda: Linear(epochs=0), "epochs: expected a number at least 1"),
        (lambda: KNN(k=0), "k: expected a number at least 1"),
        (lambda: FORMATS["bvh"](every=0), "every: expected a number at least 1"),
        (lambda: options(ENCODERS, "gl_transformer", pos_embed="tigth"), "pos_embed"),
        (lambda: PREPROCESSORS["disentangled"](max_frames=0), "max_frames: expected a number at least 1"),
    ],
)
def test_values_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_edited_descriptions_and_caches(tmp_path, dataset):
    path = shutil.copytree(dataset.path, tmp_path / "dataset")
    Dataset(path).verify()
    (path / ".verified.json").write_bytes(b"\xff\xfe")
    Dataset(path).verify()
    content = bytearray((path / "frames.npy").read_bytes())
    content[-1] ^= 1
    (path / "frames.npy").write_bytes(content)
    with pytest.raises(ValueError, match="changed bytes"):
        Dataset(path).verify(afresh=True)
    description = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(description | {"num_clips": 999}))
    with pytest.raises(ValueError, match="expected the description it was written with"):
        Dataset(path)


def test_whatever_breaks_a_reader_is_a_bad_file(tmp_path):
    source = tmp_path / "files"
    write_nw_ucla(source / "a01_s01_e01_v01.json")
    (source / "a01_s01_e01_v02.json").write_text("[" * 100_000)
    (source / "a01_s01_e01_v03.json").write_text('{"label": 1, "skeletons": [[[1' + "0" * 400 + ",0,0]]]}")
    dataset = prepare(FORMATS["nw_ucla"](), source, tmp_path / "dataset", skip_bad=True, progress=False)
    assert dataset.num_clips == 1
    assert len((tmp_path / "dataset" / "rejected.csv").read_text().splitlines()) == 3
    (source / "a01_s01_e01_v01.json").unlink()
    with pytest.raises(ValueError, match=r"at least one good file, got 2 bad ones; .*a01_s01_e01_v02.json"):
        prepare(FORMATS["nw_ucla"](), source, tmp_path / "other", skip_bad=True, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "dataset"]


def read(name, path, **more):
    reader = FORMATS[name](**more)
    return reader.read(path, reader.open(path.parent))


def test_numbers_that_are_none(tmp_path):
    path = tmp_path / "u" / "a01_s01_e01_v01.json"
    write_nw_ucla(path, skeletons=[[["1.5"] * 3] * 20])
    with pytest.raises(BadFileError, match="frame 0, joint 0: expected 20 joints of 3 numbers"):
        read("nw_ucla", path)
    path = tmp_path / "n" / "S001C001P001R001A001.skeleton"
    write_ntu(path)
    text = path.read_text()
    path.write_text(text.replace("\n25\n", "\n2_5\n", 1))
    with pytest.raises(BadFileError, match="line 4"):
        read("ntu", path)
    lines = text.splitlines()
    lines[4], lines[5] = lines[4] + " 7", lines[5].partition(" ")[2]
    path.write_text("\n".join(lines))
    with pytest.raises(BadFileError, match=r"line 5: expected .*12 fields.*got 13 fields"):
        read("ntu", path)
    path = tmp_path / "b" / "a.bvh"
    write_bvh(path)
    path.write_text(path.read_text().replace("0.0333333", "nan"))
    with pytest.raises(BadFileError, match="Frame Time"):
        read("bvh", path)
    path = tmp_path / "z" / "a.npz"
    write_npz(path, fps=np.array([1.0, 2.0]))
    with pytest.raises(BadFileError, match="key 'fps': expected one number"):
        read("npz", path)
    path = tmp_path / "s" / "s03s04" / "07" / "001" / "skeleton_pos.txt"
    write_sbu(path)
    path.write_text(",".join(["1", *["0"] * 90]) + "\n")
    with pytest.raises(BadFileError, match="no body"):
        read("sbu", path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,walk\na,run\n", "line 3: expected one row a file, got 'a' again"),
        ("a,walk,extra\n", "line 2: expected one row a file, got too many cells"),
        ("zzz,walk\n", "expected labels of files like a.bvh, got a table of files like zzz"),
    ],
)
def test_label_tables_that_do_not_fit(tmp_path, rows, message):
    write_bvh(tmp_path / "files" / "a.bvh")
    table = tmp_path / "labels.csv"
    table.write_text("\ufefffile,label\n" + rows, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        FORMATS["bvh"](labels=table).open(tmp_path / "files")


def test_weights_from_strangers_are_never_unpickled(tmp_path):
    torch.save({"x": print}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w.pt: expected a file of plain tensors, got another \(UnpicklingError\)$"):
        GLTransformer.from_released(tmp_path / "w.pt", num_heads=8)
    with pytest.raises(FileNotFoundError, match="expected a file of weights, got none"):
        GLTransformer.from_released(tmp_path / "none.pt", num_heads=8)
