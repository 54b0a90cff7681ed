"""Provenance: command, machine, versions and commit behind a number."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from ulna.core import Config


class Provenance(Config):
    """How and where something was computed."""

    command: str
    """Command line of the process."""
    machine: str
    """Processor, cores and GPU."""
    versions: dict[str, str]
    """Versions of the libraries that matter."""
    commit: str | None
    """Commit of ulna if it runs from a git checkout."""


def provenance() -> Provenance:
    """Return the provenance of the running process."""
    program = Path(sys.argv[0]).name or "python"
    return Provenance(
        command=shlex.join(["ulna" if program == "__main__.py" else program, *sys.argv[1:]])[:2000],  # python -m ulna
        machine=_machine(),
        versions={name: version(name) for name in ("ulna", "torch", "lightning", "numpy")},
        commit=_commit(),
    )


def _machine() -> str:
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} in use"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{_processor()}, {cores}{gpu}"


@cache
def _processor() -> str:
    """Return the name of the processor."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
