"""Memory of preparing a dataset and of loading batches, as a function of the number of clips."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.preparing import write_skeleton

SIZES = (10_000, 100_000)
NUM_FRAMES = 10
STEPS = 40  # batches
TRAIN = """
import numpy as np, sys
from ulna.batch import BatchPlan, ClipLoader
from ulna.dataset import Dataset
from benchmarks.growth import peak
dataset = Dataset(sys.argv[1])
dataset.verify()
load, plan = ClipLoader(dataset, max_frames=300), BatchPlan(dataset.num_clips, 128, 0)
for step in range({steps}):
    load(plan.clips(step))
print(peak())
"""
PREPARE = """
import sys
from pathlib import Path
from ulna.dataset import prepare
from benchmarks.growth import peak
prepare("ntu", Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
print(peak())
"""


def report() -> None:
    """Print the peak memory of a process that writes a dataset and of one that loads training batches from it."""
    print("| clips | preparing, MB | loading batches of 128, MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            source, dataset = Path(folder) / f"files{size}", Path(folder) / f"dataset{size}"
            _link(source, size)
            prepared = run(PREPARE, source, dataset)
            trained = run(TRAIN.format(steps=STEPS), dataset)
            print(f"| {size:,} | {prepared:.0f} | {trained:.0f} |", flush=True)


def _link(source: Path, num: int) -> None:
    """Make `num` valid NTU files, one in 10,000 written and the others hard links, whose number per file is limited."""
    source.mkdir()
    for number in range(num):
        rest, action = divmod(number, 60)
        rest, camera = divmod(rest, 3)
        rest, subject = divmod(rest, 40)
        setup, repeat = divmod(rest, 2)
        first = source.parent / f"{source.name}-{number // 10_000}"
        if not first.exists():
            write_skeleton(first, NUM_FRAMES, 1, seed=number)
        name = f"S{setup + 1:03d}C{camera + 1:03d}P{subject + 1:03d}R{repeat + 1:03d}A{action + 1:03d}.skeleton"
        (source / name).hardlink_to(first)


def run(script: str, *arguments: Path) -> float:
    """Run a Python script with arguments in a new process and return the number that it prints last."""
    words = [sys.executable, "-c", script, *map(str, arguments)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak() -> float:
    """Return the peak memory of this process in MB, including mapped pages of files."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024
