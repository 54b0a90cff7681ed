"""Change points: where movement changes in a long recording, without labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ulna.core import Clip, Config, MissingError, NonNegativeSeconds, Seconds, Share
from ulna.formats.annotations import Annotation
from ulna.models.timeline import AT_ONCE, Scan, Timeline, part_of

NUM_COMPONENTS = 32  # principal components of the embeddings that are compared


class Changes(Config):
    """How change points are found."""

    window: Seconds = 1.0
    """Length of the windows that are compared, in seconds."""
    stride: Seconds = 0.2
    """Seconds from the start of one window to that of the next."""
    min_visible: Share = 0.5
    """Minimum share of a window's frames in which the person is visible; other windows are left out."""
    min_duration: NonNegativeSeconds = 0.8
    """Minimum duration of a part in seconds."""
    penalty: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Cost of a change; a larger one finds fewer parts."""


def change_points(
    recording: Clip,
    embed: Callable[[list[Clip]], Float[np.ndarray, "B E"]],
    *,
    options: Changes | None = None,
    person: str | None = None,
) -> Timeline:
    """Cut a recording where movement changes.

    Embeddings of overlapping windows are compared by a Gaussian kernel, and the recording is cut such that the windows
    of each part are alike: Arlot, Celisse, Harchaoui 2019 (arXiv 1202.3878), in `ruptures`.

    Args:
        recording: The recording, of one person or of persons that are embedded together.
        embed: Returns embeddings of clips.
        options: Length of windows and cost of a change.
        person: The person's name.

    Returns:
        A timeline whose classes are "part 1", "part 2", and so on, in order.

    Raises:
        MissingError: If ruptures is not installed.
    """
    options = options or Changes()
    scan = Scan(windows=(options.window,), stride=options.stride, min_visible=options.min_visible)
    parts: list[tuple[int, int]] = []
    for windows in _connected(scan.of(recording), math.ceil(options.stride * recording.fps)):
        rows = np.concatenate([
            embed([part_of(recording, start, end) for start, end in windows[first : first + AT_ONCE]])
            for first in range(0, len(windows), AT_ONCE)
        ])  # fmt: skip
        middles = [(start + end) // 2 for start, end in windows]
        inner = [(middles[after - 1] + middles[after]) // 2 for after in _changes(rows, options)]
        parts += itertools.pairwise([windows[0][0], *inner, windows[-1][1]])
    return _timeline(recording, parts, person)


def _connected(windows: list[tuple[int, int]], stride: int) -> list[list[tuple[int, int]]]:
    """Divide windows where the person is out of sight between one and the next; `stride` is in frames."""
    found: list[list[tuple[int, int]]] = []
    for window in windows:
        if found and window[0] <= max(found[-1][-1][1], found[-1][-1][0] + stride):
            found[-1].append(window)
        else:
            found.append([window])
    return found


def _changes(rows: Float[np.ndarray, "N E"], options: Changes) -> list[int]:
    """Return the first window of every part but the first."""
    try:
        from ruptures import KernelCPD
    except ImportError:
        raise MissingError("change points: expected the package ruptures. pip install 'ulna[changes]'") from None
    least = max(1, round(options.min_duration / options.stride))
    rows = StandardScaler().fit_transform(rows)
    if len(rows) < 2 * least or not rows.any():
        return []
    rows = PCA(min(NUM_COMPONENTS, *rows.shape), random_state=0).fit_transform(rows)
    found = KernelCPD(kernel="rbf", min_size=least).fit(rows).predict(pen=options.penalty)
    return [int(after) for after in found[:-1]]


def _timeline(recording: Clip, parts: list[tuple[int, int]], person: str | None) -> Timeline:
    """Return a timeline whose events are the parts, in order."""
    names = tuple(f"part {number}" for number in range(1, len(parts) + 1)) or ("part 1",)
    probabilities = np.full((recording.num_frames, len(names)), np.nan)
    events = []
    for number, (start, end) in enumerate(parts):
        probabilities[start:end] = np.eye(len(names))[number]
        first, last = (recording.start_time + frame / recording.fps for frame in (start, end))
        events.append(Annotation(first, last, label=names[number], person=person))
    return Timeline(recording.id, person, recording.fps, names, probabilities, recording.start_time, tuple(events))
