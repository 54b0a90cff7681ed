"""ulna info STORE|RUN"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ulna.cli.arguments import flag, parse, pos_embed
from ulna.data import Dataset
from ulna.dataset.dataset import DESCRIPTION
from ulna.evaluation.result import EvalResult
from ulna.models.model import RECIPE, WEIGHTS, read_run


def main(arguments: Sequence[str]) -> None:
    wanted = parse(
        "info",
        "Say what a dataset or a run holds.",
        [
            ("path", pos_embed(Path, "A dataset or a run.")),
            ("verify", flag("Check every byte of a dataset."), False),
        ],
        arguments,
    )  # fmt: skip
    path: Path = wanted.path
    if (path / RECIPE).is_file():
        _show_run(path)
    elif (path / DESCRIPTION).is_file():
        _show_store(Dataset(path), verify=wanted.verify)
    else:
        raise FileNotFoundError(f"{path}: expected a dataset ({DESCRIPTION}) or a run ({RECIPE}) in it, got neither")


def _show_store(dataset: Dataset, *, verify: bool) -> None:
    seconds = dataset.lengths / dataset.table["fps"].to_numpy()
    print(f"dataset        {dataset.path}")
    print(f"content      {dataset.num_clips:,} clips, {dataset.num_frames:,} frames, {seconds.sum() / 3600:.2f} hours")
    lengths = dataset.lengths
    print(f"clips        {np.median(lengths):.0f} frames in the median, {lengths.min()} to {lengths.max()}")
    print(f"skeleton     {dataset.skeleton.name}, {dataset.skeleton.num_joints} joints, up to {dataset.num_persons} persons")
    labelled = dataset.labels[dataset.labels >= 0]
    print(f"classes      {len(dataset.classes)}; {len(labelled):,} clips have a label")
    for label, count in enumerate(np.bincount(labelled, minlength=len(dataset.classes))):
        print(f"               {count:6,}  {dataset.classes[label]}")
    for split in dataset.splits:
        train, test = dataset.split(split)
        print(f"split        {split}: {len(train):,} train, {len(test):,} test")
    print(f"fingerprint  {dataset.fingerprint}")
    for name in ("caveat", "acknowledgement"):
        if name in dataset.description["source"]:
            print(f"{name:12} {dataset.description['source'][name]}")
    if verify:
        dataset.verify(afresh=True)
        print("verified     every byte is as it was written")


def _show_run(path: Path) -> None:
    run = read_run(path)
    metadata, recipe, data = run.metadata, run.recipe.to_json(), run.metadata["data"]
    state = "finished" if (path / WEIGHTS).is_file() else "unfinished"
    print(f"run          {path} ({state})")
    print(f"recipe       {recipe['name']}")
    for part in ("input", "encoder", "pretext", "augmentation", "training"):
        print(f"{part:12} {', '.join(f'{name} {value}' for name, value in recipe[part].items())}")
    print(f"skeleton     {metadata['skeleton']['name']}, up to {metadata['num_persons']} persons")
    print(f"data         {data['num_clips']:,} clips, {data['num_frames']:,} frames, fingerprint {data['fingerprint']}")
    if "training_seconds" in metadata:
        print(f"training     {metadata['training_seconds'] / 60:.1f} minutes, {metadata['steps']} steps, {metadata['machine']}")
    for file in sorted((path / "results").glob("*.json")):
        print(f"result       {file.stem}: {EvalResult.open(file).summary()}")
