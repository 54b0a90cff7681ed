"""ulna info STORE|RUN"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ulna.cli.arguments import flag, parse, positional
from ulna.data import Store
from ulna.data.store import DESCRIPTION
from ulna.protocols.outcome import Outcome
from ulna.train.run import RECIPE, WEIGHTS, read_run


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "info",
        "Say what a store or a run holds.",
        [
            ("path", positional(Path, "A store or a run.")),
            ("verify", flag("Check every byte of a store."), False),
        ],
        arguments,
    )  # fmt: skip
    path: Path = wanted.path
    if (path / RECIPE).is_file():
        _show_run(path)
    elif (path / DESCRIPTION).is_file():
        _show_store(Store(path), verify=wanted.verify)
    else:
        raise FileNotFoundError(f"{path}: expected a store ({DESCRIPTION}) or a run ({RECIPE}) in it, got neither")


def _show_store(store: Store, *, verify: bool) -> None:
    seconds = store.lengths / store.table["fps"].to_numpy()
    print(f"store        {store.path}")
    print(f"content      {store.num_clips:,} clips, {store.num_frames:,} frames, {seconds.sum() / 3600:.2f} hours")
    lengths = store.lengths
    print(f"clips        {np.median(lengths):.0f} frames in the median, {lengths.min()} to {lengths.max()}")
    print(f"skeleton     {store.skeleton.name}, {store.skeleton.num_joints} joints, up to {store.num_persons} persons")
    labelled = store.labels[store.labels >= 0]
    print(f"classes      {len(store.classes)}; {len(labelled):,} clips have a label")
    for label, count in enumerate(np.bincount(labelled, minlength=len(store.classes))):
        print(f"               {count:6,}  {store.classes[label]}")
    for split in store.splits:
        train, test = store.split(split)
        print(f"split        {split}: {len(train):,} train, {len(test):,} test")
    print(f"fingerprint  {store.fingerprint}")
    for name in ("caveat", "acknowledgement"):
        if name in store.description["source"]:
            print(f"{name:12} {store.description['source'][name]}")
    if verify:
        store.verify(afresh=True)
        print("verified     every byte is as it was written")


def _show_run(path: Path) -> None:
    run = read_run(path)
    facts, recipe, data = run.facts, run.recipe.to_json(), run.facts["data"]
    state = "finished" if (path / WEIGHTS).is_file() else "unfinished"
    print(f"run          {path} ({state})")
    print(f"recipe       {recipe['name']}")
    for part in ("input", "encoder", "pretext", "augmentation", "training"):
        print(f"{part:12} {', '.join(f'{name} {value}' for name, value in recipe[part].items())}")
    print(f"skeleton     {facts['skeleton']['name']}, up to {facts['num_persons']} persons")
    print(f"data         {data['num_clips']:,} clips, {data['num_frames']:,} frames, fingerprint {data['fingerprint']}")
    if "training_seconds" in facts:
        print(f"training     {facts['training_seconds'] / 60:.1f} minutes, {facts['steps']} steps, {facts['machine']}")
    for file in sorted((path / "results").glob("*.json")):
        print(f"result       {file.stem}: {Outcome.open(file).summary()}")
