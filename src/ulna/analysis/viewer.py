"""Pages that show clips as moving skeletons, with confidences, annotations and measures of quality."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulna.analysis.report import animation, bones, flatten, write_page
from ulna.core import Clip, random_stream
from ulna.dataset import Dataset
from ulna.models import Timeline
from ulna.quality import QualityReport

MOST_CLIPS, MOST_FRAMES = 24, 3000
MOST_POINTS, MOST_PLAYED = 3000, 60


@dataclass(frozen=True)
class Shown:
    """A clip to show.

    Args:
        clip: The clip.
        annotations: Labelled parts: first frame, frame after the last, label.
        lanes: One per person with labelled parts of their own; they are drawn below one another, as pale as they are
            uncertain.
    """

    clip: Clip
    annotations: tuple[tuple[int, int, str], ...] = ()
    lanes: tuple[Timeline, ...] = ()


def show_clips(clips: Sequence[Shown], out: str | Path, *, title: str, more: int = 0) -> Path:
    """Write a page with moving skeletons to a self-contained HTML file.

    Args:
        clips: Clips of one skeleton; the first 24 are shown, of long ones 3,000 frames.
        out: File to write.
        title: Title of the page.
        more: Number of clips that are not given.

    Returns:
        Path of the file.
    """
    first = clips[0].clip
    left = len(clips) - MOST_CLIPS + more
    sub = f"{first.skeleton.name}, {first.skeleton.num_joints} joints, {first.dimensions}-D in {first.units}. "
    sub += "Pale joints have a low confidence. " if first.confidence is not None else ""
    sub += "Drag to rotate the body. " if first.dimensions == 3 else ""
    sub += "Colours are persons. " if first.num_persons > 1 else ""
    sub += f"The first {min(len(clips), MOST_CLIPS)} clips of {len(clips) + more:,}." if left > 0 else ""
    return write_page("viewer.html", _content(clips[:MOST_CLIPS], "show", title, sub), Path(out))


def show_timelines(recordings: Sequence[tuple[Clip, Sequence[Timeline]]], out: str | Path, *, title: str) -> Path:
    """Write a page with timelines above the moving skeletons of recordings, and a table of events.

    Args:
        recordings: Recordings of one skeleton with their timelines; the first 24 are shown, of long ones 3,000 frames.
        out: File to write.
        title: Title of the page.

    Returns:
        Path of the file.
    """
    shown = [Shown(clip, lanes=tuple(timelines)) for clip, timelines in recordings[:MOST_CLIPS]]
    num_events = sum(len(timeline.events) for _, timelines in recordings for timeline in timelines)
    left = f" The first {MOST_CLIPS} recordings of {len(recordings)}." if len(recordings) > MOST_CLIPS else ""
    sub = f"{num_events:,} event{'' if num_events == 1 else 's'}. Pale events are uncertain.{left}"
    return write_page("viewer.html", _content(shown, "timeline", title, sub), Path(out))


def show_quality(report: QualityReport, clips: Sequence[Clip], out: str | Path, *, title: str) -> Path:
    """Write a page with measures of quality and the worst clips as moving skeletons.

    Args:
        report: The measures.
        clips: The clips that were measured.
        out: File to write.
        title: Title of the page.

    Returns:
        Path of the file.
    """
    by_id = {clip.id: clip for clip in clips}
    worst = [Shown(by_id[one.clip]) for one in report.worst[:MOST_CLIPS]]
    facts = {
        one.clip: f"{one.num_frames:,} frames; {100 * float(np.mean(one.missing)):.1f} % of joints missing, "
        f"{100 * one.empty:.1f} % of frames empty, {one.swaps} frames with swapped left and right"
        for one in report.worst[:MOST_CLIPS]
    }
    lines = report.text().splitlines()
    content = _content(worst, "check", title, f"{lines[0]}; {lines[1]}. The worst clips come first.")
    for own in content["clips"]:
        own["facts"] = facts[own["id"]]
    columns = [report.per_joint(name) for name in ("missing", "confidence", "jitter", "fast")]
    rows = zip(report.skeleton.joints, *columns, strict=True)
    table = [[name, *(None if np.isnan(v) else round(float(v), 5) for v in values)] for name, *values in rows]
    return write_page("viewer.html", content | {"table": table, "advice": report.advice or ["nothing"]}, Path(out))


def show_map(dataset: Dataset, vectors: np.ndarray, out: str | Path, *, title: str) -> Path:
    """Write a page with a map of embeddings, whose clips play when their point is clicked.

    Args:
        dataset: Dataset of the clips.
        vectors: (N, E) embedding of each clip.
        out: File to write.
        title: Title of the page.

    Returns:
        Path of the file.
    """
    kept = np.arange(dataset.num_clips)
    if len(kept) > MOST_POINTS:
        kept = np.sort(random_stream(0, "map").choice(kept, MOST_POINTS, replace=False))
    place = flatten(torch.from_numpy(np.asarray(vectors[kept], dtype=np.float32)))
    played = kept[np.unique(np.linspace(0, len(kept) - 1, MOST_PLAYED).round().astype(int))].tolist()
    names, recordings, ids = dataset.label_names, dataset.recordings, dataset.ids
    is_labelled = any(names)
    groups = [names[c] or ("no label" if is_labelled else recordings[c]) for c in kept]
    points = [
        [*map(float, place[i]), groups[i], ids[clip], played.index(clip) if clip in played else -1]
        for i, clip in enumerate(kept.tolist())
    ]
    content = _content(
        [Shown(dataset.clip(clip)) for clip in played], "map", title,
        f"{dataset.num_clips:,} clips, {vectors.shape[1]} dimensions each, laid out by t-SNE.",
    )  # fmt: skip
    note = f"Click on a point to see its clip. Colours are {'labels' if is_labelled else 'recordings'}."
    return write_page("viewer.html", content | {"map": points, "mapnote": note}, Path(out))


def _content(clips: Sequence[Shown], kind: str, title: str, sub: str) -> dict[str, Any]:
    skeleton = clips[0].clip.skeleton
    return {
        "kind": kind,
        "title": title,
        "sub": sub,
        "run": title,
        "recipe": "",
        "dimensions": clips[0].clip.dimensions,
        "joints": list(skeleton.joints),
        "bones": bones(skeleton),
        "classes": [],
        "labels": sorted(
            {label for one in clips for _, _, label in one.annotations}
            | {event.label for one in clips for lane in one.lanes for event in lane.events}
        ),
        "clips": [_clip(one) for one in clips],
    }


def _clip(shown: Shown) -> dict[str, Any]:
    """Return a clip for playback."""
    clip = shown.clip
    step = -(-clip.num_frames // MOST_FRAMES)
    kept = np.arange(0, clip.num_frames, step)
    persons = [person for person in range(clip.num_persons) if clip.visible[kept, person].any()]
    opacity = []
    if clip.confidence is not None:
        values = np.clip(np.nan_to_num(clip.confidence[kept]), 0, 1)
        opacity = [base64.b64encode((255 * values[:, p]).astype(np.uint8).tobytes()).decode() for p in persons]
    first = 0 if clip.frame_numbers is None else int(clip.frame_numbers[0])
    size = f", image {clip.image_size[0]} x {clip.image_size[1]}" if clip.image_size else ""
    people = f"{len(persons)} person{'' if len(persons) == 1 else 's'}"
    return animation(clip, frames=kept) | {
        "fps": clip.fps / step,
        "start": max(0, first) / clip.fps,
        "name": f"{clip.label} ({clip.id})" if clip.label else clip.id,
        "label": -1,
        "opacity": opacity,
        "annotations": [[start // step, -(-end // step), label] for start, end, label in shown.annotations],
        "lanes": [_lane(lane, step) for lane in shown.lanes],
        "facts": f"{clip.num_frames:,} frames at {clip.fps:g} per second, {people}{size}",
    }


def _lane(timeline: Timeline, step: int) -> dict[str, Any]:
    """Return a person's events: first frame, frame after the last, label, probability, and times in seconds."""
    frames = timeline.fps / step
    return {
        "person": timeline.person or "",
        "events": [
            [
                round((event.start - timeline.first) * frames),
                round((event.end - timeline.first) * frames),
                event.label,
                1.0 if event.confidence is None else round(event.confidence, 3),
                round(event.start, 2),
                round(event.end, 2),
            ]
            for event in timeline.events
        ],
    }


def recordings_of(dataset: Dataset) -> tuple[list[Shown], int]:
    """Return the recordings of a dataset with the labels of their windows, and how many are left out.

    Windows that overlap or follow one another are shown as the one recording they were cut from.

    Args:
        dataset: The dataset.
    """
    order = np.argsort(dataset.starts, kind="stable")
    (recordings, _), labels = dataset.parts, dataset.labels
    groups: list[list[int]] = []
    end = -1
    for clip in order.tolist():
        start = int(dataset.starts[clip])
        follows = groups and start <= end and recordings[clip] == recordings[groups[-1][0]]
        is_cut = "recording" in dataset.table.column_names
        if follows and is_cut:
            groups[-1].append(clip)
            end = max(end, start + int(dataset.lengths[clip]))
        else:
            groups.append([clip])
            end = start + int(dataset.lengths[clip])
    shown = []
    for group in groups[:MOST_CLIPS]:
        first = dataset.clip(group[0])
        if len(group) > 1:
            begin = int(dataset.starts[group[0]])
            last = max(int(dataset.starts[c] + dataset.lengths[c]) for c in group)
            part = slice(begin, last)
            first = replace(
                first,
                id=recordings[group[0]],
                label=None,
                position=np.array(dataset.frames[part]),
                visible=np.array(dataset.visible[part]),
                confidence=None if dataset.confidence is None else np.array(dataset.confidence[part]),
                frame_numbers=None if dataset.frame_numbers is None else np.array(dataset.frame_numbers[part]),
            )
        base = int(dataset.starts[group[0]])
        marked = tuple(
            (
                int(dataset.starts[c]) - base,
                int(dataset.starts[c] + dataset.lengths[c]) - base,
                dataset.classes[labels[c]],
            )
            for c in group
            if labels[c] >= 0
        )
        shown.append(Shown(first, marked))
    return shown, len(groups) - len(shown)
