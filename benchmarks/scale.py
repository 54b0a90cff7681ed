"""Time, memory and disk of preparing, embedding, auditing and pretraining, as a function of the number of clips.

Clips are the first 30 frames of the windows of the sample (CMU motion capture), repeated with other noise of 5 mm.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ulna.core import TEST, TRAIN, Clip
from ulna.dataset import Dataset
from ulna.dataset.sample import CMU_CLASSES, cmu_clips

NUM_FRAMES = 30
NUM_TEST = 500  # clips that are audited, whatever the size
FILES = 2000  # different files; the others are hard links to them
FRAMES_PER_SHARD = 1 << 21
FILES_PER_SHARD = 10_000
STEPS = 40  # batches of 128
COLUMNS = (
    "clips", "disk, MB", "prepare, clips/s", "MB", "open and verify, s", "MB", "embed, clips/s", "MB",
    "audit, s", "MB", "pretrain, clips/s", "MB",
)  # fmt: skip

PREPARE = """
import sys
from pathlib import Path
from benchmarks.scale import FILES_PER_SHARD, measured
from ulna.core import Workers
from ulna.dataset import prepare
with measured():
    prepare("npz", Path(sys.argv[1]), Path(sys.argv[2]), workers=Workers(shard_size=FILES_PER_SHARD), progress=False)
"""
OPEN = """
import sys
from benchmarks.scale import measured
from ulna.dataset import Dataset
with measured():
    Dataset(sys.argv[1]).verify(recheck=True)
"""
EMBED = """
import sys
from pathlib import Path
from benchmarks.scale import measured
from ulna.core import Workers
from ulna.models.embedding_shards import EmbeddingJob, embed_in_shards
job = EmbeddingJob(Path(sys.argv[2]), Path(sys.argv[1]), pooling="mean", precision="bf16-mixed", device="cpu")
with measured():
    embed_in_shards(job, Path(sys.argv[3]), Workers(workers=1, shard_size=50_000))
"""
AUDIT = """
import sys
import numpy as np
from benchmarks.scale import measured
from ulna.audit import ClipSet, audit
from ulna.dataset import Dataset
dataset = Dataset(sys.argv[1])
train, test = dataset.split("scale")
with measured():
    print(len(audit(ClipSet(dataset, test), [ClipSet(dataset, train)]).matches))
"""
TRAIN_STEPS = """
import sys
from benchmarks.scale import measured, train_steps
with measured():
    train_steps(sys.argv[1], {steps})
"""
MODEL = """
import sys
import ulna
from ulna.dataset import write_sample_dataset
from ulna.recipes import get_recipe
recipe = get_recipe("ha_cm/sample")
encoder = recipe.encoder.replace(embed_dim=96, segment=6)
recipe = recipe.replace(encoder=encoder, training=recipe.training.replace(epochs=1))
ulna.pretrain(recipe, write_sample_dataset(sys.argv[1] + "-sample", "cmu"), sys.argv[1], device="cpu", progress=False)
"""


def clips(num: int) -> Iterator[Clip]:
    """Generate clips; the last ones are test clips, the same number for every size."""
    real = [
        replace(clip, position=clip.position[:NUM_FRAMES], visible=clip.visible[:NUM_FRAMES]) for clip in cmu_clips()
    ]
    generator = np.random.default_rng(0)
    for number in range(num):
        clip = real[number % len(real)]
        noise = 0.005 * generator.standard_normal(clip.position.shape, np.float32)
        part = TEST if number >= num - min(NUM_TEST, num // 2) else TRAIN
        yield replace(clip, id=f"{number:07d}", position=clip.position + noise, splits={"scale": part})


def report(sizes: tuple[int, ...]) -> None:
    """Print a row of measurements for each number of clips."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "model"
        _run(MODEL, model)
        files = _write_files(folder / "files")
        for size in sizes:
            source, data = folder / f"files{size}", folder / f"data{size}"
            _link(files, source, size)
            seconds, peak_prepare = run(PREPARE, source, folder / f"prepared{size}")
            _remove(source, folder / f"prepared{size}")
            Dataset.write(data, clips(size), classes=CMU_CLASSES, num_persons=1, skeleton=next(clips(1)).skeleton,
                          frames_per_shard=FRAMES_PER_SHARD)  # fmt: skip
            disk = sum(file.stat().st_size for file in data.iterdir()) / 1e6
            opened = run(OPEN, data)
            embedded = run(EMBED, data, model, folder / f"vectors{size}")
            audited = run(AUDIT, data)
            trained = run(TRAIN_STEPS.format(steps=STEPS), data)
            _remove(data, folder / f"vectors{size}")
            print(
                f"| {size:,} | {disk:,.0f} | {size / seconds:,.0f} | {peak_prepare:,.0f} | {opened[0]:.1f} "
                f"| {opened[1]:,.0f} | {size / embedded[0]:,.0f} | {embedded[1]:,.0f} | {audited[0]:.1f} "
                f"| {audited[1]:,.0f} | {STEPS * 128 / trained[0]:,.0f} | {trained[1]:,.0f} |",
                flush=True,
            )


def train_steps(path: str, steps: int) -> None:
    """Open a dataset and take training steps of a small GL-Transformer, as pretraining does."""
    import torch

    from ulna.batch import Augmentation, BatchPlan, ClipLoader
    from ulna.recipes import get_recipe

    dataset = Dataset(path)
    recipe = get_recipe("gl_transformer/sample")
    preprocessor = recipe.build_preprocessor(dataset.skeleton, dataset.num_persons)
    pretext = recipe.build_pretext(preprocessor.spec)
    optimizer = torch.optim.AdamW(pretext.parameters(), fused=True)
    chosen, _ = dataset.split("scale")
    load, plan = ClipLoader(dataset, max_frames=60), BatchPlan(len(chosen), 128, 0)
    for step in range(steps):
        batch = preprocessor(load(chosen[plan.clips(step)]))
        batch = Augmentation()(batch, Augmentation.draw(plan.generator(step), batch.num_clips), max_frames=60)
        with torch.autocast("cpu", torch.bfloat16):
            pretext.loss(batch).backward()
        optimizer.step()
        optimizer.zero_grad()


def _write_files(folder: Path) -> list[Path]:
    """Write different .npz files of one clip each."""
    folder.mkdir()
    paths = []
    for clip in clips(FILES):
        paths.append(folder / f"{clip.id}.npz")
        np.savez(paths[-1], position=clip.position, skeleton=clip.skeleton.name, fps=30.0)
    return paths


def _link(files: list[Path], folder: Path, num: int) -> None:
    """Make `num` files, which are hard links to those given."""
    for number in range(num):
        inside = folder / f"{number // 10_000:04d}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number:07d}.npz").hardlink_to(files[number % len(files)])


def _remove(*paths: Path) -> None:
    subprocess.run(["rm", "-rf", *map(str, paths)], check=True)


class measured:
    """Prints the seconds of a block, and the sum of the peak memory in MB of the process and its live children."""

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        seconds = time.perf_counter() - self.began
        print(f"{seconds} {sum(peak(pid) for pid in _with_children(os.getpid()))}")


def _with_children(pid: int) -> list[int]:
    """Return a process and all processes that it started, such as joblib's, which stay alive for the next call."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(one for task in tasks for child in task.read_text().split() for one in _with_children(int(child)))]


def run(script: str, *arguments: Path) -> tuple[float, float]:
    """Run a Python script in a new process and return the two numbers that it prints last: seconds and MB."""
    seconds, megabytes = _run(script, *arguments).split()[-2:]
    return float(seconds), float(megabytes)


def _run(script: str, *arguments: Path) -> str:
    words = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def peak(pid: int | None = None) -> float:
    """Return the peak memory of a process in MB, by default of this one, including mapped pages of files."""
    status = Path(f"/proc/{pid or 'self'}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024
