"""Speed of exported models: python -m benchmarks.export MODEL DATASET SPLIT.

Clips per second of ulna's packed batches, of ONNX in float32 and with 8-bit weights, on one and two cores, by the same
classifier; and its accuracy on the test part of the split. Each runs in a process of its own. The model needs a
classifier that was trained on the training part.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPEATS = 3


def measure(
    kind: str, folder: Path, dataset: str, split: str, threads: int, queue: multiprocessing.Queue[object]
) -> None:
    """Classify the test clips, and report the largest rate and the accuracy."""
    import torch

    from ulna.dataset import Dataset
    from ulna.models import load
    from ulna.onnx import OnnxModel

    torch.set_num_threads(threads)
    data = Dataset(dataset)
    clips = [data.clip(int(index)) for index in data.split(split)[1]]
    if kind == "torch, packed":
        model = load(folder / "model", device="cpu")

        def predict() -> list[str]:
            return [answer.label for answer in model.predict(clips, match_joints=True)]
    else:
        file = OnnxModel(folder / ("float32.onnx" if kind == "ONNX, float32" else "int8.onnx"), threads=threads)
        arrays = [np.where(clip.visible[..., None], clip.position, np.nan).astype(np.float32) for clip in clips]

        def predict() -> list[str]:
            return [answer.label for answer in file.predict(arrays)]

    labels = predict()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        predict()
        times.append(time.perf_counter() - began)
    accuracy = np.mean([label == clip.label for label, clip in zip(labels, clips, strict=True)])
    queue.put((len(clips) / min(times), float(accuracy)))


def main() -> None:
    """Export, measure and print."""
    from ulna.dataset import Dataset
    from ulna.models import load

    model, data = load(sys.argv[1], device="cpu"), Dataset(sys.argv[2])
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model")
        for file, is_int8 in (("float32.onnx", False), ("int8.onnx", True)):
            began = time.perf_counter()
            model.export(folder / file, skeleton=data.skeleton, num_persons=data.num_persons, int8=is_int8)
            size, spent = (folder / file).stat().st_size / 1e6, time.perf_counter() - began
            print(f"{file}: {size:.1f} MB, exported in {spent:.0f} s")
        print("| | one core, clips/s | two cores, clips/s | accuracy |\n|---|---|---|---|")
        for kind in ("torch, packed", "ONNX, float32", "ONNX, int8"):
            rates = []
            for threads in (1, 2):
                queue = context.Queue()
                process = context.Process(target=measure, args=(kind, folder, sys.argv[2], sys.argv[3], threads, queue))
                process.start()
                rate, accuracy = queue.get()
                process.join()
                rates.append(rate)
            print(f"| {kind} | {rates[0]:,.0f} | {rates[1]:,.0f} | {100 * accuracy:.1f} |", flush=True)


if __name__ == "__main__":
    main()
