"""The Poincare ball of curvature -c: points of norm below 1/sqrt(c); distances grow without bound near its edge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

EDGE = 1e-5  # minimum distance of points from the edge, as a fraction of the radius


def project(y: Float[Tensor, "*any D"], c: float = 1.0) -> Float[Tensor, "*any D"]:
    """Move points outside radius (1 - EDGE) / sqrt(c) back to it."""
    most = (1 - EDGE) / c**0.5
    norm = y.norm(dim=-1, keepdim=True).clamp(min=1e-15)
    return torch.where(norm > most, y / norm * most, y)


def exp0(x: Float[Tensor, "*any D"], c: float = 1.0) -> Float[Tensor, "*any D"]:
    """Map tangent vectors at the origin to the ball: tanh(sqrt(c) |x|) x / (sqrt(c) |x|), clipped near the edge."""
    length = x.norm(dim=-1, keepdim=True).clamp(min=1e-15) * c**0.5
    return project(x * (length.tanh() / length), c)


def log0(y: Float[Tensor, "*any D"], c: float = 1.0) -> Float[Tensor, "*any D"]:
    """Map points of the ball to tangent vectors at the origin; the inverse of `exp0`."""
    length = y.norm(dim=-1, keepdim=True).clamp(min=1e-15) * c**0.5
    return y * (length.clamp(max=1 - EDGE).atanh() / length)


def mobius_add(u: Float[Tensor, "*any D"], v: Float[Tensor, "*any D"], c: float = 1.0) -> Float[Tensor, "*any D"]:
    """Return the Moebius sum of u and v (Ungar 2008)."""
    uv = (u * v).sum(dim=-1, keepdim=True)
    uu, vv = ((x * x).sum(dim=-1, keepdim=True) for x in (u, v))
    above = (1 + 2 * c * uv + c * vv) * u + (1 - c * uu) * v
    return above / (1 + 2 * c * uv + c**2 * uu * vv)


def distance(u: Float[Tensor, "*any D"], v: Float[Tensor, "*any D"], c: float = 1.0) -> Float[Tensor, "*any"]:
    """Return the geodesic distance arcosh(1 + 2c |u - v|^2 / ((1 - c |u|^2) (1 - c |v|^2))) / sqrt(c).

    Its gradient is not defined where u = v.
    """
    return _from_square(((u - v) ** 2).sum(dim=-1), u, v, c)


def pairwise_distance(
    u: Float[Tensor, "*any N D"], v: Float[Tensor, "*any M D"], c: float = 1.0
) -> Float[Tensor, "*any N M"]:
    """Return the distance from every point in `u` to every point in `v`, in float64 and without gradient.

    Computed from differences rather than products, since products lose precision for close points near the edge.
    """
    with torch.no_grad(), torch.autocast(u.device.type, enabled=False):
        u, v = u.double(), v.double()
        apart = torch.cdist(u, v, compute_mode="donot_use_mm_for_euclid_dist")
        return _from_square(apart**2, u[..., :, None, :], v[..., None, :, :], c)


def _from_square(square: Tensor, u: Tensor, v: Tensor, c: float) -> Tensor:
    """Return arcosh(1 + z) / sqrt(c), where arcosh(1 + z) = log1p(z + sqrt(z (z + 2))) is accurate for small z."""
    room_u, room_v = (1 - c * (x * x).sum(dim=-1) for x in (u, v))
    z = 2 * c * square / (room_u * room_v)
    return torch.log1p(z + (z * (z + 2)).sqrt()) / c**0.5


@dataclass(frozen=True)
class PoincareBall:
    """A Poincare ball and the mapping of tokens into it.

    Args:
        curvature: c > 0; the ball has curvature -c.
        scale: Factor by which tokens are multiplied before they are mapped.
    """

    curvature: float = 1.0
    scale: float = 1.0

    def map(self, x: Float[Tensor, "*any D"]) -> Float[Tensor, "*any D"]:
        """Map tokens, as tangent vectors at the origin, into the ball."""
        return exp0(self.scale * x, self.curvature)

    def pairwise_distance(
        self, u: Float[Tensor, "*any N D"], v: Float[Tensor, "*any M D"]
    ) -> Float[Tensor, "*any N M"]:
        """Return the distance from every point in `u` to every point in `v`, in float64 and without gradient."""
        return pairwise_distance(u, v, self.curvature)

    def depth(self, u: Float[Tensor, "*any D"]) -> Float[Tensor, "*any"]:
        """Return the distance of points from the origin."""
        return distance(u, torch.zeros_like(u), self.curvature)
