"""Models on the hub, hashes of weights, and classifiers that are fitted on the command line."""

import sys
import types

import pytest

import ulna
from conftest import model_of, tiny
from ulna.cli.evaluate import main as cli_evaluate
from ulna.cli.fit import main as cli_fit
from ulna.core import InputError, MissingError
from ulna.evaluation import evaluate

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
