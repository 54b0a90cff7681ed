"""The commands, as a person would call them."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import make_clip, wait_for
from ulna.cli import COMMANDS, main
from ulna.core import get_skeleton
from ulna.data import Dataset, write_dataset
from ulna.formats.nw_ucla import ACTIONS
from write_files import write_nw_ucla

SMALL = (
    "--encoder.width", "4", "--encoder.num-heads", "2", "--encoder.num-blocks", "1", "--training.epochs", "2",
    "--training.precision", "32-true", "--accelerator", "cpu",
)  # fmt: skip


@pytest.fixture
def ulna(monkeypatch, capsys):
    """Run a command; gives exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ulna", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


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


def test_the_whole_path(ulna, source, tmp_path):
    dataset, run = tmp_path / "dataset", tmp_path / "run"
    code, out, err = ulna("prepare", "nw_ucla", source, dataset)
    assert code == 0
    assert "24 clips" in out
    assert re.search(r"split xview +16 train, 8 test", out)
    assert "1 clips have one frame only; they are kept" in err

    code, out, _ = ulna("info", dataset, "--verify")
    assert code == 0
    assert "every byte is as it was written" in out

    code, out, _ = ulna("pretrain", "gl_transformer/nw_ucla_small", "--data", dataset, "--out", run, *SMALL)
    assert code == 0
    assert (run / "weights.safetensors").is_file()

    code, out, _ = ulna("evaluate", run, "--data", dataset, "--epochs", "5", "--seeds", "2", "--out", tmp_path / "o.json")
    assert code == 0
    for name in ("linear", "linear on an untrained encoder", "1-NN on raw joints", "chance"):
        assert re.search(rf"{name}.* %", out)
    assert json.loads((tmp_path / "o.json").read_text())["split"] == "xview"
    code, out, _ = ulna("evaluate", run, "--data", dataset, "--protocol", "knn", "--split", "clean", "--k", "3")
    assert code == 0
    assert "k 3" in out

    code, out, _ = ulna("predict", run, source / "a01_s01_e01_v03.json")
    assert code == 0
    assert re.match(rf"a01_s01_e01_v03 +({'|'.join(ACTIONS.values())}) +[01]\.\d+", out)
    code, out, _ = ulna("predict", run, source, "--out", tmp_path / "labels.csv")
    assert code == 0
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 25

    code, out, _ = ulna("embed", run, "--data", dataset, "--out", tmp_path / "clips.parquet")
    assert code == 0
    table = pq.read_table(tmp_path / "clips.parquet")
    assert len(table) == 24
    assert len(table["embedding"][0].as_py()) == 80

    code, out, _ = ulna("info", run)
    assert code == 0
    assert "finished" in out
    code, out, _ = ulna("report", run)
    assert code == 0
    assert (run / "report.html").stat().st_size > 20_000


def test_sweep(ulna, source, tmp_path):
    dataset, out = tmp_path / "dataset", tmp_path / "sweep"
    ulna("prepare", "nw_ucla", source, dataset)
    words = ["sweep", "gl_transformer/nw_ucla_small", "--data", dataset, "--out", out, "--seeds", "2", "--jobs", "2"]
    words += [
        "--protocols",
        "linear --epochs 3 --pooling blocks",
        "few-labels --share 0.5 --epochs 1 --steps 0",
        "--",
        *SMALL,
    ]
    code, printed, _ = ulna(*words)
    assert code == 0
    assert printed.count("done") == 4
    table = (out / "table.md").read_text()
    assert re.search(r"\| \| linear blocks \| few-labels 50pct \|", table)
    link = re.search(r"\*\*gl_transformer/nw_ucla_small\*\* \| \[[0-9.]+ ± [0-9.]+\]\((.*?)\)", table)
    result = json.loads((out / link[1]).read_text())
    assert result["spread_over"] == "2 runs"
    assert result["metadata"]["command"].startswith("ulna evaluate")
    for baseline in ("chance (most frequent class)", "1-NN on raw joints", "nw_ucla_small, untrained"):
        assert baseline in table
    assert (out / "table.png").read_bytes().startswith(b"\x89PNG")
    (out / link[1]).unlink()
    code, printed, _ = ulna(*words)
    assert printed.count("done") == 1, "only what is missing is done again"
    shutil.rmtree(out / "gl_transformer-nw_ucla_small" / "xview" / "seed1")
    (out / "gl_transformer-nw_ucla_small" / "xview" / "seed1").with_suffix(".unfinished").mkdir()
    code, printed, _ = ulna(*words)
    assert code == 1
    assert re.search(r"failed, exit code 2, see .*seed1.log", printed)
    mistakes = {
        "choose another folder": [*words[:-1], "gpu"],
        "did you mean 'linear'": [*words[:11], "linaer", *words[13:]],
        "which the sweep sets itself": [*words, "--training.seed", "7"],
        "unknown recipe 'nw_ucl'": ["sweep", "nw_ucl", "--data", dataset, "--out", out],
        "expected a dataset": ["sweep", words[1], "--data", source, "--out", tmp_path / "other"],
        "share no test clip": [*words[:11], "linear", "--splits", "xview", "clean"],
    }
    for message, mistaken in mistakes.items():
        code, _, err = ulna(*mistaken)
        assert code == 2, mistaken
        assert message in err, err


def test_sweep_that_is_stopped_stops_its_runs(ulna, source, tmp_path):
    dataset, out = tmp_path / "dataset", tmp_path / "sweep"
    ulna("prepare", "nw_ucla", source, dataset)
    words = ["sweep", "gl_transformer/nw_ucla_small", "--data", dataset, "--out", out, "--", *SMALL]
    words += ["--training.epochs", "100000", "--training.checkpoint-every", "1"]
    sweep = subprocess.Popen([sys.executable, "-m", "ulna", *map(str, words)])
    unfinished = out / "gl_transformer-nw_ucla_small" / "xview" / "seed0.unfinished"
    wait_for(lambda: list(unfinished.glob("checkpoints/*")), sweep)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(60) == 128 + signal.SIGTERM
    log = unfinished.with_name("seed0.log").read_text()
    assert "stopped by SIGTERM" in log, "the run was asked to stop and left a checkpoint"


def test_quickstart(ulna, tmp_path):
    code, out, _ = ulna("quickstart", "--out", tmp_path / "q", "--seeds", "2", "--epochs", "1")
    assert code == 0
    for words in (
        "linear ",
        "untrained",
        "1-NN",
        "chance",
        ", 2 runs]",
        "a class is mostly also a performer",
        "report.html",
    ):
        assert words in out
    html = (tmp_path / "q" / "report.html").read_text()
    assert "https://" not in html.replace("http://www.w3.org", ""), "the report needs no network"
    code, _, err = ulna("quickstart", "--out", tmp_path / "q")
    assert code == 2
    assert "exists already" in err


def test_datasets_names_every_reader(ulna):
    code, out, _ = ulna("datasets")
    assert code == 0
    for reader in ("ntu", "nw_ucla", "utd_mhad", "sbu", "bvh", "npz"):
        assert re.search(rf"^{reader} ", out, re.M)
    assert "NSF EIA-0196217" in out


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_explains_itself(ulna, verb):
    code, out, _ = ulna(verb, "--help")
    assert code == 0
    assert f"ulna {verb}" in out


def test_a_file_that_is_bad(ulna, source, tmp_path):
    (source / "a01_s02_e01_v01.json").write_text('{"skeletons": [')
    code, _, err = ulna("prepare", "nw_ucla", source, tmp_path / "dataset")
    assert code == 2
    assert re.search(r"a01_s02_e01_v01.json, line 1 column 16: expected JSON, got .*--skip-bad", err)
    assert not (tmp_path / "dataset").exists()
    code, _, err = ulna("prepare", "nw_ucla", source, tmp_path / "dataset", "--skip-bad")
    assert code == 0
    assert "1 bad files left out" in err
    assert Dataset(tmp_path / "dataset").num_clips == 23


def test_users_mistakes(ulna, source, tmp_path):
    skeleton = get_skeleton("kinect_v1")
    clips = [
        make_clip(f"c{i}", 6, label=i % 2, seed=i, splits={"xview": "train" if i < 4 else "test"}) for i in range(8)
    ]
    dataset, run, other = tmp_path / "dataset", tmp_path / "run", tmp_path / "other"
    write_dataset(dataset, clips, skeleton, classes=["x", "y"])
    write_dataset(other, [make_clip("s", 4, skeleton="sbu")], get_skeleton("sbu"))
    recipe = "gl_transformer/nw_ucla_small"
    assert ulna("pretrain", recipe, "--data", dataset, "--out", run, *SMALL)[0] == 0
    cases = {
        "unknown command 'prepar'; did you mean 'prepare'": ["prepar"],
        "expected a reader first": ["prepare"],
        "unknown reader 'nw_ucl'; did you mean 'nw_ucla'": ["prepare", "nw_ucl", source, tmp_path / "x"],
        "nothing there": ["prepare", "nw_ucla", tmp_path / "none", tmp_path / "x"],
        "in this folder, got none": ["prepare", "ntu", source, tmp_path / "x"],
        "dataset exists already": ["prepare", "nw_ucla", source, dataset],
        "unknown recipe 'gl_transformer/nw_ucl'": ["pretrain", "gl_transformer/nw_ucl", "--data", dataset, "--out", "x"],
        "did you mean 'xview'": ["pretrain", recipe, "--data", dataset, "--out", tmp_path / "x", "--split", "xvieww"],
        "run exists already": ["pretrain", recipe, "--data", dataset, "--out", run],
        "expected a dataset": ["pretrain", recipe, "--data", source, "--out", tmp_path / "x"],
        "unfinished run to resume": ["pretrain", recipe, "--data", dataset, "--out", tmp_path / "x", "--resume"],
        "expected skeleton 'kinect_v1'": ["evaluate", run, "--data", other],
        "unknown protocol 'lineer'; did you mean 'linear'": ["evaluate", run, "--data", dataset, "--protocol", "lineer"],
        "unknown split": ["evaluate", run, "--data", dataset, "--split", "clean"],
        "expected a run": ["evaluate", dataset, "--data", dataset],
        "evaluate the run first": ["predict", run, source / "a01_s01_e01_v03.json"],
        "neither": ["info", source],
    }
    for message, arguments in cases.items():
        code, _, err = ulna(*arguments)
        assert code == 2, arguments
        assert message in err, (arguments, err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "other", "run", "dataset"], (
        "nothing half-written"
    )
    assert np.array_equal(Dataset(dataset).clip(0).position, clips[0].position)


def test_changed_bytes_stop_training_and_evaluation(ulna, tmp_path):
    clips = [
        make_clip(f"c{i}", 6, label=i % 2, seed=i, splits={"xview": "train" if i < 4 else "test"}) for i in range(8)
    ]
    write_dataset(tmp_path / "dataset", clips, get_skeleton("kinect_v1"), classes=["x", "y"])
    content = bytearray((tmp_path / "dataset" / "frames.npy").read_bytes())
    content[-9] ^= 8
    (tmp_path / "dataset" / "frames.npy").write_bytes(content)
    recipe = "gl_transformer/nw_ucla_small"
    code, _, err = ulna("pretrain", recipe, "--data", tmp_path / "dataset", "--out", tmp_path / "run", *SMALL)
    assert code == 2
    assert "changed bytes; prepare the dataset again" in err
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"], "nothing half-written"


def test_misspelt_options_are_answered_with_the_nearest():
    command = [sys.executable, "-m", "ulna", "pretrain", "gl_transformer/sample", "--data", "x", "--out", "y"]
    command += ["--encoder.widht", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--encoder.width" in done.stdout + done.stderr
