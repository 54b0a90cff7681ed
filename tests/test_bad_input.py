"""Damaged models and datasets, values out of range: one clear message each, nothing lost."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ulna
from conftest import model_of, tiny
from test_train import fail_at
from ulna.core import InputError, MissingError
from ulna.dataset import Dataset, prepare
from ulna.encoders import ENCODERS, GLTransformer
from ulna.evaluation.protocols import KNN, Linear
from ulna.formats import FORMATS, BadFileError
from ulna.models import Recipe, Training
from ulna.preprocessing import PREPROCESSORS
from ulna.training.planned import PlannedModule
from write_files import write_bvh, write_npz, write_ntu, write_nw_ucla, write_sbu


@pytest.fixture
def folder(model, tmp_path):
    """A copy of a model's folder that a test may damage."""
    return shutil.copytree(model.path, tmp_path / "model")


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
        (lambda path: path.write_bytes(b""), "found a damaged file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "found a damaged file"),
        (drop_one, "expected weights norm.weight of shape .* found none"),
        (set_nan, "expected finite weights"),
    ],
)
def test_damaged_weights(folder, damage, message):
    damage(folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"model.safetensors: .*{message}"):
        ulna.load(folder)


def test_a_damaged_checkpoint_is_named(dataset, tmp_path, monkeypatch):
    fail_at(4, monkeypatch)
    with pytest.raises(RuntimeError, match="power cut"):
        model_of(tiny(), dataset, tmp_path / "model")
    (tmp_path / "model.unfinished" / "checkpoints" / "last.ckpt").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"last.ckpt: expected a checkpoint, found a damaged file"):
        model_of(tiny(), dataset, tmp_path / "model", resume=True)


def test_what_fails_before_the_first_step_leaves_nothing(dataset, tmp_path, monkeypatch):
    def fail(self, batch, batch_idx):
        raise RuntimeError("no memory")

    monkeypatch.setattr(PlannedModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        model_of(tiny(), dataset, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(epochs=-1), "epochs: expected a number of at least 1, found -1"),
        (lambda: Training(learning_rate=float("nan")), "learning_rate: expected a finite number"),
        (lambda: Linear(epochs=0), "epochs: expected a number of at least 1"),
        (lambda: KNN(k=0), "k: expected a number of at least 1"),
        (lambda: FORMATS["bvh"](every=0), "every: expected a number of at least 1"),
        (lambda: ENCODERS["gl_transformer"].Config(pos_embed="tigth"), "pos_embed: expected 'tight', 'once' or"),
        (lambda: PREPROCESSORS["disentangled"].Config(max_frames=0), "max_frames: expected a number of at least 1"),
        (lambda: tiny().replace(pooling=5), "pooling: expected text, found 5"),
        (lambda: Training(epoch=3), "unknown field 'epoch'; did you mean 'epochs'"),
    ],
)
def test_values_out_of_range(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("encoder", "embed_dim", "abc"), ("preprocessor", "heading", "zzz"), ("pretext", "intervals", 5),
        ("pretext", "magnitude", 3),
    ],
)  # fmt: skip
def test_recipes_with_values_of_another_type(part, option, value):
    values = tiny().to_json()
    values[part][option] = value
    with pytest.raises(InputError, match=rf"{option}: expected .*, found"):
        Recipe.from_json(values)


def test_edited_descriptions_and_caches(tmp_path, dataset):
    path = shutil.copytree(dataset.path, tmp_path / "dataset")
    Dataset(path).verify()
    (path / ".verified.json").write_bytes(b"\xff\xfe")
    Dataset(path).verify()
    content = bytearray((path / "frames.npy").read_bytes())
    content[-1] ^= 1
    (path / "frames.npy").write_bytes(content)
    with pytest.raises(InputError, match="changed bytes"):
        Dataset(path).verify(recheck=True)
    description = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(description | {"num_clips": 999}))
    with pytest.raises(InputError, match="expected the description the dataset was written with"):
        Dataset(path)


def test_whatever_breaks_a_parser_is_a_bad_file(tmp_path):
    source = tmp_path / "files"
    write_nw_ucla(source / "a01_s01_e01_v01.json")
    (source / "a01_s01_e01_v02.json").write_text("[" * 100_000)
    (source / "a01_s01_e01_v03.json").write_text('{"label": 1, "skeletons": [[[1' + "0" * 400 + ",0,0]]]}")
    dataset = prepare("nw_ucla", source, tmp_path / "dataset", skip_bad=True, progress=False)
    assert dataset.num_clips == 1
    assert len((tmp_path / "dataset" / "rejected.csv").read_text().splitlines()) == 3
    (source / "a01_s01_e01_v01.json").unlink()
    with pytest.raises(InputError, match=r"at least one good file, found 2 bad ones; .*a01_s01_e01_v02.json"):
        prepare("nw_ucla", source, tmp_path / "other", skip_bad=True, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "files"]


def read(name, path, **more):
    format = FORMATS[name](**more)
    return format.read(path, format.open(path.parent))


def test_values_that_are_not_numbers(tmp_path):
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
    with pytest.raises(BadFileError, match=r"line 5: expected .*12 fields.*found 13 fields"):
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
        ("a,walk\na,run\n", "line 3: expected one row per file, found 'a' again"),
        ("a,walk,extra\n", "line 2: expected one row per file, found too many cells"),
        ("zzz,walk\n", "expected labels of files like a, found a table of files like zzz"),
    ],
)
def test_label_tables_that_do_not_fit(tmp_path, rows, message):
    write_bvh(tmp_path / "files" / "a.bvh")
    table = tmp_path / "labels.csv"
    table.write_text("\ufefffile,label\n" + rows, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        FORMATS["bvh"](labels=table).open(tmp_path / "files")


def test_weights_from_strangers_are_never_unpickled(tmp_path):
    torch.save({"x": print}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w.pt: expected .*tensors"):
        GLTransformer.from_released(tmp_path / "w.pt", num_heads=8)
    with pytest.raises(MissingError, match=r"none.pt: expected .*weights"):
        GLTransformer.from_released(tmp_path / "none.pt", num_heads=8)
