"""Crafted folders and command lines: every file that is read back is validated before anything is computed or written.

Whatever is wrong, the answer is an error of ulna of at most 500 printable characters, and nothing is written.
"""

import copy
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import ulna
from conftest import tiny
from ulna.analysis import write_report
from ulna.core import InputError, UlnaError
from ulna.dataset.description import checksum_of, hash_file
from ulna.evaluation import EvalResult
from ulna.evaluation.table import read_rows, rows_of, write_rows
from ulna.models import ModelConfig, Recipe

LARGEST = 500
DEEP = "[" * 100_000 + "]" * 100_000
# Values of every type that JSON has, and some of a size that must not be allocated.
STRANGE = [None, True, 5, -1, 10**12, 10**30, 1.5, "text", "", "\x1b[31m\x00" * 200, [], [[]], {}, {"a": None}, [None]]


def answer(error: BaseException) -> str:
    """Return the message of an error, after checking its form."""
    text = str(error)
    assert isinstance(error, UlnaError), repr(error)
    assert 0 < len(text) < LARGEST
    assert text.isprintable()
    return text


def paths_in(values, path=()):
    """Yield the path to every value inside JSON values."""
    yield path
    for key, value in values.items() if isinstance(values, dict) else enumerate(values if type(values) is list else []):
        yield from paths_in(value, (*path, key))


def changed(values, path, new):
    """Return a copy of JSON values with one of them replaced, or removed if `new` is the class `object`."""
    values = copy.deepcopy(values)
    *parents, last = path
    place = values
    for key in parents:
        place = place[key]
    if new is object:
        del place[last]
    else:
        place[last] = new
    return values


@pytest.fixture(scope="module")
def trained(model, dataset):
    """A model with a classifier and saved results."""
    model.fit(dataset, split="half").save(model.path / "classifiers", "fit")
    ulna.evaluate(model, dataset, ulna.protocols.KNN(k=1), save=True)
    return ulna.load(model.path)


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained.path, tmp_path / "model")


@pytest.fixture
def data(dataset, tmp_path):
    return shutil.copytree(dataset.path, tmp_path / "dataset")


def describe(path: Path, **changes) -> None:
    """Change a dataset's description and renew its checksum."""
    values = json.loads((path / "dataset.json").read_text()) | changes
    (path / "dataset.json").write_text(json.dumps(values | {"checksum": checksum_of(values)}))


def index(path: Path, table: pa.Table) -> None:
    """Replace a dataset's index, and its size and hash in the description."""
    file = path / "clips.parquet"
    pq.write_table(table, file)
    values = json.loads((path / "dataset.json").read_text())
    sizes, hashes = values["bytes"], values["sha256"]
    describe(path, bytes=sizes | {file.name: file.stat().st_size}, sha256=hashes | {file.name: hash_file(file)})


# --- dataset.json


def description_cases(dataset):
    values = json.loads((dataset.path / "dataset.json").read_text())
    for path in paths_in(values):
        if path and path[0] not in ("checksum", "source", "units"):
            yield from ((path, new) for new in (object, *STRANGE))


def test_descriptions_with_any_value_replaced_are_refused_or_read(dataset, data):
    values = json.loads((data / "dataset.json").read_text())
    refused = 0
    for path, new in description_cases(dataset):
        edited = changed(values, path, new)
        (data / "dataset.json").write_text(json.dumps(edited | {"checksum": checksum_of(edited)}))
        try:
            found = ulna.Dataset(data)
            assert len(found.clip(0).position)
        except UlnaError as error:
            answer(error)
            refused += 1
    assert refused > 700


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 5}, "classes: expected a list, found 5"),
        ({"skeleton": None}, "skeleton: expected an object, found None"),
        ({"sha256": {}}, "expected sizes and hashes of frames.npy"),
        ({"num_persons": 10**12}, "num_persons: expected a number of at most 1000"),
        ({"num_frames": 10**12}, "frames.npy: expected"),
        ({"num_clips": 7}, "expected 7 clips, found 40"),
        ({"classes": []}, r"expected labels below 0 \(the number of classes\)"),
        ({"classes": ["slow", "slow"]}, "expected classes with different names"),
        ({"version": 1}, "expected a dataset of version 2, found version 1"),
    ],
    ids=str,
)
def test_descriptions_say_what_was_expected(data, changes, message):
    describe(data, **changes)
    with pytest.raises(InputError, match=message) as caught:
        ulna.Dataset(data)
    answer(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", DEEP, '{"version": ' + DEEP + "}", "\x00", '{"version": 2}'])
def test_descriptions_that_are_not_objects(data, text):
    (data / "dataset.json").write_text(text)
    with pytest.raises(InputError) as caught:
        ulna.Dataset(data)
    answer(caught.value)


# --- clips.parquet


def replaced(name, values):
    def change(table):
        return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))

    return change


INDEX_CASES = {
    "a column label of type int32, found none": lambda t: t.drop_columns(["label"]),
    "a column start of type int64, found none": lambda t: t.drop_columns(["start"]),
    "a column length of type int32, found string": lambda t: t.set_column(2, "length", pa.array(["x"] * 40)),
    "a column id of type string, found int64": lambda t: t.set_column(0, "id", pa.array(range(40))),
    "a value of length for every clip, found 40 missing": replaced("length", [None] * 40),
    "columns id, start": lambda t: t.append_column("\x1b[2J" * 50, pa.array([0] * 40)),
    "train, test or nothing in column split:half": lambda t: t.set_column(
        t.column_names.index("split:half"), "split:half", pa.array(["dev"] * 40)
    ),
    "40 clips, found 39": lambda t: t.slice(0, 39),
    "clips of at least one frame": replaced("length", [0] * 40),
    "clips of at least one frame within": replaced("length", [2**31 - 1] * 40),
    "clips of at least one frame within the": replaced("start", [-1] * 40),
    "labels below 2 (the number of classes), found 7": replaced("label", [7] * 40),
    "labels below 2": replaced("label", [-1] * 40),
    "frames per second above 0": replaced("fps", [0.0] * 40),
    "frames per second above": replaced("fps", [float("nan")] * 40),
    "a unique id for every clip": replaced("id", ["same"] * 40),
}


@pytest.mark.parametrize("message", INDEX_CASES)
def test_indices_that_do_not_fit(data, message):
    index(data, INDEX_CASES[message](pq.read_table(data / "clips.parquet")))
    with pytest.raises(InputError) as caught:
        ulna.Dataset(data)
    assert f"clips.parquet: expected {message}" in answer(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from(["id", "start", "length", "hash", "fps", "persons", "label", "subject", "split:half"]),
    values=st.lists(
        st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1), st.text(max_size=5)), min_size=40, max_size=40
    ),
)
def test_any_column_of_any_values_is_refused_or_read(dataset, data, column, values):
    table = pq.read_table(dataset.path / "clips.parquet")
    own = table.schema.field(column).type
    try:
        array = pa.array(values, own)
    except (pa.ArrowException, TypeError, OverflowError):
        array = pa.array([None if value is None else str(value) for value in values], pa.string())
    index(data, table.set_column(table.column_names.index(column), column, array))
    try:
        found = ulna.Dataset(data)
        assert all(len(found.clip(i).position) for i in (0, 39))
    except UlnaError as error:
        answer(error)


# --- config.json of a model


def test_model_configurations_with_any_value_replaced_are_refused_or_loaded(trained, tmp_path):
    values = json.loads((trained.path / "config.json").read_text())
    refused = 0
    for path in paths_in(values):
        if not path or path[0] == "provenance" or path[:2] == ("skeleton", "parts"):
            continue
        for new in (object, *STRANGE):
            try:
                config = ModelConfig.from_json(changed(values, path, new))
                spec = config.recipe.build_preprocessor(config.skeleton, config.num_persons).spec
                config.recipe._check_size(spec)
            except UlnaError as error:
                answer(error)
                refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("recipe", "encoder", "embed_dim"), 10**9, "embed_dim: expected a number of at most"),
        (("recipe", "encoder", "depth"), 10**9, "depth: expected a number of at most"),
        (("recipe", "encoder", "name"), "os.system", "unknown encoder 'os.system'"),
        (("recipe", "pretext", "name"), 3, "expected the name of one pretext task, found 3"),
        (("recipe", "encoder"), {"name": "gl_transformer", "x": 1}, "unknown field 'x'"),
        (("num_persons",), 10**12, "num_persons: expected a number of at most 100"),
        (("num_persons",), "x", "num_persons: expected a whole number, found 'x'"),
        (("skeleton",), None, "skeleton: expected an object, found None"),
        (("skeleton", "joints"), [f"j{i}" for i in range(5000)], "expected 1 to 1000 joints, found 5000"),
        (("recipe",), {}, "a value, found nothing"),
        (("training_seconds",), "long", "training_seconds: expected a number, found 'long'"),
        (("data",), 5, "data: expected an object, found 5"),
        (("data", "fps"), 0, "fps: expected a number above 0"),
        (("version",), 99, "version: expected 1, found 99"),
    ],
)
def test_model_configurations_say_what_was_expected(folder, path, value, message):
    file = folder / "config.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    with pytest.raises(InputError) as caught:
        ulna.load(folder)
    assert "config.json: expected the configuration of a model" in answer(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", DEEP, '{"recipe": ' + DEEP + "}", "\ud800".encode("utf-8", "surrogatepass")]
)
def test_model_configurations_that_are_not_objects(folder, text):
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        ulna.load(folder)
    answer(caught.value)


def test_a_model_of_too_many_parameters_is_refused_before_memory_is_allocated():
    recipe = tiny()
    recipe = recipe.replace(encoder=recipe.encoder.replace(embed_dim=4096, num_heads=1, depth=64))
    spec = recipe.build_preprocessor(ulna.core.get_skeleton("kinect_v2"), 2).spec
    with pytest.raises(InputError, match="parameters") as caught:
        recipe.build_pretext(spec)
    answer(caught.value)


# --- classifiers


def saved_classifier(folder):
    path = folder / "classifiers" / "fit.safetensors"
    with safe_open(path, "pt") as file:
        return path, file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def edit_config(**changes):
    def edit(metadata, tensors):
        return {"classifier": json.dumps(json.loads(metadata["classifier"]) | changes)}, tensors

    return edit


def edit_tensors(**changes):
    def edit(metadata, tensors):
        return metadata, {k: v for k, v in (tensors | changes).items() if v is not None}

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_config(classes=["one"]), "expected 1 rows, one per class"),
        (edit_config(classes=5), "classes: expected a list, found 5"),
        (edit_config(pooling=None), "pooling: expected text, found None"),
        (edit_config(pooling="nonsense"), "pooling"),
        (edit_config(extra=1), "unknown field 'extra'"),
        (lambda metadata, tensors: ({"classifier": DEEP}, tensors), "not JSON"),
        (lambda metadata, tensors: (None, tensors), "not JSON"),
        (edit_tensors(weight=torch.zeros(2, 80, dtype=torch.int64)), "linear layer in float32"),
        (edit_tensors(weight=torch.zeros(2, 3)), "embeddings of width"),
        (edit_tensors(weight=torch.zeros(2)), "expected 2 rows"),
        (edit_tensors(weight=torch.full((2, 80), torch.nan)), "finite weights"),
        (edit_tensors(bias=None), "without 'bias'"),
        (edit_tensors(**{"encoder.x": torch.zeros(1)}), "expected weights"),
    ],
)
def test_classifiers_that_do_not_fit(folder, dataset, edit, message):
    path, metadata, tensors = saved_classifier(folder)
    metadata, tensors = edit(metadata, tensors)
    save_file(tensors, path, metadata)
    with pytest.raises(InputError) as caught:
        ulna.load(folder).predict(dataset, classifier="fit")
    assert message in answer(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, (2**60).to_bytes(8, "little") + b"{}"])
def test_classifiers_that_are_damaged(folder, content):
    (folder / "classifiers" / "fit.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="expected a classifier, found a damaged file") as caught:
        ulna.load(folder)
    answer(caught.value)


# --- results and metrics


def test_results_with_any_value_replaced_are_refused_or_read(trained, tmp_path):
    (file, *_) = sorted((trained.path / "results").glob("knn*.json"))
    values = json.loads(file.read_text())
    del values["derived"]
    assert EvalResult.from_json(values) == EvalResult.open(file)
    refused = 0
    for path in paths_in(values):
        if not path or path[:2] == ("metadata", "provenance") or (type(path[-1]) is int and path[-1] > 1):
            continue
        for new in (object, *STRANGE):
            try:
                result = EvalResult.from_json(changed(values, path, new))
                assert 0 <= result.accuracy <= 1
                assert rows_of(result)
            except UlnaError as error:
                answer(error)
                refused += 1
    assert refused > 500


@pytest.mark.parametrize("text", ["", "[]", "{}", DEEP, '{"key": ' + DEEP + "}"])
def test_results_that_are_damaged(folder, text):
    (file, *_) = (folder / "results").glob("knn*.json")
    file.write_text(text)
    with pytest.raises(InputError, match=r"knn.*json: expected a .*result") as caught:
        write_report([ulna.load(folder)], folder.parent / "report.html")
    answer(caught.value)
    assert not (folder.parent / "report.html").exists()


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss\n1," + "9" * 200_000 + "\n", "epoch,loss\n1,abc\n", "epoch,loss\n1\n", "epoch,loss\n1,nan\n",
        "epoch,loss\n1,2,3\n", "epoch,loss\n1,\x00\n",
    ],
    ids=range(6),
)  # fmt: skip
def test_metrics_that_are_damaged(folder, text):
    (folder / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=r"metrics.csv: expected rows of finite numbers") as caught:
        write_report([ulna.load(folder)], folder.parent / "report.html")
    answer(caught.value)
    assert not (folder.parent / "report.html").exists()


def test_tables_of_results_with_any_cell_replaced_are_refused_or_read(trained, tmp_path):
    (file, *_) = sorted((trained.path / "results").glob("knn*.json"))
    table = tmp_path / "results.csv"
    write_rows(table, rows_of(EvalResult.open(file)))
    assert read_rows(table)
    header, *rows = csv.reader(table.read_text().splitlines())
    refused = 0
    for column in range(len(header)):
        for new in ("", "abc", "-1", "1e400", "nan", "9" * 200_000, "\x00", "\x1b[31m"):
            with table.open("w", newline="") as opened:
                csv.writer(opened).writerows([header, [*rows[0][:column], new, *rows[0][column + 1 :]], *rows[1:]])
            try:
                assert read_rows(table)
            except UlnaError as error:
                answer(error)
                refused += 1
    assert refused > 50
    table.write_text("recipe,accuracy\nx,1\n")
    with pytest.raises(InputError, match="expected columns recipe, changes") as caught:
        read_rows(table)
    answer(caught.value)


# --- what must not be written, or replaced


def test_an_evaluation_that_fails_leaves_the_classifier_as_it_was(folder, dataset):
    model = ulna.load(folder)
    ulna.evaluate(model, dataset, ulna.protocols.Linear(epochs=1), seeds=1, save=True)
    path = folder / "classifiers" / "linear.safetensors"
    before = path.read_bytes(), sorted(file.name for file in (folder / "results").iterdir())
    (folder / "results" / "linear-half.json").unlink()
    (folder / "results" / "linear-half.json").mkdir()  # the result cannot be written
    with pytest.raises((UlnaError, OSError)):
        ulna.evaluate(ulna.load(folder), dataset, ulna.protocols.Linear(epochs=2), seeds=1, save=True)
    assert path.read_bytes() == before[0]
    assert sorted(file.name for file in (folder / "results").iterdir()) == before[1]


def test_a_learning_rate_that_diverges_leaves_no_folder(dataset, tmp_path):
    with pytest.raises(UlnaError, match="NaN or infinite"):
        ulna.pretrain(tiny(epochs=3).replace(training=tiny().training.replace(learning_rate=1e30)), dataset,
                      tmp_path / "model", device="cpu", progress=False)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_recipes_from_json_values_of_any_type():
    values = tiny().to_json()
    for path in paths_in(values):
        for new in STRANGE if path else ():
            try:
                Recipe.from_json(changed(values, path, new))
            except UlnaError as error:
                answer(error)


def test_positions_of_a_wrong_shape_are_refused():
    for shape in [(0, 1, 20, 3), (1, 0, 20, 3), (1, 1, 19, 3), (1, 1, 20, 4), (20, 3), ()]:
        with pytest.raises(InputError) as caught:
            ulna.Clip(id="x", position=np.zeros(shape, np.float32), skeleton=ulna.core.get_skeleton("kinect_v1"))
        answer(caught.value)
