"""A process that reads binary files with C libraries, so that a crash on a damaged file does not end the program.

It is started as `python -m ulna.formats.reader_process` and answers one request per line.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ulna.core import InputError, MissingError
from ulna.formats.base import BadFileError

READERS = {
    "sleap": "ulna.formats.sleap:load",
    "deeplabcut": "ulna.formats.deeplabcut:load_h5",
    "movement": "ulna.formats.movement:load",
    "c3d": "ulna.formats.c3d:load",
}
SECONDS = 60.0  # after which a file counts as unreadable


def load_safely(reader: str, path: Path) -> dict[str, Any]:
    """Read a file in the reader process.

    Args:
        reader: Name of the reader, a key of `READERS`.
        path: The file.

    Returns:
        What the reader returned: arrays and JSON values by name.

    Raises:
        BadFileError: If the file is damaged, crashes its reader or takes too long.
        MissingError: If the library that the reader needs is not installed.
    """
    with _LOCK:
        return _process().request(reader, path)


class _Process:
    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "ulna.formats.reader_process"]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self.owner = os.getpid()

    @property
    def is_alive(self) -> bool:
        return self.owner == os.getpid() and self.popen.poll() is None

    def request(self, reader: str, path: Path) -> dict[str, Any]:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        timer = threading.Timer(SECONDS, self.popen.kill)
        timer.start()
        try:
            self.popen.stdin.write(json.dumps([reader, str(path)]).encode() + b"\n")
            self.popen.stdin.flush()
            size = int(self.popen.stdout.readline())
            answer = self.popen.stdout.read(size)
            if len(answer) != size:
                raise ValueError
        except (OSError, ValueError):
            self.popen.kill()
            self.popen.wait()
            found = "a file that crashes its reader or takes too long"
            raise BadFileError(path, "whole file", expected=f"a {reader} file", found=found) from None
        finally:
            timer.cancel()
        with np.load(io.BytesIO(answer), allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        values: dict[str, Any] = json.loads(str(content.pop("json")))
        if "missing" in values:
            raise MissingError(values["missing"])
        if "error" in values:
            location, expected, found = values["error"]
            raise BadFileError(path, location, expected=expected, found=found)
        return values | content

    def stop(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.popen.stdin is not None:
                self.popen.stdin.close()
            if self.popen.stdout is not None:
                self.popen.stdout.close()
            self.popen.kill()
            self.popen.wait()


_LOCK = threading.Lock()
_RUNNING: list[_Process] = []


def _process() -> _Process:
    """Return the reader process of this process, started on first use and after a crash."""
    if not _RUNNING or not _RUNNING[-1].is_alive:
        for old in _RUNNING:
            if old.owner == os.getpid():
                old.stop()
        _RUNNING[:] = [_Process()]
        atexit.register(_RUNNING[-1].stop)
    return _RUNNING[-1]


def _answer(reader: str, path: Path) -> bytes:
    """Return the content of a file, or its error, as an .npz archive."""
    arrays: dict[str, np.ndarray] = {}
    try:
        module, _, name = READERS[reader].partition(":")
        load: Callable[[Path], dict[str, Any]] = getattr(importlib.import_module(module), name)
        content = load(path)
        arrays = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
        values = {key: value for key, value in content.items() if key not in arrays}
    except BadFileError as error:
        values = {"error": [error.location, error.expected, error.found]}
    except ImportError as error:
        values = {"missing": f"expected the library {error.name}, found none. Install it: pip install 'ulna[animals]'"}
    except (InputError, MemoryError, RecursionError, Exception) as error:  # damaged files raise many kinds
        values = {"error": ["whole file", f"a {reader} file", f"what cannot be read ({type(error).__name__}: {error})"]}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, json=np.array(json.dumps(values)), **arrays)
    return buffer.getvalue()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    for line in requests:
        reader, path = json.loads(line)
        if sys.platform != "win32":
            signal.alarm(round(2 * SECONDS))  # ends this process even if the one that started it was killed
        answer = _answer(reader, Path(path))
        if sys.platform != "win32":
            signal.alarm(0)
        answers.write(f"{len(answer)}\n".encode() + answer)
        answers.flush()


if __name__ == "__main__":
    # Libraries that print must not disturb the answers.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, out)
