"""Scale of clips whose positions are not in metres."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ulna.batch import Batch
from ulna.core import Skeleton
from ulna.preprocessing.heading import reference_persons

TORSO = 0.5  # metres; length that the torso of a clip without a physical unit is scaled to


def in_metres(batch: Batch) -> Batch:
    """Convert raw positions to metres, y up.

    Millimetres are converted. Positions in pixels or without a unit are scaled so that the torso of each clip's first
    visible person is half a metre long in the median frame; positions in an image are turned upright.
    """
    position = batch.position
    if batch.dimensions == 2:
        position = position * position.new_tensor([1.0, -1.0, 1.0])
    if batch.units == "millimetres":
        position = position / 1000
    elif batch.units != "metres":
        return scale_by_torso(replace(batch, position=position, units="metres"))
    return replace(batch, position=position, units="metres")


def scale_by_torso(batch: Batch) -> Batch:
    """Scale each clip so that the torso of its first visible person is half a metre long in the median frame."""
    scale = (TORSO / torso_lengths(batch)).to(batch.position.dtype)
    return replace(batch, position=batch.position * scale[batch.packing.clip][:, None, None, None])


def torso_lengths(batch: Batch) -> Tensor:
    """Return the torso length (B,) of each clip's first visible person, in the median of the frames that show it.

    It is the distance between the middle of the shoulders and the middle of the hips. Where these are not known, it is
    the mean distance of visible joints from their centre, which is about the same in people. 1 if nobody is visible.
    """
    person = reference_persons(batch)
    position, visible = person.position[:, 0], person.visible[:, 0]  # (F, K, 3), (F, K)
    count = visible.sum(dim=1).clamp(min=1)
    centre = (position * visible[..., None]).sum(dim=1) / count[:, None]
    spread = ((position - centre[:, None]).norm(dim=-1) * visible).sum(dim=1) / count
    known = visible.sum(dim=1) > 1
    ends = _torso(batch.skeleton)
    lengths = spread
    if ends is not None:
        top, bottom = (position[:, list(joints)].mean(dim=1) for joints in ends)
        shown = visible[:, [*ends[0], *ends[1]]].all(dim=1)
        is_shown = batch.packing.mean(shown.to(position.dtype)) > 0
        by_torso = is_shown[batch.packing.clip]
        lengths = torch.where(by_torso, (top - bottom).norm(dim=-1), spread)
        known = (by_torso & shown) | (~by_torso & known)
    found = batch.packing.median(lengths, known)
    return torch.where(found > 1e-9, found, 1)


def _torso(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the joints of the shoulders and of the hips, None if a skeleton has none."""
    if skeleton.shoulders is None or skeleton.hips is None:
        return None
    return tuple(skeleton.index(joint) for joint in skeleton.shoulders), skeleton.hips
