"""ulna search INDEX QUERY"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from ulna.cli.options import Positional, run
from ulna.core import Clip, InputError, readable, refuse_existing, unknown_name


def search(
    index: Positional[Path],
    query: Positional[Path],
    /,
    *,
    clip: str | None = None,
    start: float | None = None,
    end: float | None = None,
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10,
    where: str = "",
    model: Path | None = None,
    data: Path | None = None,
    format: str | None = None,
    page: Path | None = None,
    device: str = "auto",
) -> None:
    """Find the clips of an index that are most like a clip, or like a part of a recording.

    Args:
        index: Index written by `ulna index`.
        query: File with a clip or recording, or a dataset.
        clip: Id of the clip in the file or dataset; may be left out if there is only one.
        start: Start of the part to compare with, in seconds.
        end: End of the part, in seconds.
        k: Number of clips to find.
        where: Condition on the clips, such as 'subject = 3 and view = 1' or 'label in ("sit", "stand")'.
        model: The index's model, if it has been moved.
        data: The index's dataset, if it has been moved; for the page.
        format: Format of the file; by default that of the model's data if it fits, else detected.
        page: HTML page to write, on which the query and the clips move; must not exist.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
    """
    from ulna.cli.loading import load_models
    from ulna.models.search import SearchIndex

    if page:
        refuse_existing(page)
    if k < 1:
        raise InputError(f"k: expected a number of at least 1, found {k}")
    opened = SearchIndex.open(index)
    if model is None and not Path(opened.info.model).is_dir():
        raise InputError(f"{index}: expected its model at {opened.info.model}, found none. Pass --model.")
    (loaded,) = load_models([model or Path(opened.info.model)], device)
    wanted = _query(query, clip, format, loaded.config.data.source)
    wanted = _part(wanted, start, end)
    hits = opened.like(loaded, wanted, k=k, condition=where)
    for hit in hits:
        print(f"{hit.similarity:6.3f}  {readable(hit.clip, 60):40}  {_facts(hit.row)}")
    if page:
        print(_page(wanted, hits, data or Path(opened.info.dataset), opened.info.fingerprint, page))


def _query(path: Path, name: str | None, format: str | None, source: Any) -> Clip:
    from ulna.cli.clips import is_dataset
    from ulna.cli.predict import read_like
    from ulna.dataset import Dataset

    if is_dataset(path):
        dataset = Dataset(path)
        ids = dataset.ids
        if name is None:
            raise InputError(f"{path}: expected the id of a clip (--clip), since it is a dataset, found none")
        if name not in ids:
            raise InputError(unknown_name(f"clip of {path}", name, ids))
        return dataset.clip(ids.index(name))
    clips = read_like([path], format, source)
    if name is None and len(clips) > 1:
        raise InputError(f"{path}: expected one clip, found {len(clips)}. Choose one with --clip.")
    chosen = [one for one in clips if name in (None, one.id)]
    if not chosen:
        raise InputError(unknown_name(f"clip of {path}", str(name), [one.id for one in clips]))
    return chosen[0]


def _part(clip: Clip, start: float | None, end: float | None) -> Clip:
    """Return the part of a clip between two times."""
    from ulna.models.timeline import part_of

    if start is None and end is None:
        return clip
    begin, stop = clip.start_time, clip.start_time + clip.num_frames / clip.fps
    start, end = begin if start is None else start, stop if end is None else end
    is_within = begin - 1 <= start < end <= stop + 1  # also false for nan
    first, last = (round((time - begin) * clip.fps) if is_within else -1 for time in (start, end))
    if not 0 <= first < last <= clip.num_frames:
        raise InputError(
            f"expected a start before the end within {begin:.2f} to {stop:.2f} seconds, found {start:g} to {end:g}"
        )
    return part_of(clip, first, last)


def _facts(row: dict[str, Any]) -> str:
    """Return what an index says about a clip, for people."""
    parts = [f"{row['begin']:.2f} - {row['begin'] + row['duration']:.2f} s"]
    for name in ("label", "subject", "view", "setup", "recording", "group"):
        if row.get(name) is not None:
            parts.append(readable(str(row[name]), 60) if name == "label" else f"{name} {readable(str(row[name]), 60)}")
    return ", ".join(parts)


def _page(query: Clip, hits: Sequence[Any], folder: Path, fingerprint: str, page: Path) -> Path:
    from ulna.analysis.grid import Tile, TileGroup, show_grid
    from ulna.dataset import Dataset

    dataset = Dataset(folder)
    if dataset.fingerprint != fingerprint:
        raise InputError(f"{folder}: expected the dataset of the index, found another. Index it again.")
    place = {name: number for number, name in enumerate(dataset.ids)}
    tiles = [
        Tile(dataset.clip(place[hit.clip]), f"{hit.similarity:.3f} · {hit.clip} · {_facts(hit.row)}") for hit in hits
    ]
    if query.skeleton != dataset.skeleton:
        groups = [TileGroup("Most alike", "", tiles)]
    else:
        caption = f"{query.num_frames / query.fps:.2f} s"
        groups = [TileGroup("Query", query.id, [Tile(query, caption)]), TileGroup("Most alike", "", tiles)]
    sub = f"The {len(hits)} clips of {folder.name} that are most like {query.id}. Drag to rotate."
    return show_grid(groups, page, kind="search", title=query.id, sub=sub)


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(search, arguments, prog="search")
