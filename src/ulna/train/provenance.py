"""Provenance: what stands behind a number besides its data and recipe."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """Command, machine, versions and, where ulna runs from a checkout, its commit."""
    return {
        "command": shlex.join(["ulna", *sys.argv[1:]]),
        "machine": _machine(),
        "versions": {name: version(name) for name in ("ulna", "torch", "lightning", "numpy")},
        "commit": _commit(),
    }


def _machine() -> str:
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} in use"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{_processor()}, {cores}{gpu}"


def _processor() -> str:
    """The processor's own name where the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
