"""Memory of training on CPUs, for the process of a command."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of glibc's mallopt (malloc.h), and the values they have in a process that frees large blocks.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**26}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let malloc keep the memory that a training step frees for the next step, until the block ends.

    glibc hands large blocks back to the system at once, which then clears every page anew: on two cores a third of a
    step. Does nothing where the C library is another.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    try:
        for parameter, value in _KEEPING.items():
            libc.mallopt(parameter, value)
        yield
    finally:
        for parameter, value in _USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
