"""ulna prepare READER SOURCE STORE"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ulna.cli.arguments import flag, inline, reference_person, option, parse, pos_embed
from ulna.data import prepare
from ulna.dataset.holdout import NAME as HOLDOUT
from ulna.dataset.dataset import REJECTED
from ulna.formats import FORMATS

HELP = "Read a folder of files with READER and write them as a dataset. Readers: " + ", ".join(FORMATS)


def main(arguments: Sequence[str]) -> None:
    name, rest = reference_person(arguments, "a reader", list(FORMATS))
    if name is None:
        print(f"usage: ulna prepare READER SOURCE STORE [options]\n\n{HELP}\n\nulna prepare READER --help says more")
        return
    reader = FORMATS[name]
    wanted = parse(
        f"prepare {name}",
        f"{reader.title}: {reader.files_wanted} -> dataset.",
        [
            ("source", pos_embed(Path, "Folder with the files.")),
            ("dataset", pos_embed(Path, "Dataset to write; must not exist.")),
            ("skip_bad", flag(f"Leave bad files out and list them in {REJECTED}."), False),
            ("workers", option(int | None, "Processes; all cores by default."), None),
            ("options", inline(reader), reader()),
        ],
        rest,
    )  # fmt: skip
    dataset = prepare(wanted.options, wanted.source, wanted.dataset, skip_bad=wanted.skip_bad, workers=wanted.workers)
    print(f"{dataset.path}: {dataset.num_clips:,} clips, {dataset.num_frames:,} frames, fingerprint {dataset.fingerprint}")
    for split in dataset.splits:
        train, test = dataset.split(split)
        print(f"  split {split:12} {len(train):,} train, {len(test):,} test")
    if dataset.splits == (HOLDOUT,):
        print("  no split was given: every fifth subject, or clip of a class where subjects are unknown, is held out")
    rejected = dataset.path / REJECTED
    if rejected.is_file():
        print(
            f"  {len(rejected.read_text().splitlines()) - 1} bad files left out, listed in {rejected}", file=sys.stderr
        )
    short = int((dataset.lengths == 1).sum())
    if short:
        print(f"  warning: {short} clips have one frame only; they are kept", file=sys.stderr)
