"""Exported models: python -m benchmarks.export speed MODEL DATASET SPLIT, or ... parity DATASET.

speed: clips per second of ulna's packed batches, of ONNX in float32 and with 8-bit weights, on one and two cores, by
the same classifier; and its accuracy on the test part of the split. Each runs in a process of its own. The model needs
a classifier that was trained on the training part.

parity: largest difference between the embeddings of packed batches and of ONNX in float32, of `ulna/base` and of an
encoder of each method with random weights, on batches of twelve shapes of the dataset's clips.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ulna.core import Clip
    from ulna.dataset import Dataset
    from ulna.models import Embedder

REPEATS = 3
RECIPES_SHOWN = (
    "gl_transformer/nw_ucla_best", "motion_transformer/nw_ucla", "h_transformer/nw_ucla", "ha_cm/nw_ucla",
    "slim/nw_ucla", "skeletonclr/nw_ucla",
)  # fmt: skip
BATCHES, LENGTHS = (1, 3, 8), (4, 16, 48, 100)  # clips, and frames of the longest


def positions(clips: Sequence[Clip]) -> list[np.ndarray]:
    """Return positions (T, P, K, 3) of clips, NaN where a joint is missing."""
    return [np.where(clip.visible[..., None], clip.position, np.nan).astype(np.float32) for clip in clips]


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
        arrays = positions(clips)

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


def parity(dataset: str) -> None:
    """Print the largest differences."""
    from ulna.dataset import Dataset
    from ulna.models import load
    from ulna.models.embedding import Embedder
    from ulna.recipes import RECIPES

    data = Dataset(dataset)
    base = load("ulna/base", device="cpu")
    embedders = {"ulna/base": Embedder(base.encoder, base.preprocessor.matching(), base.recipe.pooling)}
    for name in RECIPES_SHOWN:
        recipe = RECIPES[name]()
        preprocessor = recipe.build_preprocessor(data.skeleton, data.num_persons)
        encoder = recipe.build_pretext(preprocessor.spec).encoder.eval()
        embedders[name] = Embedder(encoder, preprocessor, recipe.pooling)
    print("| | encoder | width | largest difference | largest value |\n|---|---|---|---|---|")
    for name, embedder in embedders.items():
        difference, size, width = _difference(embedder, data)
        print(f"| {name} | {type(embedder.encoder).__name__} | {width} | {difference:.1e} | {size:.2g} |", flush=True)


def _difference(embedder: Embedder, data: Dataset) -> tuple[float, float, int]:
    """Return the largest difference of embeddings, the largest value, and their width."""
    from ulna.models.export import export_onnx
    from ulna.onnx import OnnxModel

    differences, sizes, width = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(
            embedder, path, skeleton=data.skeleton, num_persons=data.num_persons, dimensions=data.dimensions,
            units="metres", fps=float(data.fps[0]), name="parity",
        )  # fmt: skip
        file = OnnxModel(path)
        random = np.random.default_rng(0)
        for num_clips, longest in itertools.product(BATCHES, LENGTHS):
            clips = []
            for number, index in enumerate(random.integers(0, data.num_clips, num_clips)):
                clip = data.clip(int(index))
                length = longest if number == 0 else int(random.integers(1, longest + 1))
                frames = np.arange(length) % clip.num_frames
                clips.append(replace(clip, position=clip.position[frames], visible=clip.visible[frames]))
            packed = embedder.embed_clips(clips).numpy()
            differences.append(np.abs(file.embed(positions(clips)) - packed).max())
            sizes.append(np.abs(packed).max())
            width = packed.shape[1]
    return float(max(differences)), float(max(sizes)), width


def speed(path: str, dataset: str, split: str) -> None:
    """Export, measure and print."""
    from ulna.dataset import Dataset
    from ulna.models import load

    model, data = load(path, device="cpu"), Dataset(dataset)
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
                process = context.Process(target=measure, args=(kind, folder, dataset, split, threads, queue))
                process.start()
                rate, accuracy = queue.get()
                process.join()
                rates.append(rate)
            print(f"| {kind} | {rates[0]:,.0f} | {rates[1]:,.0f} | {100 * accuracy:.1f} |", flush=True)


if __name__ == "__main__":
    {"speed": speed, "parity": parity}[sys.argv[1]](*sys.argv[2:])
