"""Read damaged files of every format: each must be refused with an error that names it, or be read.

    python scripts/mutate_files.py --inputs 10000 [--format openpose ...] [--files FOLDER]

Tiny files that the tests write are damaged by replacing, removing, repeating or exchanging parts; with --files, real
files of one format are damaged instead. Prints how many inputs were read and refused, and stops at the first that does
neither.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from ulna.core import UlnaError
from ulna.formats import FORMATS, reader_process
from ulna.formats.base import BadFileError
from ulna.formats.reading import read_file

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_formats import WRITERS
from write_pose_files import POSE_WRITERS

PIECES = [
    b"", b"-1", b"0", b"1e999", b"nan", b"NaN", b" ", b"\n", b"\t", b"9" * 40, b"[", b"]", b"{", b"}", b'"', b",",
    b"null", b"true", b"\xa0", "\u00a0".encode(), b"\xff", b"\x00", b"\xff\xff\xff\x7f", b"1e30", b"-", b"[" * 2000,
]  # fmt: skip


VALUES = [
    None, True, "", "x", "1", 0, -1, 1, 2, 1e308, -1e-300, 10**30, float("nan"), float("inf"),
    [], {}, [[]], [1, 2, 3], {"x": 1},
]  # fmt: skip


def damaged_json(content: bytes, generator: random.Random) -> bytes:
    """Return JSON text with one to three values replaced, removed, repeated or exchanged."""
    root = json.loads(content)
    for _ in range(generator.choice([1, 1, 2, 3])):
        node = root
        for _ in range(generator.randrange(1, 9)):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = generator.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and generator.random() < 0.8:
                node = node[key]
                continue
            kind = generator.randrange(4)
            if kind == 0:
                del node[key]
            elif kind == 1 and isinstance(node, list):
                node.insert(generator.randrange(len(node) + 1), copy.deepcopy(node[key]))
            else:
                node[key] = copy.deepcopy(generator.choice(VALUES))
            break
    return json.dumps(root).encode()


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Return the content with one to three random changes."""
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        start = generator.randrange(len(content) + 1)
        length = generator.choice([0, 1, 1, 2, 4, 8, 64, 512, len(content)])
        kind = generator.randrange(5)
        new = generator.choice(PIECES)
        if kind == 0:
            new = generator.randbytes(generator.choice([1, 2, 4, 8]))
        elif kind == 1:
            new = content[start : start + length] * 2
        elif kind == 2:
            other = generator.randrange(len(content) + 1)
            new = content[other : other + length]
        elif kind == 3:
            length = len(content)
            new = b""
        content = content[:start] + new + content[start + length :]
    return content


def run(name: str, inputs: int, files: Path | None, seed: int) -> str:
    """Damage files of one format and return a line about what came of it."""
    generator = random.Random(f"{name} {seed}")
    outcomes: Counter[str] = Counter()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "files"
        if files is None:
            path, write = (WRITERS | POSE_WRITERS)[name]
            write(source / path)
        else:
            shutil.copytree(files, source)
        originals = {path: path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()}
        for number in range(inputs):
            path = generator.choice(list(originals))
            is_json = path.suffix in (".json", ".gltf") and generator.random() < 0.6
            path.write_bytes((damaged_json if is_json else damaged)(originals[path], generator))
            try:
                outcomes[outcome(name, source)] += 1
            except Exception as error:
                kept = Path(tempfile.mkdtemp()) / path.name
                shutil.copy(path, kept)
                raise SystemExit(f"{name}, input {number}, kept as {kept}: {type(error).__name__}: {error}") from error
            path.write_bytes(originals[path])
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{count:,} {what}" for what, count in outcomes.most_common())
    return f"{name:13} {inputs:,} inputs in {seconds:.0f} s: {counts}"


def outcome(name: str, source: Path) -> str:
    """Read a folder; returns "read", "refused" or, where a parser failed in an unforeseen way, "caught"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = FORMATS[name]().open(source)
        except (UlnaError, OSError) as error:
            text = str(error)
            assert text.isprintable(), text
            assert len(text) < 500, text
            return "refused"
        result = read_file(FORMATS[name](), found, found.files[0])
    if isinstance(result.error, BadFileError):
        text = str(result.error)
        assert text.isprintable(), text
        assert len(text) < 500, text
        is_unforeseen = "Error: " in result.error.found and "cannot be read" not in text
        if is_unforeseen:
            print(f"  {text}", file=sys.stderr)
        return "caught" if is_unforeseen else "refused"
    for clip in result.clips:
        assert np.isfinite(clip.position).all()
    return "read"


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="number of damaged inputs of each format")
    parser.add_argument("--format", nargs="*", default=sorted(WRITERS | POSE_WRITERS), help="formats; all by default")
    parser.add_argument("--files", type=Path, help="folder with real files of the one format that is named")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage")
    options = parser.parse_args()
    reader_process.SECONDS = 5.0  # damaged C3D files keep their reader busy for ever
    for name in options.format:
        print(run(name, options.inputs, options.files, options.seed), flush=True)


if __name__ == "__main__":
    main()
