"""Parallel work on shards, on the cores of one machine or on a cluster. A restart skips the shards that exist."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from ulna.core.config import Config
from ulna.core.errors import InputError, MissingError
from ulna.core.files import new_folder, refuse_existing, write_text

T = TypeVar("T")
PLAN = "_plan.json"  # Arrow skips files whose names begin with _ when it reads a folder

Backend = Literal["local", "ray", "dask"]


class Workers(Config):
    """Where work is done that is divided into shards."""

    backend: Backend = "local"
    """Processes on this machine ("local"), or a cluster: "ray" (RAY_ADDRESS names it) or "dask"
    (DASK_SCHEDULER_ADDRESS). Without an address, a cluster is started on this machine. All machines need the same
    paths, for example on a network file system."""
    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Number of processes; all cores by default."""
    shard_size: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Files or clips per shard. Every finished shard is kept, so that the same command continues after an
    interruption."""

    @property
    def is_sharded(self) -> bool:
        """Whether the work is divided into shards: on a cluster always."""
        return self.shard_size is not None or self.backend != "local"


def write_shards(write: Callable[[T, Path], None], shards: Mapping[Path, T], workers: Workers) -> int:
    """Write one file or folder per shard; those that exist are skipped.

    Args:
        write: Called with a shard and the path to write, which must appear completely or not at all. On a cluster it is
            sent to other machines, as are the shards.
        shards: What each path is made of.
        workers: Where the work is done.

    Returns:
        How many shards existed already.
    """
    missing = [(shard, path.absolute()) for path, shard in shards.items() if not path.exists()]
    if workers.backend == "local" and (workers.workers == 1 or len(missing) < 2):
        for shard, path in missing:
            write(shard, path)
    elif missing:
        from joblib import Parallel, delayed

        with _cluster(workers), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tasks have been successfully executed", UserWarning)
            Parallel(batch_size=1)(delayed(write)(shard, path) for shard, path in missing)
    return len(shards) - len(missing)


def open_work_folder(path: Path, plan: Mapping[str, Any]) -> Path:
    """Return the folder in which `path` is made in shards, `PATH.unfinished`; shards of an interrupted run are in it.

    Args:
        path: What is made; must not exist.
        plan: Everything that the shards depend on, as JSON values.

    Raises:
        ExistsError: If `path` exists.
        InputError: If there is a work folder of another plan.
    """
    refuse_existing(path)
    work = path.with_name(path.name + ".unfinished")
    text = json.dumps(plan, sort_keys=True)
    if not work.exists():
        with new_folder(work) as folder:
            write_text(folder / PLAN, text)
    elif not (work / PLAN).is_file() or (work / PLAN).read_text(encoding="utf-8") != text:
        raise InputError(
            f"{work}: expected the unfinished work of a run with the same files and options, found another. "
            "Remove it, or choose another name."
        )
    return work


def fingerprint_of_files(files: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and modification times of files."""
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def in_shards(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Divide items into shards of a size; the last one may be smaller."""
    return [items[first : first + size] for first in range(0, len(items), size)]


@contextmanager
def _cluster(workers: Workers) -> Iterator[None]:
    """Let joblib work with the chosen backend inside the block."""
    from joblib import parallel_config

    num = workers.workers or -1
    if workers.backend == "local":
        with parallel_config("loky", n_jobs=num):
            yield
    elif workers.backend == "ray":
        ray = _module("ray", "ray")
        started = not ray.is_initialized()
        if started:
            ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
        _module("ray.util.joblib", "ray").register_ray()
        try:
            num = workers.workers or int(ray.cluster_resources()["CPU"])
            with parallel_config("ray", n_jobs=num, ray_remote_args={"num_cpus": 1}):  # else all go to one machine
                yield
        finally:
            if started:
                ray.shutdown()
    else:
        distributed = _module("distributed", "dask")
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        local = {} if address else {"n_workers": workers.workers or os.cpu_count(), "threads_per_worker": 1}
        with distributed.Client(address, **local), parallel_config("dask", n_jobs=num):
            yield


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingError(
            f"backend {extra!r}: expected the package {name.partition('.')[0]}, found none. "
            f"Install it: pip install 'ulna[{extra}]'"
        ) from None
