"""Pretraining that is killed, stopped, out of disk space, or on several processes ends with the same model."""

import csv
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from conftest import wait_for
from ulna.nn.batch_norm import BatchNorm
from ulna.pretext.feature_prediction import assignments, spread_loss
from ulna.pretext.ha_cm import contrastive_distance

EPOCHS = 6
SMALL = [
    "--encoder.embed-dim", "4", "--encoder.num-heads", "2", "--encoder.depth", "1", "--training.batch-size", "3",
    "--training.checkpoint-every", "1", "--split", "half", "--training.epochs", str(EPOCHS),
    "--training.precision", "32-true", "--device", "cpu",
]  # fmt: skip
PLAIN = ["--encoder.dropout", "0", "--encoder.attention-dropout", "0", "--encoder.drop-path", "0"]

# Interrupt a run from inside: killed in the middle of writing a checkpoint, files that cannot grow, SIGTERM in a step.
KILLED_WHILE_SAVING = """
import os, signal, torch
save = torch.save
def half(content, file):
    save(content, file)
    if content["global_step"] == {step}:
        file.flush()
        os.truncate(file.fileno(), file.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
"""
FULL_DISK = """
import resource, torch
save = torch.save
def late(content, file):
    if content["global_step"] == {step}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    save(content, file)
torch.save = late
"""
TERMINATED = """
import os, signal
from ulna.training.planned import PlannedModule
step = PlannedModule.training_step
def terminated(self, batch, batch_idx):
    if self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch, batch_idx)
PlannedModule.training_step = terminated
"""
START = "import sys; sys.argv[0] = 'ulna'; from ulna.cli import main; main()"


def ulna(*arguments, before="", launcher=(), wait=True):
    """The command in a process of its own."""
    words = ["-c", before + START] if before else [*launcher, "-m", "ulna"]
    process = subprocess.Popen(
        [sys.executable, *words, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    if not wait:
        return process
    try:
        _, process.errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process


def pretrain(dataset, out, *options, **how):
    return ulna("pretrain", "gl_transformer/sample", "--data", dataset.path, "--out", out, *SMALL, *options, **how)


def finished(process, out):
    assert process.returncode == 0, process.errors
    return load_file(out / "model.safetensors") | load_file(out / "pretext.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def curve(out):
    with (out / "metrics.csv").open() as file:
        return [
            [row[name] for name in ("epoch", "step", "loss", "direction", "magnitude", "learning_rate")]
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "model"
    return finished(pretrain(dataset, out), out), curve(out)


@pytest.mark.parametrize("until", ["the folder", "a checkpoint", "an epoch later"])
def test_killed_at_any_time(dataset, tmp_path, whole, until):
    out, work = tmp_path / "model", tmp_path / "model.unfinished"
    process = pretrain(dataset, out, wait=False)
    checkpoint, metrics = work / "checkpoints" / "last.ckpt", work / "metrics.csv"
    wait_for(
        {
            "the folder": work.exists,
            "a checkpoint": checkpoint.exists,
            "an epoch later": lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3,
        }[until],
        process,
    )
    process.kill()
    process.communicate()
    assert not out.exists()
    weights = finished(pretrain(dataset, out, "--resume"), out)
    assert same(weights, whole[0])
    assert curve(out) == whole[1]


def test_killed_while_saving(dataset, tmp_path, whole):
    out = tmp_path / "model"
    process = pretrain(dataset, out, before=KILLED_WHILE_SAVING.format(step=21))
    assert process.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "model.unfinished/checkpoints/last.ckpt", weights_only=True)["global_step"] == 14
    assert same(finished(pretrain(dataset, out, "--resume"), out), whole[0])
    assert not list(out.rglob(".*partial*"))


@pytest.mark.parametrize(("step", "saved"), [(9, 10), (13, 14)])
def test_terminated(dataset, tmp_path, whole, step, saved):
    """In the middle of an epoch of seven steps, and at an epoch's last step."""
    out = tmp_path / "model"
    rarely = ["--training.checkpoint-every", "100"]
    process = pretrain(dataset, out, *rarely, before=TERMINATED.format(step=step))
    assert process.returncode == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM after step {saved}" in process.errors
    assert "Traceback" not in process.errors
    content = torch.load(tmp_path / "model.unfinished/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == saved
    assert same(finished(pretrain(dataset, out, *rarely, "--resume"), out), whole[0])
    assert curve(out) == whole[1]


@pytest.mark.parametrize(
    ("recipe", "options", "saved"),
    [
        ("ha_cm/sample", [*SMALL, "--pretext.ema", "0.5"], "teacher"),
        (
            "skeletonclr/nw_ucla",
            ["--encoder.width", "4", "--encoder.embed-dim", "16", *SMALL[6:], "--pretext.queue", "16",
             "--pretext.mining-after", "0.5", "--pretext.extreme", "0.5", "--training.muon-rate", "0.01"],
            "queue",
        ),
    ],
)  # fmt: skip
def test_teachers_and_queues_are_saved_with_their_step(dataset, tmp_path, recipe, options, saved):
    """They are updated before the checkpoint of their step is written."""

    def run(out, *more, **how):
        return ulna("pretrain", recipe, "--data", dataset.path, "--out", out, *options, *more, **how)

    whole = finished(run(tmp_path / "whole"), tmp_path / "whole")
    stopped = run(tmp_path / "model", before=TERMINATED.format(step=9))
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.errors
    weights = finished(run(tmp_path / "model", "--resume"), tmp_path / "model")
    assert any(name.startswith(saved) for name in weights)
    assert same(weights, whole)


def test_rows_of_all_processes(tmp_path):
    """Two processes with five and three rows: the loss and its gradients are those of eight rows in one."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, 4)
    torch.save((x, y), tmp_path / "rows.pt")
    torch.multiprocessing.spawn(_distance_on_two, (str(tmp_path),), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    x, y = x.requires_grad_(), y.requires_grad_()
    contrastive_distance(x, y).sum().backward()
    torch.testing.assert_close(torch.cat([values for values, _, _ in parts]), contrastive_distance(x, y))
    torch.testing.assert_close(torch.cat([grad for _, grad, _ in parts]), x.grad)
    torch.testing.assert_close(torch.cat([grad for _, _, grad in parts]), y.grad)


def _distance_on_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = slice(0, 5) if rank == 0 else slice(5, 8)
    x, y = (rows[own].clone().requires_grad_() for rows in torch.load(f"{folder}/rows.pt", weights_only=True))
    values = contrastive_distance(x, y)
    values.sum().backward()
    torch.save((values.detach(), x.grad, y.grad), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_statistics_of_all_processes(tmp_path):
    """Batch norm, assignments to prototypes and the spread of embeddings are those of one process with all rows."""
    torch.manual_seed(0)
    torch.save(torch.randn(8, 4), tmp_path / "rows.pt")
    torch.multiprocessing.spawn(_statistics_on_two, (str(tmp_path),), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    x = torch.load(tmp_path / "rows.pt", weights_only=True).requires_grad_()
    whole = _statistics(x)
    for name in ("normed", "assigned", "spread", "grad"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name], msg=name)
    for part in parts:
        torch.testing.assert_close(part["running"], whole["running"])


def _statistics(x):
    norm = BatchNorm(4)
    normed, spread = norm(x), spread_loss(x)
    (normed.pow(3).sum() + spread.sum()).backward()
    running = torch.cat([norm.running_mean, norm.running_var])
    assigned = assignments(x.detach(), 0.5)
    return {
        "normed": normed.detach(), "assigned": assigned, "spread": spread.detach(), "grad": x.grad, "running": running
    }  # fmt: skip


def _statistics_on_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = slice(0, 5) if rank == 0 else slice(5, 8)
    x = torch.load(f"{folder}/rows.pt", weights_only=True)[own].clone().requires_grad_()
    torch.save(_statistics(x), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_the_disk_is_full(dataset, tmp_path, whole):
    out = tmp_path / "model"
    process = pretrain(dataset, out, before=FULL_DISK.format(step=14))
    assert process.returncode == 2, process.errors
    assert "checkpoint of step 14 could not be written" in process.errors
    assert "the last good checkpoint is kept" in process.errors
    assert "Traceback" not in process.errors
    assert same(finished(pretrain(dataset, out, "--resume"), out), whole[0])


def test_two_processes_learn_the_same(dataset, tmp_path):
    """The global batch is the same; a last batch of one clip leaves a process without work."""
    batch_size = ["--training.batch-size", "19"]
    assert len(dataset.split("half")[0]) % 19 == 1
    models = {}
    for name, options, launcher in (
        ("one", ("--devices", "1"), ()),
        ("lightning", ("--devices", "2", "--strategy", "ddp"), ()),
        (
            "torchrun",
            ("--devices", "2", "--strategy", "ddp"),
            ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        ),
    ):
        models[name] = tmp_path / name
        finished(pretrain(dataset, models[name], *PLAIN, *batch_size, *options, launcher=launcher), models[name])
        assert curve(models[name])[-1][1] == str(2 * EPOCHS)
    one, *others = ([float(row[2]) for row in curve(model)] for model in models.values())
    for other in others:
        assert other == pytest.approx(one, abs=1e-4)
