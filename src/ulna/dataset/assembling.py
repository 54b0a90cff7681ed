"""Long recordings assembled from short clips, to evaluate timelines where no annotated recordings exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ulna.core import Clip, InputError, random_stream
from ulna.dataset.dataset import Dataset
from ulna.formats.annotations import Annotation


def assemble(
    dataset: Dataset,
    clips: np.ndarray,
    *,
    per_recording: int = 10,
    transition: tuple[float, float] = (0.5, 1.5),
    seed: int = 0,
) -> list[tuple[Clip, list[Annotation]]]:
    """Return recordings that show clips one after another in random order, with transitions that have no label.

    Every clip is moved so that the first person's centre goes on where it was. In a transition all joints move in a
    straight line, starting and ending slowly. This is easier than real recordings: actions are complete, and nothing
    else happens between them.

    Args:
        dataset: Dataset with the clips.
        clips: (B,) indices of labelled clips.
        per_recording: Number of clips of a recording; the last one has the remaining clips.
        transition: Shortest and longest transition in seconds.
        seed: Seed of the order and of the transitions.

    Returns:
        Recordings named "assembled/SEED-NUMBER", each with the times and labels of its clips.

    Raises:
        InputError: If there are no clips, or clips without a label, of several frame rates, or transitions that end
            before they start.
    """
    rates = set(dataset.fps[clips].tolist())
    if not len(clips) or (dataset.labels[clips] < 0).any() or len(rates) != 1:
        raise InputError(
            f"{dataset.path}: expected labelled clips of one frame rate, found {len(clips)} clips, "
            f"{int((dataset.labels[clips] < 0).sum())} without a label, of {len(rates)} frame rates"
        )
    if per_recording < 1:
        raise InputError(f"per_recording: expected at least 1 clip, found {per_recording}")
    shortest, longest = transition
    if not 0 <= shortest <= longest:
        raise InputError(f"transition: expected two times in order, found {shortest:g} to {longest:g}")
    random = random_stream(seed, "assembly")
    order = random.permutation(clips)
    recordings = []
    for number, start in enumerate(range(0, len(order), per_recording)):
        chosen = [dataset.clip(int(clip)) for clip in order[start : start + per_recording]]
        pauses = random.uniform(shortest, longest, len(chosen) - 1)
        joined, bounds = join_clips(chosen, pauses, f"assembled/{seed}-{number:03d}")
        annotations = [
            Annotation(start / joined.fps, end / joined.fps, str(clip.label))
            for clip, (start, end) in zip(chosen, bounds, strict=True)
        ]
        recordings.append((joined, annotations))
    return recordings


def join_clips(clips: Sequence[Clip], pauses: Float[np.ndarray, " n"], name: str) -> tuple[Clip, list[tuple[int, int]]]:
    """Return a recording that shows clips one after another, see `assemble`, and first frame and end of each in it.

    Args:
        clips: Clips of one frame rate.
        pauses: Duration of the transition after each clip but the last, in seconds.
        name: Id of the recording.
    """
    first = clips[0]
    position, visible = [first.position], [first.visible]
    bounds = [(0, first.num_frames)]
    for clip, pause in zip(clips[1:], pauses, strict=True):
        before, shown = position[-1][-1], visible[-1][-1]
        moved = clip.position + (_centre(clip, before, shown) - _centre(clip, clip.position[0], clip.visible[0]))
        moved = np.where(clip.visible[..., None], moved, 0).astype(np.float32)
        num = round(float(pause) * first.fps)
        share = np.linspace(0, 1, num + 2)[1:-1, None, None, None]
        share = share * share * (3 - 2 * share)
        both = shown & clip.visible[0]
        between = np.where(both[..., None], (1 - share) * before + share * moved[0], 0).astype(np.float32)
        position += [between, moved]
        visible += [np.repeat(both[None], num, axis=0), clip.visible]
        start = bounds[-1][1] + num
        bounds.append((start, start + clip.num_frames))
    recording = replace(
        first,
        id=name,
        position=np.concatenate(position),
        visible=np.concatenate(visible),
        label=None,
        subject=None,
        view=None,
        setup=None,
        splits={},
        confidence=None,
        tracks=None,
        frame_numbers=None,
        recording=None,
        group=None,
    )
    return recording, bounds


def _centre(clip: Clip, position: Float[np.ndarray, "P K 3"], visible: np.ndarray) -> Float[np.ndarray, " 3"]:
    """Return where the first person's centre is on the ground; the origin if it is missing."""
    centre = clip.skeleton.index(clip.skeleton.centre)
    return position[0, centre] * [1, 0, 1] if visible[0, centre] else np.zeros(3)
