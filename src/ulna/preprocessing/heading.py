"""Reference positions and headings of bodies, used for normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ulna.batch import Batch
from ulna.batch.transforms import visible_neighbours
from ulna.core import InputError

Heading = Literal["released", "exact", "clip", "first", "none"]


def reference_persons(batch: Batch) -> Batch:
    """Return the batch with one person per clip: the first whose centre joint is ever visible."""
    person = reference_person(batch)[:, None, None].expand_as(batch.visible[:, :1])  # (F, 1, K)
    position = batch.position.gather(1, person[..., None].expand_as(batch.position[:, :1]))
    return replace(batch, position=position, visible=batch.visible.gather(1, person))


def reference_person(batch: Batch) -> Tensor:
    """Return (F,) the first person of each frame's clip whose centre joint is ever visible."""
    return forward_fill(batch, batch.skeleton.centre)[2].int().argmax(dim=1)


def forward_fill(batch: Batch, joint: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the path of a joint; gaps are filled with the last visible position, or at the start with the first one.

    Returns:
        Positions (F, P, 3), the frame of each clip's first visible position (F, P), and whether the joint is ever
        visible in the clip (F, P).
    """
    index = batch.skeleton.index(joint)
    before, after = visible_neighbours(batch, batch.visible[:, :, index])
    start = batch.packing.start[:, None]
    first = after[batch.packing.start]
    ever = first >= 0
    source = torch.where(before >= 0, before, after).maximum(start)
    first = first.maximum(start)
    path = batch.position[:, :, index]
    return path.gather(0, source[..., None].expand_as(path)), first, ever


def align_heading(position: Tensor, batch: Batch, heading: Heading) -> Tensor:
    """Rotate frames about the vertical axis so that the shoulders are parallel to the x axis.

    Persons whose shoulders are never visible in a clip are not rotated.

    Args:
        position: (F, P, K, 3) to rotate.
        batch: Batch whose shoulders define the heading, of each person or of one reference person for all.
        heading: "exact" aligns every frame, "released" does so like the code of GL-Transformer's authors, "clip" aligns
            a clip once by its average heading, "first" once by its first frame, "none" keeps the camera view.

    Raises:
        InputError: If the skeleton has no shoulders.
    """
    if heading == "none":
        return position
    if batch.skeleton.shoulders is None:
        raise InputError(
            f"skeleton {batch.skeleton.name!r} names no shoulders, so the heading of its clips is unknown. "
            "Use heading 'none', or name the shoulders of the skeleton."
        )
    (left, _, left_seen), (right, _, right_seen) = (forward_fill(batch, joint) for joint in batch.skeleton.shoulders)
    across = right - left  # (F, P, 3)
    known = left_seen & right_seen
    x, z = torch.where(known, across[..., 0], 1), torch.where(known, across[..., 2], 0)
    if heading in ("exact", "clip", "first"):
        if heading == "clip":
            x, z = (batch.packing.mean(side)[batch.packing.clip] for side in (x, z))
        if heading == "first":
            x, z = x[batch.packing.start], z[batch.packing.start]
        angle = -torch.atan2(z, x)
        cos, sin = angle.cos(), angle.sin()
    else:
        one, two = (batch.visible[:, :, batch.skeleton.index(joint)] for joint in batch.skeleton.shoulders)
        now = torch.where(one & two, z, 0)
        total = z.new_zeros(batch.num_clips, z.shape[1]).index_add(0, batch.packing.clip, now)
        cos = x / (torch.stack([x, z]).norm(dim=0) + 1e-4)
        sin = (1 - cos**2).clamp(min=0).sqrt() * torch.where(total >= 0, -1.0, 1.0).to(z.dtype)[batch.packing.clip]
    cos, sin = cos[..., None], sin[..., None]
    old_x, y, old_z = position.unbind(dim=-1)
    return torch.stack([cos * old_x - sin * old_z, y, sin * old_x + cos * old_z], dim=-1)
