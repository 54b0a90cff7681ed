"""Windowed and strided attention over time against full attention: a training step on clips of one length."""

from __future__ import annotations

from benchmarks.step import Packed, peak_memory
from benchmarks.workload import Workload

LENGTHS = (300, 1000, 3000)
FRAMES = 6000  # per step
WINDOW, STRIDE = 32, 32


def report(device: str) -> None:
    """Print time and memory of a step for each length."""
    print(f"GL-Transformer of width 16, 20 joints, window {WINDOW}, stride {STRIDE}, bf16, all dropout rates 0.1")
    print("| frames per clip | full, s/clip | GB | sparse, s/clip | GB | ratio |\n|---|---|---|---|---|---|")
    for length in LENGTHS:
        workload = Workload("long", "kinect_v1", 1, length, length, length * 1.0001, length, length)
        both = []
        for options in ({}, {"window": WINDOW, "stride": STRIDE}):
            both.append(
                peak_memory(Packed, workload, FRAMES // length, device=device, width=16, options=options, steps=3)
            )
        (memory, seconds), (less, faster) = both
        print(f"| {length:,} | {seconds:.3f} | {memory:.1f} | {faster:.3f} | {less:.1f} | {seconds / faster:.1f} |")
