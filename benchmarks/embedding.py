"""Clips per second of embedding: ulna's batches against one clip at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.workload import Workload
from ulna.dataset import Dataset
from ulna.encoders import ENCODERS, Encoder
from ulna.encoders.pooling import embed_clips
from ulna.models import load
from ulna.models.embedding import Embedder
from ulna.models.recipe import Precision
from ulna.preprocessing import Disentangled

NUM_FRAMES = 64
CLIPS = Workload("embedding", "kinect_v1", 1, NUM_FRAMES, NUM_FRAMES, NUM_FRAMES * 1.0001, NUM_FRAMES, NUM_FRAMES)
SEGMENTS = {"embed_dim": 96, "depth": 4, "num_heads": 4}
MODELS = (
    ("segment transformer, width 96, depth 4, segments of 8 frames", "segment_transformer", {**SEGMENTS, "segment": 8}),
    ("the same, segments of 4 frames", "segment_transformer", {**SEGMENTS, "segment": 4}),
    ("GL-Transformer, width 16", "gl_transformer", {"embed_dim": 16, "num_heads": 4}),
    ("GL-Transformer, width 48 (paper)", "gl_transformer", {}),
    ("Motion-Transformer", "motion_transformer", {}),
    ("H-Transformer", "h_transformer", {}),
    ("HA-CM, width 256 (paper)", "segment_transformer", {}),
)


def report(device: str, num_clips: int = 2000) -> None:
    """Print the clips per second of each encoder."""
    print(f"clips of {NUM_FRAMES} frames, one person, 20 joints, from a dataset on disk")
    columns = ("encoder", "million parameters", "one by one, clips/s", "float32, clips/s", "ratio", "bf16, clips/s")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as folder:
        dataset = CLIPS.dataset(Path(folder) / "dataset", num_clips)
        config = Disentangled.Config(heading="clip", max_frames=NUM_FRAMES)
        preprocessor = Disentangled(config, dataset.skeleton, 1)
        embedders = []
        for name, encoder, options in MODELS:
            torch.manual_seed(0)
            kind = ENCODERS[encoder]
            made: Encoder = kind(kind.Config(**options), preprocessor.spec).to(device).eval()
            embedders.append((name, Embedder(made, preprocessor)))
        embedders.append(("`ulna/base`, with poses", load("ulna/base", device=device).embedder(dataset, check=False)))
        for name, embedder in embedders:
            rates = [_rate(embedder, dataset, precision) for precision in ("32-true", "bf16-mixed")]
            single = _one_by_one(embedder, dataset)
            parameters = sum(parameter.numel() for parameter in embedder.encoder.parameters()) / 1e6
            print(
                f"| {name} | {parameters:.1f} | {single:,.0f} | {rates[0]:,.0f} | {rates[0] / single:.1f} "
                f"| {rates[1]:,.0f} |",
                flush=True,
            )


def _rate(own: Embedder, dataset: Dataset, precision: Precision) -> float:
    """Return the clips per second of the encoder, of as many clips as take about two seconds."""
    embedder = replace(own, precision=precision)
    few = np.arange(64)
    embedder.embed_dataset(dataset, few)
    seconds = _seconds(lambda: embedder.embed_dataset(dataset, few))
    clips = np.arange(min(dataset.num_clips, max(64, int(1.5 * len(few) / seconds))))
    return len(clips) / min(_seconds(lambda: embedder.embed_dataset(dataset, clips)) for _ in range(2))


@torch.inference_mode()
def _one_by_one(embedder: Embedder, dataset: Dataset) -> float:
    """Return the clips per second if clips are read and embedded one by one in float32."""

    def embed(num: int) -> None:
        for clip in range(num):
            batch = embedder.preprocessor.load(dataset, np.array([clip]), embedder.device)
            embed_clips(embedder.encoder, batch, embedder.pooling).cpu()

    embed(4)
    num = max(8, min(200, int(4 / _seconds(lambda: embed(8)))))
    return num / _seconds(lambda: embed(num))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
