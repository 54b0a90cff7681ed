"""The commands, as a person would call them."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import make_clip
from ulna.cli import COMMANDS
from ulna.dataset import Dataset
from ulna.evaluation.table import read_rows
from ulna.formats import FORMATS
from ulna.formats.nw_ucla import ACTIONS
from ulna.recipes import RECIPES
from write_files import write_nw_ucla

SMALL = (
    "--encoder.embed-dim", "4", "--encoder.num-heads", "2", "--encoder.depth", "1", "--training.epochs", "2",
    "--training.precision", "32-true",
)  # fmt: skip
PARTS = tuple(enumerate(["train", "train", "test", "test"]))
RECIPE = "gl_transformer/nw_ucla_small"


@pytest.fixture
def source(tmp_path):
    """24 NW-UCLA files of two actions in three views, one of them a single frame."""
    for action in (1, 8):
        for subject in range(1, 5):
            for view in (1, 2, 3):
                num = 1 if (action, subject, view) == (1, 1, 1) else 6 + subject + view
                name = f"a{action:02d}_s{subject:02d}_e01_v{view:02d}.json"
                write_nw_ucla(tmp_path / "files" / name, num, seed=action * 100 + subject * 10 + view)
    return tmp_path / "files"


def small_dataset(path):
    clips = [
        make_clip(f"c{i}", 6, label="xy"[i % 2], seed=i, splits={"xview": "train" if i < 4 else "test"})
        for i in range(8)
    ]
    return Dataset.write(path, clips), clips


def test_the_whole_path(command, source, tmp_path):
    dataset, model = tmp_path / "dataset", tmp_path / "model"
    code, out, err = command("prepare", "nw_ucla", source, dataset)
    assert code == 0
    assert "24 clips" in out
    assert re.search(r"split xview +16 train, 8 test", out)
    assert "1 clips have one frame only; they are kept" in err

    code, out, _ = command("info", dataset, "--verify")
    assert code == 0
    assert "every byte is as it was written" in out

    code, out, _ = command("pretrain", RECIPE, "--data", dataset, "--out", model, *SMALL)
    assert code == 0
    assert (model / "model.safetensors").is_file()

    words = ["--epochs", "5", "--seeds", "2", "--out", tmp_path / "o.json", "--table", tmp_path / "t.csv"]
    code, out, _ = command("evaluate", model, "--data", dataset, *words)
    assert code == 0
    for name in ("linear", "linear, random init", "1-NN on raw joints", "chance level"):
        assert re.search(rf"{name}.* %", out)
    assert json.loads((tmp_path / "o.json").read_text())["key"]["split"] == "xview"
    rows = read_rows(tmp_path / "t.csv")
    assert [(row.kind, row.seed) for row in rows if row.kind == "trained"] == [("trained", 0), ("trained", 1)]
    assert {row.kind for row in rows} == {"trained", "random_init", "raw_joints", "chance"}
    code, out, _ = command("evaluate", model, "--data", dataset, "--protocol", "knn", "--split", "clean", "--k", "3")
    assert code == 0
    assert "k 3" in out

    code, out, _ = command("predict", model, source / "a01_s01_e01_v03.json", "--classifier", "linear")
    assert code == 0
    assert re.match(rf"a01_s01_e01_v03 +({'|'.join(ACTIONS.values())}) +[01]\.\d+", out)
    words = ["--classifier", "linear", "--out", tmp_path / "labels.csv"]
    code, out, _ = command("predict", model, source, *words)
    assert code == 0
    with (tmp_path / "labels.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 24

    code, out, _ = command("embed", model, "--data", dataset, "--out", tmp_path / "clips.parquet")
    assert code == 0
    table = pq.read_table(tmp_path / "clips.parquet")
    assert len(table) == 24
    assert len(table["embedding"][0].as_py()) == 80

    code, out, _ = command("info", model)
    assert code == 0
    assert "finished" in out
    code, out, _ = command("report", model)
    assert code == 0
    assert (model / "report.html").stat().st_size > 20_000


def test_sweep_prints_or_runs_commands(command, source, tmp_path):
    dataset, out = tmp_path / "dataset", tmp_path / "sweep"
    command("prepare", "nw_ucla", source, dataset)
    words = ["sweep", RECIPE, "--data", dataset, "--out", out, "--seeds", "1"]
    words += ["--protocols", "linear --epochs 3", "finetune --share 0.5 --epochs 1 --steps 0"]
    code, printed, err = command(*words, "--", *SMALL)
    assert code == 0, err
    lines = printed.splitlines()
    assert [line.split()[1] for line in lines] == ["pretrain", "evaluate", "evaluate"]
    assert not out.exists()

    done = subprocess.run(
        [sys.executable, "-m", "ulna", *map(str, words), "--execute", "--", *SMALL], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = (out / "table.md").read_text()
    assert re.search(rf"\| {RECIPE} \| [0-9.]+ \| [0-9.]+ \|", table)
    assert "random init" in table
    assert len(read_rows(out / "results.csv")) >= 5
    code, printed, _ = command(*words, "--", *SMALL)
    assert printed.count("# done: ") == 3, "what exists is not run again"
    failing = ["sweep", RECIPE, "--data", tmp_path / "none", "--out", tmp_path / "o", "--seeds", "1", "--execute"]
    assert command(*failing)[0] == 2
    code, _, err = command("sweep", "nw_ucl", "--data", dataset, "--out", out)
    assert code == 2
    assert "unknown grid or recipe 'nw_ucl'" in err


def test_quickstart(command, tmp_path):
    code, out, _ = command("quickstart", "--out", tmp_path / "q", "--draws", "2", "--epochs", "1")
    assert code == 0
    table = {name: next(line for line in out.splitlines() if line.startswith(name)) for name in (
        "1-NN on raw joints", "random init", "ulna/base", "pretrained here",
    )}  # fmt: skip
    assert all(line.count("±") == 2 for line in table.values()), "one and five labels per class, two draws each"
    assert out.count("report.html") == 2
    for name in ("base", "pretrained_here"):
        html = (tmp_path / "q" / name / "report.html").read_text()
        assert "https://" not in html.replace("http://www.w3.org", ""), "the report needs no network"
        assert "| fit 5-per-class |" in (tmp_path / "q" / name / "README.md").read_text()
    code, _, err = command("quickstart", "--out", tmp_path / "q")
    assert code == 2
    assert "exists already" in err


def test_models_lists_what_is_inside_the_package(command):
    code, out, _ = command("models")
    assert code == 0
    assert "ulna/base" in out
    assert "Apache-2.0" in out


def test_datasets_names_every_format(command):
    code, out, _ = command("datasets")
    assert code == 0
    for name in FORMATS:
        assert re.search(rf"^{name} ", out, re.M)
    assert "NSF EIA-0196217" in out


def help_of(command, *words):
    code, out, _ = command(*words, "--help")
    assert code == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("prepare", "pretrain", "sweep")])
def test_every_option_of_every_command_is_explained(command, name):
    check_help(help_of(command, name), name)


@pytest.mark.parametrize("name", FORMATS)
def test_every_option_of_every_format_is_explained(command, name):
    check_help(help_of(command, "prepare", name), f"prepare {name}")


@pytest.mark.parametrize("name", [RECIPE, "motion_transformer/nw_ucla", "h_transformer/nw_ucla", "ha_cm/nw_ucla"])
def test_every_option_of_every_recipe_is_explained(command, name):
    assert name in RECIPES
    text = help_of(command, "pretrain", name)
    check_help(text, f"pretrain {name}")
    for option in ("--encoder.", "--pretext.", "--preprocessor.", "--augmentation.", "--training."):
        assert option in text


def check_help(text, prog):
    """Check that every option has a text besides its type and default."""
    assert f"ulna {prog}" in text
    entries = re.findall(r"^[│ ] (\S.*)((?:\n[│ ] {5,}\S.*)*)$", text, re.M)
    options = [first + more for first, more in entries if re.match(r"-h|--[a-z]|MODEL|FILE|DATASET|PATH", first)]
    assert options
    for option in options:
        words = re.sub(r"[│ \n]+", " ", re.sub(r"^(.*?)(?:  |\n)", "", option, count=1, flags=re.S))
        explained = re.sub(r"\((default|required|optional|sets)\b.*", "", words)
        assert len(explained.split()) >= 2, f"{option.splitlines()[0]} is not explained"


def test_prepare_pretrain_and_sweep_list_what_they_know(command):
    for name, known in (("prepare", FORMATS), ("pretrain", RECIPES), ("sweep", ())):
        text = help_of(command, name)
        assert all(item in text for item in known)


def test_a_file_that_is_bad(command, source, tmp_path):
    (source / "a01_s02_e01_v01.json").write_text('{"skeletons": [')
    code, _, err = command("prepare", "nw_ucla", source, tmp_path / "dataset")
    assert code == 2
    assert re.search(r"a01_s02_e01_v01.json, line 1 column 16: expected JSON, found .*--skip-bad", err)
    assert not (tmp_path / "dataset").exists()
    code, _, err = command("prepare", "nw_ucla", source, tmp_path / "dataset", "--skip-bad")
    assert code == 0
    assert "1 unreadable files skipped" in err
    assert Dataset(tmp_path / "dataset").num_clips == 23


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset, and a small model trained on it."""
    path = tmp_path_factory.mktemp("prepared")
    small_dataset(path / "dataset")
    other = [make_clip(f"s{i}", 4, skeleton="sbu", label="xy"[i % 2], splits={"xview": part}) for i, part in PARTS]
    Dataset.write(path / "other", other)
    words = ["pretrain", RECIPE, "--data", path / "dataset", "--out", path / "model", *SMALL]
    subprocess.run([sys.executable, "-m", "ulna", *map(str, words)], check=True, capture_output=True)
    return path


MISTAKES = {
    "unknown command 'prepar'; did you mean 'prepare'": ["prepar"],
    "expected a format first": ["prepare"],
    "unknown format 'nw_ucl'; did you mean 'nw_ucla'": ["prepare", "nw_ucl", "{files}", "{new}"],
    "expected a folder with NW-UCLA skeletons, found nothing": ["prepare", "nw_ucla", "{none}", "{new}"],
    "in this folder, found none": ["prepare", "ntu", "{files}", "{new}"],
    "dataset exists already": ["prepare", "nw_ucla", "{files}", "{dataset}"],
    "unknown recipe 'gl_transformer/nw_ucl'": ["pretrain", "gl_transformer/nw_ucl", "--data", "x", "--out", "x"],
    "did you mean 'xview'": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--split", "xvieww"],
    "model exists already": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{model}"],
    "expected a dataset": ["pretrain", RECIPE, "--data", "{files}", "--out", "{new}"],
    "unfinished run to resume": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--resume"],
    "epochs: expected a number of at least 1, found -1": [
        "pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--training.epochs", "-1",
    ],
    "device 'cdua': expected": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--device", "cdua"],
    "devices: expected a number of at least 1 or 'auto', found -1": [
        "pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--devices", "-1",
    ],
    "devices": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--devices", "abc"],
    "strategy 'nonsense'": ["pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--strategy", "nonsense"],
    "NaN or infinite": [
        "pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--training.learning-rate", "1e30",
    ],
    "embed_dim: expected a number of at most": [
        "pretrain", RECIPE, "--data", "{dataset}", "--out", "{new}", "--encoder.embed-dim", "1000000000",
    ],
    "expected skeleton 'kinect_v1'": ["evaluate", "{model}", "--data", "{other}"],
    "unknown protocol 'lineer'; did you mean 'linear'": [
        "evaluate", "{model}", "--data", "{dataset}", "--protocol", "lineer",
    ],
    "unknown split": ["evaluate", "{model}", "--data", "{dataset}", "--split", "clean"],
    "seeds: expected a number of at least 1": ["evaluate", "{model}", "--data", "{dataset}", "--seeds", "0"],
    "expected a model": ["evaluate", "{dataset}", "--data", "{dataset}"],
    "pooling of GLTransformer: expected one of": [
        "embed", "{model}", "--data", "{dataset}", "--out", "{new}", "--pooling", "nonsense",
    ],
    "found classifiers: none": ["predict", "{model}", "{files}/a01_s01_e01_v03.json"],
    "neither": ["info", "{files}"],
    "epochs: expected a number of at least 1": ["quickstart", "--out", "{new}", "--epochs", "-1"],
    "draws: expected a number of at least 1 and": ["quickstart", "--out", "{new}", "--draws", "0"],
    "--encoder.embed-dim": ["pretrain", RECIPE, "--data", "x", "--out", "y", "--encoder.embed-dmi", "3"],
    "num_clips: expected a number of at least 1": [
        "attention", "{model}", "--data", "{dataset}", "--num-clips", "0",
    ],
    "threshold: expected": ["audit", "{dataset}", "--split", "xview", "--threshold", "-1"],
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_answered_in_one_message_and_leave_nothing(command, prepared, source, tmp_path, message):
    names = {name: prepared / name for name in ("dataset", "other", "model")}
    names |= {"files": source, "none": tmp_path / "none", "new": tmp_path / "new"}
    before = sorted(prepared.rglob("*")), sorted(tmp_path.rglob("*"))
    code, out, err = command(*(str(word).format(**names) for word in MISTAKES[message]))
    assert code == 2, (out, err)
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", out + err).split())
    assert message in plain, plain
    assert "Traceback" not in plain
    own = [line for line in err.splitlines() if line.startswith("ulna ")]
    assert all(len(line) < 600 and line.isprintable() for line in own)
    assert sorted(tmp_path.rglob("*")) == before[1], "something was left behind"
    assert [path for path in sorted(prepared.rglob("*")) if path.name != ".verified.json"] == [
        path for path in before[0] if path.name != ".verified.json"
    ]


def test_changed_bytes_stop_training_and_evaluation(command, tmp_path):
    dataset, clips = small_dataset(tmp_path / "dataset")
    assert np.array_equal(dataset.clip(0).position, clips[0].position)
    content = bytearray((tmp_path / "dataset" / "frames.npy").read_bytes())
    content[-9] ^= 8
    (tmp_path / "dataset" / "frames.npy").write_bytes(content)
    words = ["pretrain", RECIPE, "--data", tmp_path / "dataset", "--out", tmp_path / "model", *SMALL]
    code, _, err = command(*words)
    assert code == 2
    assert "found changed bytes. Prepare the dataset again." in err
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"], "nothing half-written"
