"""Random numbers that depend on a seed, a name and counters alone, never on what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the Philox generator of one draw, keyed by (seed, name) and started at up to three counters.

    Args:
        seed: Any whole number; taken modulo 2^64.
        name: What is drawn, such as "weights".
        counters: Where in the stream the draw starts, such as the number of the training step.
    """
    assert len(counters) <= 3
    word = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    key = np.array([seed % 2**64, word], dtype=np.uint64)
    start = np.array([0, *counters, *(0,) * (3 - len(counters))], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start))


def torch_seed(seed: int, name: str, *counters: int) -> int:
    """Return a 63-bit seed for torch's generator, drawn from the same streams."""
    return int(random_stream(seed, name, *counters).integers(2**63))
