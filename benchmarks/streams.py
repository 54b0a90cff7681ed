"""Speed and memory of streams on one core: python -m benchmarks.streams MODEL DATASET SPLIT [MINUTES].

Clips of the training part are shown one after another at the dataset's frame rate, 30 minutes by default, as numpy
arrays and then as lines of JSON to `ulna stream`. The classifier is trained on the training part and on windows of it;
its window is the median of the clips, with an answer every 20 frames. Memory is that of the process, every five
minutes of the stream.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ulna.dataset import Dataset
from ulna.models import load


def frames(dataset: Dataset, clips: np.ndarray) -> Iterator[np.ndarray]:
    """Yield positions (K, 3) of the first person without end, NaN where a joint is missing."""
    for index in itertools.cycle(clips):
        clip = dataset.clip(int(index))
        yield from np.where(clip.visible[:, 0, :, None], clip.position[:, 0], np.nan)


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(path: str, folder: str, split: str, minutes: float = 30.0) -> None:
    """Stream and print."""
    torch.set_num_threads(1)
    dataset = Dataset(folder)
    train, _ = dataset.split(split)
    fps = float(dataset.fps[0])
    num = round(minutes * 60 * fps)
    model = load(path, device="cpu")
    model.fit(dataset, split=split, windows=True, classifier="stream", match_joints=True)
    stream = model.stream(fps=fps, classifier="stream", skeleton=dataset.skeleton, match_joints=True)
    memory, answering, answers = [], 0.0, 0
    began = time.perf_counter()
    spent = 0.0
    for number, frame in enumerate(itertools.islice(frames(dataset, train), num)):
        start = time.perf_counter()
        found = stream.push(frame)
        took = time.perf_counter() - start
        spent += took
        if found:
            answering, answers = answering + took, answers + 1
        if number % round(300 * fps) == round(10 * fps):
            memory.append(resident())
    print(f"window of {stream.length / fps:.2f} s, {num:,} frames of {minutes:g} minutes at {fps:g} per second")
    print(
        f"numpy: {spent:.1f} s, {minutes * 60 / spent:.0f} times real time; {1000 * spent / num:.2f} ms per frame, "
        f"{1000 * answering / answers:.1f} ms per answer ({answers:,} answers); with reading the clips "
        f"{time.perf_counter() - began:.1f} s"
    )
    print("memory every five minutes, MB: " + ", ".join(f"{size:.0f}" for size in memory))
    with tempfile.TemporaryDirectory() as name:
        saved, lines = Path(name) / "model", Path(name) / "frames.jsonl"
        model.save(saved)
        with lines.open("w") as file:
            for frame in itertools.islice(frames(dataset, train), num):
                rows = [None if np.isnan(joint).any() else joint.round(4).tolist() for joint in frame]
                file.write(json.dumps({"position": rows}) + "\n")
        command = [sys.executable, "-m", "ulna", "stream", str(saved), "--fps", f"{fps:g}", "--match-joints"]
        command += ["--skeleton", dataset.skeleton.name, "--classifier", "stream"]
        began = time.perf_counter()
        with lines.open() as given:
            done = subprocess.run(
                command,
                stdin=given,
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        took = time.perf_counter() - began
        print(
            f"JSON, `ulna stream`: {took:.1f} s with start, {minutes * 60 / took:.0f} times real time, "
            f"{len(done.stdout.splitlines()):,} answers"
        )


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(float, sys.argv[4:5]))
