"""ulna fit MODEL --data DATASET"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ulna.cli.options import Flag, Positional, run


def fit(
    model: Positional[Path],
    /,
    *,
    data: Path,
    labels: Path | None = None,
    split: str | None = None,
    classifier: str = "fit",
    unlabelled: bool = True,
    windows: Flag = False,
    out: Path | None = None,
    pooling: str | None = None,
    match_joints: Flag = False,
    device: str = "auto",
) -> None:
    """Train a classifier on a model's frozen embeddings with few labels, in seconds.

    Regularised logistic regression; its strength is chosen by cross-validation among the labelled clips. Clips without
    a label take the labels of similar clips by label spreading. Classify with `ulna predict` afterwards.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        data: Dataset with the clips.
        labels: CSV table with columns file and label, for some of the clips; the dataset's labels by default.
        split: Split whose training part is used; all labelled clips by default.
        classifier: Name of the classifier; replaces one of the same name.
        unlabelled: Use clips without a label, of the split's training part or of the whole dataset.
        windows: Train on windows of recordings that are assembled from the labelled clips, too: timelines and streams
            are then more accurate.
        out: Model folder to write; by default the classifier is saved in the model's own folder.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept clips of another skeleton and match joints by name.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.core import InputError, refuse_existing
    from ulna.dataset import Dataset
    from ulna.formats.labels import Labels
    from ulna.models import load
    from ulna.models.classifier import FOLDER

    if out is not None:
        refuse_existing(out)
    loaded, dataset = load(model, device=device), Dataset(data)
    if out is None and loaded.is_read_only:
        raise InputError(f"{model}: expected --out FOLDER for the model with its classifier, since it is read-only")
    table = None
    if labels is not None:
        listed = Labels.read(labels)
        known = {
            name: (listed.rows.get(name) or listed.of(Path(name), None).metadata).get("label") for name in dataset.ids
        }
        table = {name: label for name, label in known.items() if label}
    found = loaded.fit(
        dataset, split=split, labels=table, classifier=classifier, unlabelled=unlabelled, windows=windows,
        pooling=pooling, match_joints=match_joints,
    )  # fmt: skip
    if out is not None:
        loaded.save(out)
    else:
        assert loaded.path is not None
        found.save(loaded.path / FOLDER, classifier)
    print(f"{out or loaded.path}: classifier {classifier!r} of {len(found.config.classes)} classes")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(fit, arguments, prog="fit")
