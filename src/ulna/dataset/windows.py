"""Windows: parts of a long recording, each a row of the index that points into its frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A part of a clip.

    Args:
        id: Id of the window.
        start: Its first frame in the clip.
        length: Number of frames.
        label: Name of its class, None if unknown.
    """

    id: str
    start: int
    length: int
    label: str | None
