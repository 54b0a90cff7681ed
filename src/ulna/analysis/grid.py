"""Pages with many small moving skeletons: what a search found, or the examples of motifs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ulna.analysis.report import animation, bones, write_page
from ulna.core import Clip

MOST_TILES, MOST_FRAMES = 400, 120


@dataclass(frozen=True)
class Tile:
    """A clip to show.

    Args:
        clip: The clip.
        caption: Text below it.
    """

    clip: Clip
    caption: str


@dataclass(frozen=True)
class TileGroup:
    """Clips that are shown together.

    Args:
        name: Name of the group.
        note: Text beside the name.
        tiles: The clips.
        members: Ids of all clips of the group, for names that are given on the page.
    """

    name: str
    note: str
    tiles: Sequence[Tile]
    members: Sequence[str] = ()


def show_grid(
    groups: Sequence[TileGroup],
    out: str | Path,
    *,
    kind: str,
    title: str,
    sub: str,
    figures: Mapping[str, str] | None = None,
) -> Path:
    """Write a page with moving skeletons to a self-contained HTML file.

    If groups have members, they can be renamed on the page, groups of one name count as one, and the names are saved as
    a table of labels that `ulna fit --labels` reads.

    Args:
        groups: Groups of clips of one skeleton; the first 400 clips are shown, of long ones 120 frames. Clips that show
            nobody are left out.
        out: File to write.
        kind: What the page shows, such as "search".
        title: Title of the page.
        sub: Text below the title.
        figures: SVG figures by title, shown below the groups.

    Returns:
        Path of the file.
    """
    clips: list[dict[str, Any]] = []
    shown = []
    for group in groups:
        tiles = []
        for tile in group.tiles[: max(0, MOST_TILES - len(clips))]:
            shown_frames = np.flatnonzero(tile.clip.visible.any(axis=(1, 2)))
            if not len(shown_frames):
                continue
            kept = np.unique(np.linspace(0, tile.clip.num_frames - 1, MOST_FRAMES).round().astype(int))
            kept = kept if np.isin(kept, shown_frames).any() else shown_frames[:MOST_FRAMES]
            played = animation(tile.clip, frames=kept)
            clips.append(played | {"fps": tile.clip.fps * len(kept) / tile.clip.num_frames, "label": -1})
            tiles.append([len(clips) - 1, tile.caption])
        shown.append({"name": group.name, "note": group.note, "tiles": tiles, "members": list(group.members)})
    first = next(tile.clip for group in groups for tile in group.tiles)
    content = {
        "kind": kind,
        "title": title,
        "sub": sub,
        "dimensions": first.dimensions,
        "joints": list(first.skeleton.joints),
        "bones": bones(first.skeleton),
        "clips": clips,
        "groups": shown,
        "figures": [{"title": name, "svg": svg} for name, svg in (figures or {}).items()],
    }
    return write_page("grid.html", content, Path(out))
