"""Measure on this machine and print the tables: python -m benchmarks [TABLE ...] [NUMBER OF CLIPS ...].

Tables: step, memory, sparse, embedding, preparing, masking, scale; by default all, `scale` with 2,000 clips.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks import embedding, masking, preparing, scale, sparse
from benchmarks.step import (
    NO_RATES,
    Packed,
    Padded,
    compare,
    matrix_peak,
    peak_memory,
    same_weights,
    spread,
)
from benchmarks.workload import NTU, NW_UCLA
from ulna.core import Workers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    tables = {
        "step": step,
        "memory": memory,
        "sparse": lambda: sparse.report(DEVICE),
        "embedding": lambda: embedding.report(DEVICE),
        "preparing": prepare,
        "masking": mask,
        "scale": lambda: scale.report(sizes or (2000,)),
    }
    sizes = tuple(int(word.replace(",", "")) for word in sys.argv[1:] if word[0].isdigit())
    wanted = [word for word in sys.argv[1:] if word in tables] or (["scale"] if sizes else list(tables))
    began = time.perf_counter()
    print(f"machine: {_processor()}, {os.cpu_count()} cores, torch {torch.__version__}; steps on: {_device_name()}")
    for name in wanted:
        print(f"\n## {name}", flush=True)
        tables[name]()
    print(f"\n{(time.perf_counter() - began) / 60:.1f} minutes")


def step() -> None:
    peaks = {
        name: matrix_peak(dtype, DEVICE) for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    print("matrix peak: " + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items()))
    _check_equal()
    columns = (
        "workload", "clips (padded, ulna)", "padded, s/clip", "ulna, s/clip", "ulna, clips/s", "ratio",
        "ratio, same malloc", "share of bf16 peak", "input",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    many = 32 if DEVICE == "cpu" else 128
    breakdowns = []
    for workload, few, own in ((NTU, 6, many), (NW_UCLA, 32, 128)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # as training does, in a process of its own
            rows, shares = pool.apply(compare, (workload, few, own, peaks["bfloat16"], DEVICE))
        print("\n".join(rows), flush=True)
        breakdowns += shares
    print("\n".join(breakdowns))


def _check_equal() -> None:
    padded = Padded(NTU, 2, NO_RATES, DEVICE, width=16)
    packed = Packed(NTU, 2, NO_RATES, DEVICE, width=16, precision="32-true")
    same_weights(padded, packed)
    padded()
    packed()
    print(f"loss in float32 without dropouts: padded {padded.loss:.6f}, ulna {packed.loss:.6f}")
    assert abs(padded.loss - packed.loss) < 1e-3


def memory() -> None:
    owner = "the process" if DEVICE == "cpu" else "the GPU"
    print(f"| NTU step | clips | peak memory of {owner}, GB |\n|---|---|---|")
    for name, kind, num, options in (
        ("padded", Padded, 8, {}),
        ("ulna", Packed, 128, {}),
        ("ulna, `--encoder.checkpoint-activations`", Packed, 128, {"options": {"checkpoint_activations": True}}),
    ):
        print(f"| {name} | {num} | {peak_memory(kind, NTU, num, device=DEVICE, **options)[0]:.1f} |", flush=True)


def prepare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("| what | measured |\n|---|---|")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
            plain, ours = executor.submit(preparing.parser_times, Path(folder)).result()
        print(f"| a file of 100 frames and two bodies, plain line-by-line parser | {plain:.1f} ms |")
        print(f"| the same, ulna | {ours:.1f} ms, ratio {plain / ours:.1f} |", flush=True)
        num_files, cores = 2500, os.cpu_count() or 1
        ways = {
            "one process": 1,
            f"{cores} processes, one writes": cores,
            f"{cores} processes in shards": Workers(workers=cores, shard_size=num_files // (2 * cores)),
        }
        rates = {
            name: [preparing.clips_per_second(Path(folder), num_files, workers) for _ in range(2)]
            for name, workers in ways.items()
        }
        one = max(rates["one process"])
        for name, own in rates.items():
            gain = "" if name == "one process" else f", {max(own) / one:.1f} times as many"
            print(f"| {num_files:,} one-body files of 82 frames, {name}, two runs | {_clips_per_second(own)}{gain} |")


def _clips_per_second(rates: list[float]) -> str:
    return " and ".join(f"{rate:.0f}" for rate in rates) + " clips/s"


def mask() -> None:
    rounds, num = (2, 16) if DEVICE == "cpu" else (10, 128)
    print(f"HA-CM training step, width 256, {num} clips")
    print("| workload | all tokens, s/clip | ulna, s/clip | ratio |\n|---|---|---|---|")
    for workload in (NTU, NW_UCLA):
        every, ours = masking.seconds_per_clip(workload, num, DEVICE, rounds=rounds)
        print(f"| {workload.name} | {spread(every)} | {spread(ours)} | {min(every) / min(ours):.1f} |", flush=True)


def _device_name() -> str:
    return torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
