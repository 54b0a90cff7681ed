"""Exact search against LanceDB on many vectors: python -m benchmarks.search MODEL DATASET [NUMBER OF VECTORS].

Vectors beyond those of the dataset are synthetic: each lies between two real ones that are near each other, with noise,
so that neighbourhoods are about as dense as real ones. Queries are real vectors with a little noise. Each backend runs
in a process of its own, whose peak of memory is reported.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from ulna.dataset import Dataset
from ulna.models import load
from ulna.models.search import VECTOR, ExactRows, SearchIndex, vector_column

NUM_QUERIES, K, NEAR, NOISE = 200, 10, 20, 0.05


def synthetic(real: torch.Tensor, num: int, seed: int = 0) -> torch.Tensor:
    """Return `num` vectors of unit length, each between a real one and one of its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    near = (real @ real.T).topk(NEAR, dim=1).indices
    first = torch.randint(len(real), (num,), generator=generator)
    second = near[first, torch.randint(NEAR, (num,), generator=generator)]
    share = torch.rand(num, 1, generator=generator)
    noise = torch.randn(num, real.shape[1], generator=generator) * NOISE / real.shape[1] ** 0.5
    return normalize(torch.lerp(real[first], real[second], share) + noise, dim=1)


def write(index: SearchIndex, num: int, folder: Path) -> None:
    """Write the index with `num` vectors as Parquet and as a LanceDB database."""
    real = torch.from_numpy(np.stack(index.rows.table[VECTOR].to_numpy())).float()  # type: ignore[attr-defined]
    parts = [real, *(synthetic(real, min(100_000, num - start), start) for start in range(len(real), num, 100_000))]
    vectors = torch.cat(parts)[:num]
    ids = pa.array([f"clip{number:07d}" for number in range(num)])
    times = {"begin": pa.array(np.zeros(num)), "duration": pa.array(np.ones(num))}
    large = replace(index, rows=ExactRows(pa.table({"id": ids, **times, VECTOR: vector_column(vectors)})))
    for name in ("exact.parquet", "approximate.lance"):
        began = time.perf_counter()
        large.save(folder / name)
        print(
            f"{name}: written in {time.perf_counter() - began:.0f} s, {_size(folder / name) / 1e6:,.0f} MB", flush=True
        )
    picked = torch.randperm(len(real), generator=torch.Generator().manual_seed(1))[:NUM_QUERIES]
    torch.save(synthetic(real[picked], NUM_QUERIES, 2), folder / "queries.pt")


def measure(path: Path) -> tuple[list[list[str]], float, float, float, float]:
    """Search an index, and return what was found, times and memory."""
    queries = torch.load(path.parent / "queries.pt", weights_only=True)
    began = time.perf_counter()
    index = SearchIndex.open(path)
    index.nearest(queries[:1], k=K)
    opened = time.perf_counter() - began
    times = []
    found: list[list[str]] = []
    for query in queries:
        began = time.perf_counter()
        found.append([hit.clip for hit in index.nearest(query[None], k=K)[0]])
        times.append(time.perf_counter() - began)
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e6
    return found, opened, float(np.median(times)), float(np.quantile(times, 0.95)), peak


def main() -> None:
    """Build, measure and print."""
    model, dataset = load(sys.argv[1], device="cpu"), Dataset(sys.argv[2])
    num = int(sys.argv[3].replace(",", "")) if len(sys.argv) > 3 else 1_000_000
    index = SearchIndex.build(model, dataset, match_joints=True)
    print(
        f"{num:,} vectors of width {index.info.dims}, {len(index.rows):,} of them real; {NUM_QUERIES} queries, k = {K}"
    )
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        write(index, num, Path(folder))
        results = {}
        for name in ("exact.parquet", "approximate.lance"):
            with context.Pool(1) as pool:
                results[name] = pool.apply(measure, (Path(folder) / name,))
    exact = results["exact.parquet"][0]
    print("| backend | open, s | query, ms (median) | query, ms (95 %) | memory, GB | recall@10 |\n" + "|---" * 6 + "|")
    for name, (found, opened, middle, late, peak) in results.items():
        recall = np.mean([len(set(own) & set(true)) / K for own, true in zip(found, exact, strict=True)])
        print(f"| {name} | {opened:.1f} | {1000 * middle:.1f} | {1000 * late:.1f} | {peak:.2f} | {recall:.3f} |")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
