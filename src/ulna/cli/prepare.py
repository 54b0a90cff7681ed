"""ulna prepare READER SOURCE STORE"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import flag, inline, leading, option, parse, positional
from ulna.data import prepare
from ulna.data.holdout import NAME as HOLDOUT
from ulna.data.store import REJECTED
from ulna.readers import READERS

HELP = "Read a folder of files with READER and write them as a store. Readers: " + ", ".join(READERS)


def main(arguments: Sequence[str]) -> None:
    name, rest = leading(arguments, "a reader", list(READERS))
    if name is None:
        print(f"usage: ulna prepare READER SOURCE STORE [options]\n\n{HELP}\n\nulna prepare READER --help says more")
        return
    reader = READERS[name]
    wanted = parse(
        f"prepare {name}",
        f"{reader.title}: {reader.files_wanted} -> store.",
        [
            ("source", positional(Path, "Folder with the files.")),
            ("store", positional(Path, "Store to write; must not exist.")),
            ("skip_bad", flag(f"Leave bad files out and list them in {REJECTED}."), False),
            ("workers", option(int | None, "Processes; all cores by default."), None),
            ("options", inline(reader), reader()),
        ],
        rest,
    )  # fmt: skip
    store = prepare(wanted.options, wanted.source, wanted.store, skip_bad=wanted.skip_bad, workers=wanted.workers)
    print(f"{store.path}: {store.num_clips:,} clips, {store.num_frames:,} frames, fingerprint {store.fingerprint}")
    for split in store.splits:
        train, test = store.split(split)
        print(f"  split {split:12} {len(train):,} train, {len(test):,} test")
    if store.splits == (HOLDOUT,):
        print("  no split was given: every fifth subject, or clip of a class where subjects are unknown, is held out")
    rejected = store.path / REJECTED
    if rejected.is_file():
        print(
            f"  {len(rejected.read_text().splitlines()) - 1} bad files left out, listed in {rejected}", file=sys.stderr
        )
    short = int((store.lengths == 1).sum())
    if short:
        print(f"  warning: {short} clips have one frame only; they are kept", file=sys.stderr)
