"""Stopping on request: SIGTERM, which clusters send, ends a training command with exit code 143."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_when_stopped(advice: str) -> Iterator[None]:
    """Exit with code 143 and one message if training stops with a checkpoint.

    Args:
        advice: How to continue, a sentence.
    """
    from ulna.training import TrainingStopped

    try:
        yield
    except TrainingStopped as notice:
        print(f"{notice} {advice}", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
