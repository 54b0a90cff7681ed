"""ulna info DATASET|MODEL"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run
from ulna.core import MissingError, readable


def info(path: Positional[Path], /, *, verify: Flag = False) -> None:
    """Describe a dataset or a model.

    Args:
        path: Folder of a dataset or a model, or the name of a model.
        verify: Check every byte of a dataset.
    """
    from ulna.dataset import Dataset
    from ulna.dataset.description import DESCRIPTION
    from ulna.models.folder import CONFIG
    from ulna.models.names import find_model

    path = find_model(path).folder
    if (path / CONFIG).is_file():
        _show_model(path)
    elif (path / DESCRIPTION).is_file():
        _show_dataset(Dataset(path), verify=verify)
    else:
        raise MissingError(f"{path}: expected a dataset ({DESCRIPTION}) or a model ({CONFIG}), found neither")


def _show_dataset(dataset: object, *, verify: bool) -> None:
    import numpy as np

    from ulna.dataset import Dataset

    assert isinstance(dataset, Dataset)
    seconds = dataset.lengths / dataset.fps
    lengths, skeleton = dataset.lengths, dataset.skeleton
    print(f"dataset      {dataset.path}")
    print(f"content      {dataset.num_clips:,} clips, {dataset.num_frames:,} frames, {seconds.sum() / 3600:.2f} hours")
    print(f"clips        {np.median(lengths):.0f} frames in the median, {lengths.min()} to {lengths.max()}")
    print(
        f"skeleton     {readable(skeleton.name)}, {skeleton.num_joints} joints, up to {dataset.num_persons} persons"
    )  # fmt: skip
    more = [name for name in ("confidence", "frame_numbers") if getattr(dataset, name) is not None]
    more += [name for name in ("recording", "group", "tracks") if name in dataset.table.column_names]
    print(
        f"positions    {dataset.dimensions}-D in {dataset.units}"
        + "".join(f", {name.replace('_', ' ')}" for name in more)
    )
    labelled = dataset.labels[dataset.labels >= 0]
    print(f"classes      {len(dataset.classes)}; {len(labelled):,} clips have a label")
    for label, count in enumerate(np.bincount(labelled, minlength=len(dataset.classes))):
        print(f"               {count:6,}  {readable(dataset.classes[label])}")
    for split in dataset.splits:
        train, test = dataset.split(split)
        print(f"split        {readable(split)}: {len(train):,} train, {len(test):,} test")
    print(f"fingerprint  {dataset.fingerprint}")
    for name in ("caveat", "acknowledgement"):
        if name in dataset.description.source:
            print(f"{name:12} {readable(str(dataset.description.source[name]), 400)}")
    if verify:
        dataset.verify(recheck=True)
        print("verified     every byte is as it was written")


def _show_model(path: Path) -> None:
    from ulna.evaluation import EvalResult
    from ulna.models.folder import RESULTS, WEIGHTS, read_model_config

    config = read_model_config(path)
    recipe, data = config.recipe.to_json(), config.data
    state = "finished" if (path / WEIGHTS).is_file() else "unfinished"
    print(f"model        {path} ({state})")
    print(f"recipe       {readable(config.recipe.name)}")
    for part in ("preprocessor", "encoder", "pretext", "augmentation", "training"):
        print(f"{part:12} {', '.join(f'{name} {value}' for name, value in recipe[part].items())}")
    print(f"skeleton     {readable(config.skeleton.name)}, up to {config.num_persons} persons")
    print(f"data         {data.num_clips:,} clips, {data.num_frames:,} frames, fingerprint {data.fingerprint}")
    if config.start is not None:
        earlier = f"data of fingerprint {config.start.fingerprint}, {config.start.training_seconds / 60:.1f} minutes"
        print(f"started from {readable(config.start.recipe)}, {earlier}")
    if config.training_seconds is not None:
        machine = readable(config.provenance.machine, 120)
        print(f"trained for  {config.training_seconds / 60:.1f} minutes, {config.steps} steps, {machine}")
    for file in sorted((path / RESULTS).glob("*.json")):
        result = EvalResult.open(file)
        print(f"result       {result.key.title}, {readable(result.key.split)}: {result.summary()}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(info, arguments, prog="info")
