"""Parallel work on shards, on the cores of one machine or on a cluster. A restart skips the shards that exist."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from ulna.core.config import Config
from ulna.core.files import new_folder, refuse_existing, write_text
from ulna.errors import InputError, MissingError

T = TypeVar("T")
C = TypeVar("C", bound=Config)
PLAN = "plan.json"

Backend = Literal["local", "ray", "dask"]


class Workers(Config):
    """Where sharded work runs."""

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

    def refuse_if_unsharded(self) -> None:
        """Raise InputError if a number of processes is given for work that one process does."""
        if self.workers is not None and not self.is_sharded:
            raise InputError(
                "workers: expected --shard-size as well, found none. Without shards the work runs in one process."
            )


@dataclass(frozen=True)
class WorkFolder:
    """The folder `NAME.unfinished` in which output is made in shards; those of an interrupted run are kept.

    Args:
        folder: The folder.
        out: Output path.
        key: Hash of everything that the shards depend on.
    """

    folder: Path
    out: Path
    key: str

    @classmethod
    def open(cls, out: Path, plan: Mapping[str, Any]) -> WorkFolder:
        """Make the work folder, or open that of an interrupted run.

        Args:
            out: Output path; must not exist.
            plan: Everything that the shards depend on, as JSON values.

        Raises:
            ExistsError: If `out` exists.
            InputError: If there is a work folder of another plan.
        """
        refuse_existing(out)
        folder = out.with_name(out.name + ".unfinished").absolute()
        text = json.dumps(plan, sort_keys=True)
        if not folder.exists():
            with new_folder(folder) as partial:
                write_text(partial / PLAN, text)
        elif not (folder / PLAN).is_file() or (folder / PLAN).read_text(encoding="utf-8") != text:
            raise InputError(
                f"{folder}: expected the unfinished work of a run with the same files and options, found another. "
                "Remove it, or choose another name."
            )
        return cls(folder, out, hashlib.sha256(text.encode()).hexdigest())

    def write(
        self, write: Callable[[T, Path], None], parts: Sequence[T], workers: Workers, suffix: str = ""
    ) -> tuple[list[Path], int]:
        """Write a shard per part, see `write_shards`; returns their paths and the number that already existed."""
        shards = {self.folder / f"part-{number:05}{suffix}": part for number, part in enumerate(parts)}
        return list(shards), write_shards(write, shards, workers)

    def publish(self) -> None:
        """Rename the folder to the output path, with its shards only."""
        for path in self.folder.iterdir():
            if not path.name.startswith("part-"):
                path.unlink()
        self.folder.rename(self.out)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


def write_shards(write: Callable[[T, Path], None], shards: Mapping[Path, T], workers: Workers) -> int:
    """Write one file or folder per shard; those that exist are skipped.

    Args:
        write: Called with the input of a shard and the path to write, which must appear completely or not at all. On a
            cluster both are sent to other machines.
        shards: Input of each shard, by output path.
        workers: Where the work runs.

    Returns:
        Number of shards that already existed.
    """
    missing = [(shard, path) for path, shard in shards.items() if not path.exists()]
    if workers.backend == "local" and (workers.workers == 1 or len(missing) < 2):
        for shard, path in missing:
            write(shard, path)
    elif missing:
        from joblib import Parallel, delayed

        with _cluster(workers), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*tasks have been successfully executed", UserWarning)
            Parallel(batch_size=1)(delayed(write)(shard, path) for shard, path in missing)
    return len(shards) - len(missing)


def fingerprint_of_files(files: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and modification times of files."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
            text = f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0"
        except OSError:
            text = f"{file}\0missing\0"
        digest.update(text.encode())
    return digest.hexdigest()


def in_shards(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Divide items into shards of a size; the last one may be smaller."""
    return [items[first : first + size] for first in range(0, len(items), size)]


def spread_evenly(num: int, most: int) -> list[int]:
    """Return at most `most` indices below `num`, evenly spread."""
    step = max(1.0, (num - 1) / max(1, most - 1))
    return sorted({min(num - 1, round(i * step)) for i in range(min(num, most))})


def with_absolute_paths(config: C) -> C:
    """Return a configuration whose paths do not depend on the working folder."""
    return config.replace(**{name: value.absolute() for name, value in dict(config).items() if isinstance(value, Path)})


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
        if address and workers.workers is not None:
            raise InputError("workers: expected none, since Dask uses all workers of the cluster at its address")
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
