"""ulna discover MODEL DATASET PAGE"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ulna.analysis.discovery import Discovery
from ulna.cli.options import INLINE, Flag, Positional, run
from ulna.core import InputError, new_file, readable

DEFAULT = Discovery()
MOST_GROUPS = 4  # that are named beside a motif


def discover(
    model: Positional[Path],
    data: Positional[Path],
    page: Positional[Path],
    /,
    *,
    options: Annotated[Discovery, INLINE] = DEFAULT,
    by: str | None = None,
    examples: int = 8,
    labels: Path | None = None,
    pooling: str | None = None,
    match_joints: Flag = False,
    device: str = "auto",
) -> None:
    """Find kinds of movement (motifs) in a dataset without labels, and show examples of each on a page.

    On the page, motifs can be named, and the names saved as a table for `ulna fit --labels`; motifs of one name become
    one class.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        data: Dataset, such as windows of long recordings (`ulna prepare --window 2 --stride 0.5`).
        page: HTML file to write; must not exist.
        options: How motifs are found.
        by: Column whose groups are compared, such as group, setup, view or label: how often each motif occurs, with an
            effect size and a permutation test over subjects or recordings.
        examples: Number of clips to show of each motif.
        labels: CSV file to write with the motif of each clip; must not exist.
        pooling: How the encoder's output is pooled; that of the recipe by default.
        match_joints: Accept a dataset of another skeleton and match joints by name.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.analysis.discovery import (
        NOISE,
        column,
        draw_dendrogram,
        draw_transitions,
        draw_usage,
        transitions,
        usage,
    )
    from ulna.analysis.discovery import discover as find
    from ulna.analysis.grid import Tile, TileGroup, show_grid
    from ulna.cli.events import check_new_files
    from ulna.cli.loading import load_models
    from ulna.dataset import Dataset

    check_new_files(page, labels)
    if examples < 1:
        raise InputError(f"examples: expected at least 1, found {examples}")
    (loaded,), dataset = load_models([model], device), Dataset(data)
    if by is not None:
        column(dataset, by)
    motifs = find(loaded.embed(dataset, pooling=pooling, match_joints=match_joints), options)
    ids, names = dataset.ids, [f"motif {number + 1}" for number in range(motifs.num_motifs)]
    compared = usage(motifs, dataset, by) if by is not None else []
    groups = []
    for number, name in enumerate(names):
        own = (motifs.labels == number).nonzero()[0]
        tiles = [Tile(dataset.clip(int(clip)), ids[clip]) for clip in motifs.examples(number, examples, dataset.owners)]
        share = 100 * len(own) / dataset.num_clips
        note = f"{len(own):,} clips, {share:.1f} %"
        if compared:
            one = compared[number]
            most = sorted(one.share.items(), key=lambda item: -item[1])[:MOST_GROUPS]
            shares = ", ".join(f"{readable(group, 40)} ({100 * value:.0f} %)" for group, value in most)
            note += f" · most in {by} {shares} · p {one.p_value:.2g}, η² {one.effect:.2f}"
        groups.append(TileGroup(name, note, tiles, [ids[clip] for clip in own]))
        print(f"{name:10} {note}")
    figures = {}
    if motifs.num_motifs > 2:
        figures["Which motifs are alike"] = draw_dendrogram(motifs, names)
    if compared:
        figures[f"How often, by {by}"] = draw_usage(compared, names)
    if (follows := transitions(motifs, dataset)) is not None:
        figures["What follows what in a recording"] = draw_transitions(follows, names)
    left = int((motifs.labels == NOISE).sum())
    sub = f"{motifs.num_motifs} motifs in {dataset.num_clips:,} clips{f', {left:,} clips in none' if left else ''}. "
    if motifs.stability:
        sub += f"Halves of the clips agree on them to {100 * motifs.stability.get(motifs.num_motifs, 0.0):.0f} %. "
    sub += "Name them, give the same name to motifs that belong together, and save the names as labels for ulna fit."
    if labels:
        with new_file(labels) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            rows = [(ids[clip], names[motif]) for clip, motif in enumerate(motifs.labels.tolist()) if motif != NOISE]
            csv.writer(file).writerows([("file", "label"), *rows])
        print(f"{readable(str(labels), 200)}: {len(rows):,} clips")
    print(show_grid(groups, page, kind="discover", title=data.name, sub=sub, figures=figures))


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(discover, arguments, prog="discover")
