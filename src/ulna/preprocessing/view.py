"""View by the first frame: the body's own axes at the start of a clip become the coordinate axes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ulna.batch import Batch
from ulna.batch.transforms import visible_neighbours
from ulna.core import InputError, Skeleton

SHORTEST = 0.01  # metres; shorter vectors do not define a direction


def view_by_first_frame(position: Float[Tensor, "F P K 3"], guides: Batch) -> Float[Tensor, "F P K 3"]:
    """Rotate and move each clip so that its first frame shows an upright body that faces the viewer.

    The middle of the hips becomes the origin, the trunk the vertical axis, and the line across the hips is parallel to
    the x axis, all in the first frame; later frames are moved alike, so that changes of heading and walking stay
    visible. As Su et al. (Predict & Cluster, CVPR 2020) prepare NTU RGB+D, without the reflection of their code. If the
    first frame does not show hips and trunk, the first one that does is used; clips without one stay as they are.

    Args:
        position: Positions to transform.
        guides: One reference person per clip.

    Raises:
        InputError: If the skeleton has no hips or no trunk above them.
    """
    pelvis, spine, left, right = (guides.skeleton.index(joint) for joint in trunk_and_hips(guides.skeleton))
    body, seen = guides.position[:, 0], guides.visible[:, 0]  # (F, K, 3), (F, K)
    up, across = body[:, spine] - body[:, pelvis], body[:, right] - body[:, left]
    flat = across - (across * normalize(up, dim=1)).sum(dim=1, keepdim=True) * normalize(up, dim=1)
    shown = seen[:, [pelvis, spine, left, right]].all(dim=1)
    shown = shown & (up.norm(dim=1) >= SHORTEST) & (flat.norm(dim=1) >= SHORTEST)
    first = visible_neighbours(guides, shown)[1][guides.packing.start]  # (F,), -1 if there is none
    known, first = first >= 0, first.clamp(min=0)
    x, y = normalize(flat[first], dim=1), normalize(up[first], dim=1)
    axes = torch.stack([x, y, torch.linalg.cross(x, y)], dim=1)[:, None, None]  # (F, 1, 1, 3, 3), rows
    moved = position - body[first, pelvis][:, None, None]
    turned = (axes * moved[..., None, :]).sum(dim=-1)  # no matrix product: autocast would round it
    return torch.where(known[:, None, None, None], turned, position)


def trunk_and_hips(skeleton: Skeleton) -> tuple[str, str, str, str]:
    """Return the joint between the hips, the joint of the trunk above it, and the left and right hip.

    Raises:
        InputError: If the skeleton has none.
    """
    links = {(one, two) for k, p in skeleton.bones for one, two in ((k, p), (p, k))}
    trunk = [skeleton.index(joint) for joint in skeleton.parts.get("trunk", ())]
    if skeleton.hips is not None:
        left, right = skeleton.hips
        for pelvis in trunk:
            above = [joint for joint in trunk if (joint, pelvis) in links]
            if above and (left, pelvis) in links and (right, pelvis) in links:
                return tuple(skeleton.joints[joint] for joint in (pelvis, above[0], left, right))  # type: ignore[return-value]
    raise InputError(
        f"skeleton {skeleton.name!r} names no trunk above two hips, so the view of its clips is unknown. "
        "Use view 'none'."
    )
