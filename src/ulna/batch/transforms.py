"""Transforms of packed batches. Shapes and random numbers come from the host; the rest runs on the batch's device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ulna.batch.batch import Batch
from ulna.batch.packing import Packing
from ulna.core import Skeleton
from ulna.onnx import MOST_FRAMES


def resample(
    batch: Batch,
    lengths: np.ndarray | int,
    *,
    max_frames: int | None = None,
    window: tuple[np.ndarray, np.ndarray] | None = None,
) -> Batch:
    """Resample each clip linearly to a new length.

    Uses half-pixel centres, no antialiasing and clamped edges, like torch's `interpolate` with `align_corners=False`.
    If a joint is visible in only one of two neighbouring frames, the nearer frame is used.

    Args:
        batch: The batch.
        lengths: (B,) new number of frames of each clip, or one number for all.
        max_frames: Maximum number of frames to keep of each resampled clip.
        window: Part of each clip to resample: its start and length (B,), both as fractions of the clip.
    """
    old = batch.packing
    whole = old.of_length(lengths) if isinstance(lengths, int) else Packing(lengths, old.device)
    return resample_to(batch, whole if max_frames is None else whole.at_most(max_frames), whole.sizes, window)


def resample_long(batch: Batch, max_frames: int) -> Batch:
    """Resample clips that are longer than `max_frames` to this length."""
    new = batch.packing.at_most(max_frames)
    return batch if new is batch.packing else resample_to(batch, new, new.sizes)


def resample_to(
    batch: Batch, new: Packing, sizes: Tensor, window: tuple[np.ndarray, np.ndarray] | None = None
) -> Batch:
    """Resample each clip linearly, see `resample`.

    Args:
        batch: The batch.
        new: Packing of the new frames.
        sizes: (B,) number of frames that each clip is resampled to; `new` may have fewer.
        window: Part of each clip to resample.
    """
    old = batch.packing
    length = old.sizes.double()
    begin, share = (0.0, 1.0) if window is None else (old.of_clips(values) for values in window)
    scale, first, last = (values[new.clip] for values in (share * length / sizes, begin * length, old.sizes - 1))
    time = torch.minimum((first + (new.time + 0.5) * scale - 0.5).clamp(min=0), last)  # (F,) float64
    before = time.long()
    fraction = (time - before).to(batch.position.dtype)
    one = old.first[new.clip] + before
    two = one + (before < last)

    nearer = torch.where(fraction < 0.5, one, two)
    both = batch.visible[one] & batch.visible[two]
    blend = torch.lerp(batch.position[one], batch.position[two], fraction[:, None, None, None])
    position = torch.where(both[..., None], blend, batch.position[nearer])
    visible = new.within(both | batch.visible[nearer])
    return replace(batch, position=position, visible=visible, packing=new)


def interpolate_gaps(batch: Batch) -> Batch:
    """Linearly interpolate missing joints between the surrounding visible frames.

    Joints are filled only between the first and the last frame in which their person is visible. Before the first and
    after the last frame in which a joint is visible, it takes its position from that frame. Joints and persons that are
    never visible stay missing.
    """
    before, after = visible_neighbours(batch, batch.visible)  # (F, P, K)
    first, last = visible_neighbours(batch, batch.visible.any(dim=2))  # (F, P)
    person_visible = ((first >= 0) & (last >= 0))[..., None]
    before, after = torch.where(before >= 0, before, after), torch.where(after >= 0, after, before)
    frame = torch.arange(batch.num_frames, device=before.device)[:, None, None]
    part = ((frame - before) / (after - before).clamp(min=1)).to(batch.position.dtype)
    known = person_visible & (before >= 0)
    one, two = (
        batch.position.gather(0, frames.clamp(min=0)[..., None].expand_as(batch.position)) for frames in (before, after)
    )
    position = torch.where(known[..., None], torch.lerp(one, two, part[..., None]), batch.position)
    return replace(batch, position=position, visible=batch.visible | known)


def visible_neighbours(batch: Batch, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frames (F, ...) of the previous and the next visible value in the same clip; -1 if there is none.

    A frame in which the value is visible counts as both.
    """
    shape = (-1, *(1,) * (visible.ndim - 1))
    frames = torch.arange(batch.num_frames, device=visible.device).view(shape).expand_as(visible)
    start = batch.packing.start.view(shape)
    end = start + batch.packing.sizes[batch.packing.clip].view(shape)
    later = torch.where(visible, -frames, -batch.num_frames).flip(0)
    before, later = _running_max(torch.stack([torch.where(visible, frames, -1), later])).unbind(dim=0)
    after = -later.flip(0)
    return torch.where(before >= start, before, -1), torch.where(after < end, after, -1)


def first_frames(batch: Batch, num_frames: int) -> Batch:
    """Keep the first frames of each clip."""
    old = batch.packing
    new = old.at_most(num_frames)
    if new is old:
        return batch
    kept = old.first[new.clip] + new.time
    return replace(batch, position=batch.position[kept], visible=new.within(batch.visible[kept]), packing=new)


def _running_max(x: Tensor) -> Tensor:
    """Return the largest of the values (N, F, ...) up to each frame.

    Exported graphs have no such operator: they compute it by doubling, over the frames of a clip.
    """
    if not torch.compiler.is_exporting():
        return x.cummax(dim=1).values
    none = torch.iinfo(x.dtype).min // 2
    for power in range(MOST_FRAMES.bit_length()):
        earlier = torch.nn.functional.pad(x, (*(0, 0) * (x.ndim - 2), 2**power, 0), value=none)
        x = torch.maximum(x, earlier[:, : x.shape[1]])
    return x


def flat(batch: Batch) -> Batch:
    """Set the third coordinate of clips that are positions in an image to zero."""
    if not batch.is_image.any():
        return batch
    chosen = batch.packing.of_clips(batch.is_image)[batch.packing.clip][:, None, None, None]
    image = torch.nn.functional.pad(batch.position[..., :2], (0, 1))
    return replace(batch, position=torch.where(chosen, image, batch.position))


def crop(batch: Batch, lengths: np.ndarray, begin: np.ndarray, share: np.ndarray, *, max_frames: int | None) -> Batch:
    """Resample a part of each clip to a new length; its start and length (B,) are fractions of the clip."""
    return resample(batch, lengths, max_frames=max_frames, window=(begin, share))


def shift(batch: Batch, frames: np.ndarray) -> Batch:
    """Shift each clip by a number of frames (B,), at most its length; frames beyond its ends are mirrored."""
    packing = batch.packing
    last = packing.of_clips(packing.lengths - 1)[packing.clip]
    time = packing.time + packing.of_clips(frames)[packing.clip]
    time = torch.where(time < 0, -time - 1, torch.where(time > last, 2 * last + 1 - time, time))
    chosen = packing.start + time
    return replace(batch, position=batch.position[chosen], visible=batch.visible[chosen])


def shear(batch: Batch, matrices: Tensor) -> Batch:
    """Apply a matrix (B, 3, 3) per clip to its nodes, except to a root that holds the translation."""
    sheared = _transformed(batch, matrices)
    if batch.layout.root is not None:
        sheared[:, :, batch.layout.root] = batch.position[:, :, batch.layout.root]
    return replace(batch, position=sheared)


def rotate_yaw(batch: Batch, radians: Tensor) -> Batch:
    """Rotate each clip by an angle (B,) about the vertical axis."""
    zero, one, cos, sin = torch.zeros_like(radians), torch.ones_like(radians), radians.cos(), radians.sin()
    rows = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1)
    return replace(batch, position=_transformed(batch, rows.unflatten(-1, (3, 3))))


def rotate(batch: Batch, radians: Tensor) -> Batch:
    """Rotate each clip by three angles (B, 3), about x, then y, then z."""
    cos, sin = radians.cos().unbind(dim=-1), radians.sin().unbind(dim=-1)
    whole = torch.eye(3, dtype=radians.dtype, device=radians.device)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        matrix = torch.eye(3, dtype=radians.dtype, device=radians.device).repeat(len(radians), 1, 1)
        matrix[:, one, one] = matrix[:, two, two] = cos[axis]
        matrix[:, one, two], matrix[:, two, one] = -sin[axis], sin[axis]
        whole = matrix @ whole
    return replace(batch, position=_transformed(batch, whole))


def scale(batch: Batch, factors: Tensor) -> Batch:
    """Multiply the positions of each clip by a factor (B,)."""
    return replace(
        batch, position=batch.position * factors.to(batch.position.dtype)[batch.packing.clip][:, None, None, None]
    )


def scale_bones(batch: Batch, factors: Tensor) -> Batch:
    """Multiply the lengths of the bones of each clip by factors (B, 3) of trunk, arms and legs; directions are kept.

    Bodies are rebuilt outwards from the centre joint, which keeps its position. Bones between a visible and a missing
    joint are not meaningful: a joint next to missing ones is scaled relative to the centre.
    """
    factors = factors.to(batch.position.dtype)[batch.packing.clip]  # (F, 3)
    kinds = limbs(batch.skeleton)
    return _rebuilt(batch, lambda joint, nearer, bone: factors[:, kinds[joint], None, None] * bone)  # noqa: ARG005


def limbs(skeleton: Skeleton) -> np.ndarray:
    """Return the kind of each joint: 0 for the trunk, 1 for arms, 2 for legs."""
    kinds = {"arm": 1, "leg": 2}
    kind = {joint: kinds.get(part.rpartition("_")[2], 0) for part, joints in skeleton.parts.items() for joint in joints}
    return np.array([kind.get(name, 0) for name in skeleton.joints])


def swing(batch: Batch, axes: Tensor, angles: Tensor) -> Batch:
    """Rotate every joint of each clip, and all that hangs on it, about an axis by an angle of each frame.

    The lengths of bones are kept, and the centre joint is not rotated. Joints next to missing ones are rotated about
    the centre.

    Args:
        batch: A preprocessed batch.
        axes: (B, J, 3) unit vectors, for all joints of the skeleton.
        angles: (F, J) in radians.
    """
    axes, angles = axes.to(batch.position.dtype)[batch.packing.clip], angles.to(batch.position.dtype)
    centre = batch.skeleton.index(batch.skeleton.centre)
    rotations = {centre: torch.eye(3, dtype=axes.dtype, device=axes.device).expand(len(angles), 3, 3)}

    def rotated(joint: int, nearer: int, bone: Tensor) -> Tensor:
        before = rotations[nearer]
        own = _rotations(axes[:, joint], angles[:, joint])
        rotations[joint] = (before[..., None] * own[:, None]).sum(dim=2)
        return (before[:, None] * bone[..., None, :]).sum(dim=-1)

    return _rebuilt(batch, rotated)


def _rotations(axis: Tensor, angle: Tensor) -> Tensor:
    """Return the matrices (F, 3, 3) of rotations about unit vectors (F, 3) by angles (F,) (Rodrigues)."""
    x, y, z = axis.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).unflatten(1, (3, 3))
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return cos * identity + sin * cross + (1 - cos) * axis[:, :, None] * axis[:, None]


def _rebuilt(batch: Batch, change: Callable[[int, int, Tensor], Tensor]) -> Batch:
    """Rebuild bodies outwards from the centre joint, which keeps its position; a root keeps the translation.

    Args:
        batch: A preprocessed batch.
        change: Returns a changed bone (F, P, 3), given its joint, the neighbour nearer to the centre and the bone.
    """
    skeleton, root = batch.skeleton, batch.layout.root
    node = {skeleton.index(name): k for k, name in enumerate(batch.layout.names)}
    old = batch.position
    if root is not None:  # holds the translation; the other nodes are relative to this joint
        old = old.index_fill(2, torch.tensor([root], device=old.device), 0)
    new = list(old.unbind(dim=2))
    for joint, nearer in skeleton.outwards:
        if joint not in node:
            continue
        own, before = node[joint], node.get(nearer)
        if before is None:  # a centre that is no node is at the origin
            new[own] = change(joint, nearer, old[:, :, own])
        else:
            new[own] = new[before] + change(joint, nearer, old[:, :, own] - old[:, :, before])
    position = torch.stack(new, dim=2)
    if root is not None:
        position[:, :, root] = batch.position[:, :, root]
    return replace(batch, position=torch.where(batch.visible[..., None], position, 0))


def _transformed(batch: Batch, matrices: Tensor) -> Tensor:
    """Return the positions multiplied by a matrix (B, 3, 3) per clip."""
    rows = matrices.to(batch.position.dtype)[batch.packing.clip][:, None, None]  # (F, 1, 1, 3, 3)
    return (rows * batch.position[..., None, :]).sum(dim=-1)  # no matrix product: autocast would round it


def mirror(batch: Batch, clips: Tensor) -> Batch:
    """Mirror the selected clips (B,) of a preprocessed batch: left and right joints are exchanged and x is negated."""
    chosen = clips[batch.packing.clip][:, None, None]
    other = torch.tensor(batch.skeleton.mirror_of(batch.layout.names), device=clips.device)
    sign = torch.tensor([-1.0, 1.0, 1.0], dtype=batch.position.dtype, device=clips.device)
    position = torch.where(chosen[..., None], batch.position[:, :, other] * sign, batch.position)
    return replace(batch, position=position, visible=torch.where(chosen, batch.visible[:, :, other], batch.visible))


def move(batch: Batch, distance: Tensor) -> Batch:
    """Move clips along the horizontal axes x and z by a distance (B, 2); with a root, only the translation changes."""
    shift = torch.nn.functional.pad(distance.to(batch.position.dtype), (0, 1))[:, [0, 2, 1]]  # (B, 3)
    moved = batch.position + shift[batch.packing.clip][:, None, None]
    is_moved = batch.visible.clone()
    if batch.layout.root is not None:
        is_moved[:, :, [k for k in range(len(batch.layout)) if k != batch.layout.root]] = False
    return replace(batch, position=torch.where(is_moved[..., None], moved, batch.position))


def hide_joints(batch: Batch, hidden: Tensor) -> Batch:
    """Return the batch without some nodes of each clip (B, K): they are missing in all of its frames."""
    hidden = hidden[batch.packing.clip][:, None]  # (F, 1, K)
    position = batch.position.masked_fill(hidden[..., None], 0)
    return replace(batch, position=position, visible=batch.visible & ~hidden)


def jitter(batch: Batch, noise: Tensor) -> Batch:
    """Add noise (F, P, K, 3) to the visible nodes, except to a root that holds the translation."""
    moved = torch.where(batch.visible[..., None], batch.position + noise.to(batch.position.dtype), batch.position)
    if batch.layout.root is not None:
        moved[:, :, batch.layout.root] = batch.position[:, :, batch.layout.root]
    return replace(batch, position=moved)


def project(batch: Batch, clips: np.ndarray, angles: Tensor, distance: Tensor) -> Batch:
    """Project some clips to the image of a virtual camera, with perspective; clips in an image stay as they are.

    The camera looks at the place where each person starts. Positions in the image are scaled so that a body at that
    place keeps its size.

    Args:
        batch: A preprocessed batch whose nodes are relative to the start or, with a root, to the body's centre.
        clips: (B,) True for clips to project.
        angles: (B, 2) yaw and pitch of the camera, in radians.
        distance: (B,) distance of the camera in the units of the positions.
    """
    root, visible = batch.layout.root, batch.visible[..., None]
    yaw, pitch = angles.unbind(dim=-1)
    view = rotate(rotate_yaw(batch, yaw), torch.stack([pitch, torch.zeros_like(pitch), torch.zeros_like(pitch)], dim=1))
    whole = view.position
    if root is not None:  # relative to the centre joint, whose translation the root holds
        origin = whole[:, :, root : root + 1]
        whole = whole + origin
        whole[:, :, root : root + 1] = origin
    away = distance.to(whole.dtype)[batch.packing.clip][:, None, None]  # (F, 1, 1)
    factor = away / (away - whole[..., 2]).clamp(min=0.25 * away)  # the camera is on the positive z axis
    image = torch.nn.functional.pad(whole[..., :2] * factor[..., None], (0, 1))
    if root is not None:
        centre = image[:, :, root : root + 1].clone()
        image = image - centre
        image[:, :, root : root + 1] = centre
    clips = clips & ~batch.is_image
    chosen = batch.packing.of_clips(clips)[batch.packing.clip][:, None, None, None]
    position = torch.where(chosen & visible, image, torch.where(chosen, 0, batch.position))
    return replace(batch, position=position, in_image=batch.is_image | clips)
