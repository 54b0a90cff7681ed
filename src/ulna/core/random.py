"""Counted random numbers: what a draw gives depends on its name and counters alone, never on what came before."""

from __future__ import annotations

import hashlib

import numpy as np


def counted(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Philox generator for one draw, keyed by (seed, purpose) and placed by up to three counters."""
    if len(counters) > 3:
        raise ValueError(f"expected at most three counters, got {len(counters)}")
    name = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    key = np.array([seed % 2**64, name], dtype=np.uint64)
    place = np.array([0, *counters, *(0,) * (3 - len(counters))], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=place))


def torch_seed(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit seed for torch's generator, counted the same way."""
    return int(counted(seed, purpose, *counters).integers(2**63))
