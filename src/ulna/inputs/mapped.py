"""Clips of one skeleton as an input form for another: joints are mapped by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ulna.core import Skeleton, Slots
from ulna.core.places import stand_ins
from ulna.data import Batch
from ulna.inputs.base import InputForm


class Mapped(InputForm):
    """Wraps the form that an encoder was trained with: clips of `source` become clips of `target` before it.

    A joint of `target` that nothing in `source` stands for is absent in every frame. Raises ValueError where the
    centre or the shoulders have no counterpart.
    """

    def __init__(self, form: InputForm, source: Skeleton, target: Skeleton) -> None:
        self.form, self.target = form, target
        self.max_frames = form.max_frames
        self.joints = stand_ins(source, target)

    @property
    def absent(self) -> list[str]:
        """Joints of the target that nothing stands for."""
        return [name for name, joint in zip(self.target.joints, self.joints, strict=True) if joint is None]

    @property
    def crop(self) -> int | None:
        return self.form.crop

    def frames(self, length: int) -> np.ndarray:
        return self.form.frames(length)

    def slots(self, skeleton: Skeleton) -> Slots:  # noqa: ARG002
        return self.form.slots(self.target)

    def __call__(self, batch: Batch) -> Batch:
        known = [k for k, joint in enumerate(self.joints) if joint is not None]
        taken = [joint for joint in self.joints if joint is not None]
        num_frames, num_persons = batch.position.shape[:2]
        position = batch.position.new_zeros(num_frames, num_persons, self.target.num_joints, 3)
        present = torch.zeros(position.shape[:3], dtype=torch.bool, device=position.device)
        position[:, :, known], present[:, :, known] = batch.position[:, :, taken], batch.present[:, :, taken]
        slots = Slots.of(self.target, "mixed")
        return self.form(replace(batch, position=position, present=present, skeleton=self.target, slots=slots))
