"""Models inside the package and on the hub, hashes of weights, and classifiers fitted on the command line."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

import ulna
from conftest import model_of, tiny
from ulna.cli.evaluate import main as cli_evaluate
from ulna.cli.fit import main as cli_fit
from ulna.core import Clip, InputError, MissingError, get_skeleton
from ulna.evaluation import evaluate
from ulna.evaluation.table import read_rows
from ulna.models.names import built_in_folder, built_in_models, built_in_size

RESULTS = Path(__file__).parent.parent / "results" / "results.csv"
DATA = {  # fingerprint and splits by name in models.toml
    "NW-UCLA": ("a6eae33c06696474", ["xview"]),
    "UTD-MHAD": ("167ae7aeca172d15", ["xsub"]),
    "MSR-Action3D": ("c0613ecd42d61bd3", ["xsub"]),
    "SBU": ("cf22333956fa54ef", [f"fold{k}" for k in range(1, 6)]),
    "Penn Action": ("1aeb63c6db06f9bb", ["official"]),
}
PRETRAINED_ON = {"base": "58dba503ae7b3a52+71b2981c5650c23f"}  # the sample of CMU, UI-PRMD
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = f"hf://someone/motion@{COMMIT}"


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=1), dataset, tmp_path_factory.mktemp("names") / "model")


@pytest.fixture
def asked(model, monkeypatch):
    """A hub with one model; the arguments of each download."""
    calls = []

    def snapshot_download(name, *, revision, allow_patterns):
        calls.append((name, revision, allow_patterns))
        return str(model.path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return calls


@pytest.mark.parametrize("name", built_in_models())
def test_models_inside_the_package(name, monkeypatch, tmp_path):
    """Any skeleton, two or three dimensions, one or two persons; small; nothing is written beside them."""
    monkeypatch.chdir(tmp_path)
    loaded = ulna.load(f"ulna/{name}")
    assert loaded.is_read_only
    num_parameters, num_bytes = built_in_size(name)
    assert num_parameters == sum(values.numel() for values in loaded.encoder.parameters()) <= 3_000_000
    assert num_bytes <= 6_000_000
    rng = np.random.default_rng(0)
    vectors = [
        loaded.embed([Clip(id="a", position=rng.normal(size=shape).astype(np.float32), skeleton=skeleton)])
        for skeleton, shape in (
            (get_skeleton("kinect_v1"), (20, 1, 20, 3)),
            (get_skeleton("kinect_v2"), (7, 2, 25, 3)),
            (get_skeleton("coco17"), (64, 1, 17, 2)),
        )
    ]
    assert len({own.shape for own in vectors}) == 1
    assert all(np.isfinite(own).all() and own.any() for own in vectors)
    with pytest.raises(InputError, match=r"unknown model inside the package 'basic'; .*known: base"):
        ulna.load("ulna/basic")


@pytest.mark.parametrize("name", built_in_models())
def test_files_of_models_inside_the_package(name):
    """The card has what was measured and the terms of the data; no folders of a machine; only data."""
    folder = built_in_folder(name)
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "model.safetensors", "README.md", "pretrained_on.parquet"
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    for text in ("## Measured", "## Robustness", "## Agreement between seeds", "## Limits", "mocap.cs.cmu.edu", "PDDL"):
        assert text in card
    assert not any(word in card + (folder / "config.json").read_text() for word in ("/home", "/tmp", "/root", "/work"))


@pytest.mark.parametrize("name", built_in_models())
def test_stated_accuracies_are_those_of_the_results(name):
    rows = [row for row in read_rows(RESULTS) if row.protocol in ("fit", "raw_joints")]
    model = built_in_models()[name]
    assert set(model.accuracy) == set(DATA)
    for data, stated in model.accuracy.items():
        fingerprint, splits = DATA[data]
        values = {"trained": stated.model, "random_init": stated.random_init, "raw_joints": stated.raw_joints}
        for kind, value in values.items():
            trained_on = "" if kind == "raw_joints" else PRETRAINED_ON[name]
            own = [
                row for row in rows
                if row.fingerprint == fingerprint and row.kind == kind and row.split in splits
                and row.options == "share=0.05" and row.pretrained_on == trained_on
            ]  # fmt: skip
            weights = [row.num_test for row in own]
            assert own
            assert np.average([row.accuracy for row in own], weights=weights) == pytest.approx(value, abs=0.051)


def test_an_existing_folder_precedes_the_package(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save(tmp_path / "ulna" / "base")
    assert ulna.load("ulna/base").recipe == model.recipe


def test_damaged_weights_inside_the_package_are_refused(tmp_path, monkeypatch):
    weights = bytearray((built_in_folder("base") / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr("ulna.models.names.built_in_folder", lambda name: tmp_path)
    with pytest.raises(InputError, match="Do not use this file"):
        ulna.load("ulna/base")


def test_models_on_the_hub_are_pinned(asked, tmp_path, monkeypatch):
    loaded = ulna.load(NAME)
    assert loaded.is_read_only
    assert not loaded.save(tmp_path / "copy").is_read_only
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("someone/motion", COMMIT)
    assert not any(pattern.endswith((".py", ".bin", ".pkl", "*")) for pattern in patterns), "data only"
    for text in ("someone/motion", "someone/motion@main", f"../motion@{COMMIT[:39]}"):
        with pytest.raises(InputError, match="expected a model pinned to a commit"):
            ulna.load(f"hf://{text}")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingError, match=r"pip install 'ulna\[hub\]'"):
        ulna.load(NAME)


def test_nothing_is_written_into_a_download(asked, dataset, capsys):
    with pytest.raises(InputError, match=r"was not saved or is read-only. Call Model.save"):
        evaluate(ulna.load(NAME), dataset, split="half", save=True)
    cli_evaluate([NAME, "--data", str(dataset.path), "--split", "half", "--protocol", "knn"])
    assert "Nothing was saved beside the model, which is read-only" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected --out FOLDER for the model with its classifier"):
        cli_fit([NAME, "--data", str(dataset.path)])


def test_few_labels_on_the_command_line(model, dataset, tmp_path, capsys):
    labels, ids = tmp_path / "labels.csv", dataset.ids
    labels.write_text("file,label\n" + "".join(f"{ids[k]},{'ab'[k % 2]}\n" for k in range(8)))
    cli_fit([str(model.path), "--data", str(dataset.path), "--labels", str(labels), "--out", str(tmp_path / "own")])
    assert "classifier 'fit' of 2 classes" in capsys.readouterr().out
    fitted = ulna.load(tmp_path / "own")
    assert {one.label for one in fitted.predict(dataset)} <= {"a", "b"}
    assert fitted.count_seen(dataset, dataset.split("half")[0]) == 20
    cli_fit([str(model.path), "--data", str(dataset.path), "--split", "half", "--classifier", "all"])
    assert ulna.load(model.path).classifier("all").config.classes == dataset.classes


def test_half_precision(model, dataset, tmp_path):
    small = model.save(tmp_path / "half", half=True)
    sizes = [(one.path / "model.safetensors").stat().st_size for one in (small, model)]
    assert sizes[0] < 0.7 * sizes[1]
    assert small.embed(dataset) == pytest.approx(model.embed(dataset), abs=0.02)
    assert (small.embed(dataset) == ulna.load(small.path).embed(dataset)).all(), "what was saved is returned"


def test_other_weights_are_refused(model, tmp_path):
    copy = model.save(tmp_path / "copy")
    with pytest.raises(InputError, match=r"expected SHA-256 'abc', found .*Do not use this file"):
        ulna.load(copy.path, sha256="abc")
