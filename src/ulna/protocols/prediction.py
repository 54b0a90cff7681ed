"""Prediction: labels for clips outside any store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ulna.core import Clip
from ulna.data import Batch
from ulna.protocols.classifier import Classifier
from ulna.train.run import Run

CLIPS_AT_ONCE = 128


@torch.inference_mode()
def predict(run: Run, clips: Sequence[Clip], *, protocol: str = "linear") -> list[tuple[str, float]]:
    """Label and confidence (softmax, 0 to 1) of each clip, by the classifier that a protocol left in the run.

    Raises ValueError for clips of another skeleton or with more persons than the run's, FileNotFoundError if the run
    was not evaluated.
    """
    classifier = Classifier.open(run.path, protocol)
    encoder = classifier.encoder_for(run)
    for clip in clips:
        if not run.fits(clip.skeleton) or clip.num_persons > run.num_persons:
            raise ValueError(
                f"clip {clip.id!r}: expected skeleton {run.skeleton.name!r} and at most {run.num_persons} persons, "
                f"got {clip.skeleton.name!r} and {clip.num_persons}; this run cannot label it"
            )
    device = next(encoder.parameters()).device
    labelled: list[tuple[str, float]] = []
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        part = clips[start : start + CLIPS_AT_ONCE]
        batch = Batch.from_clips([_widened(clip, run.num_persons) for clip in part], max_frames=run.form.crop)
        features = encoder.embed(run.form(batch.to(device))).float().cpu()
        confidence, label = classifier(features).max(dim=1)
        labelled += [
            (classifier.classes[i], float(c)) for i, c in zip(label.tolist(), confidence.tolist(), strict=True)
        ]
    return labelled


def _widened(clip: Clip, num_persons: int) -> Clip:
    """The clip with absent persons added, up to the number that the encoder takes."""
    more = [(0, 0), (0, num_persons - clip.num_persons), (0, 0)]
    position = clip.position.astype(np.float32)
    return replace(clip, position=np.pad(position, [*more, (0, 0)]), present=np.pad(clip.present, more))
