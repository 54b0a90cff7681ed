"""The Poincare ball against geoopt, and its closed forms."""

import warnings
from decimal import Decimal, getcontext

import pytest
import torch

from ulna.nn.hyperbolic import EDGE, PoincareBall, distance, exp0, log0, mobius_add, pairwise_distance, project

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import geoopt

CURVATURES = [0.1, 1.0, 2.5]


def points(c, num=64, width=7, seed=0):
    """Points between the centre and the edge of the ball."""
    torch.manual_seed(seed)
    x = torch.randn(num, width, dtype=torch.float64)
    radius = 1 - torch.logspace(-5, -0.01, num, dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True) * radius[:, None] / c**0.5


@pytest.mark.parametrize("c", CURVATURES)
def test_maps_agree_with_geoopt(c):
    ball = geoopt.PoincareBall(c=torch.tensor(c, dtype=torch.float64))
    tangent = torch.randn(64, 7, dtype=torch.float64) * torch.logspace(-3, 0, 64, dtype=torch.float64)[:, None]
    torch.testing.assert_close(exp0(tangent, c), ball.expmap0(tangent, project=False))
    u, v = points(c), points(c, seed=1).flip(0)
    torch.testing.assert_close(log0(u, c), ball.logmap0(u))
    torch.testing.assert_close(mobius_add(u, v, c), ball.mobius_add(u, v, project=False), atol=1e-9, rtol=1e-6)
    theirs = ball.dist(u, v)
    exact = theirs * c**0.5 < 14  # beyond that geoopt clamps its artanh
    assert exact.sum() > 40
    torch.testing.assert_close(distance(u, v, c)[exact], theirs[exact], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(pairwise_distance(u, v, c).diagonal(), distance(u, v, c))


@pytest.mark.parametrize("c", CURVATURES)
def test_closed_forms(c):
    x = torch.randn(200, 5, dtype=torch.float64) * 2
    assert (exp0(x * 100, c).norm(dim=-1) < 1 / c**0.5).all()
    torch.testing.assert_close(exp0(1e-6 * x, c), 1e-6 * x)
    inside = x[c**0.5 * x.norm(dim=-1) < 5]
    torch.testing.assert_close(log0(exp0(inside, c), c), inside, atol=1e-6, rtol=1e-6)
    u, v = points(c), points(c, seed=1)
    torch.testing.assert_close(distance(u, v, c), distance(v, u, c))
    assert (distance(u, u, c) == 0).all()
    across = 2 / c**0.5 * (c**0.5 * mobius_add(-u, v, c).norm(dim=-1)).clamp(max=1 - 1e-15).atanh()
    near = distance(u, v, c) < 12 / c**0.5  # beyond that artanh loses all precision
    torch.testing.assert_close(distance(u, v, c)[near], across[near], rtol=1e-5, atol=1e-8)
    assert exp0(torch.zeros(1, 3), c).tolist() == [[0, 0, 0]]


def test_the_ball_has_its_curvature_and_scale():
    """The distance of a mapped token to the origin is twice its length."""
    x = torch.randn(20, 5, dtype=torch.float64)
    for c in CURVATURES:
        ball = PoincareBall(c, 0.5)
        points = ball.map(x)
        torch.testing.assert_close(ball.depth(points), 2 * 0.5 * x.norm(dim=-1))
        torch.testing.assert_close(ball.pairwise_distance(points, points), pairwise_distance(points, points, c))


def test_single_precision_is_kept_off_the_edge():
    x = torch.randn(100, 16) * 50
    assert (exp0(x).norm(dim=-1) <= 1 - EDGE / 2).all()
    y = project(torch.full((1, 4), 0.6))
    torch.testing.assert_close(y.norm(), torch.tensor(1 - EDGE))
    assert (pairwise_distance(exp0(x), exp0(x)).diagonal() == 0).all()


def test_gradients_pass_the_origin():
    x = torch.zeros(1, 3, requires_grad=True)
    exp0(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(1, 3))


@pytest.mark.parametrize("c", CURVATURES)
def test_distances_near_the_edge_are_exact(c):
    """Near the edge, where real tokens are: distances on a diameter add up, and 50 digits agree for any two points."""
    radius = torch.tensor([0.5, 0.99, 1 - 1e-3, 1 - EDGE], dtype=torch.float64)
    axis = torch.tensor([[0.6, 0.8]], dtype=torch.float64) / c**0.5
    across = 2 / c**0.5 * (radius.atanh()[:, None] + radius.atanh())
    torch.testing.assert_close(
        pairwise_distance(radius[:, None] * axis, -radius[:, None] * axis, c), across, rtol=1e-9, atol=0
    )
    u, v = (exp0(10 * torch.randn(20, 5, dtype=torch.float64), c) for _ in range(2))
    exact = torch.tensor([_exact(one, two, c) for one, two in zip(u, v, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(distance(u, v, c), exact, rtol=1e-9, atol=0)


def _exact(u, v, c):
    getcontext().prec = 50
    u, v, k = [Decimal(x) for x in u.tolist()], [Decimal(x) for x in v.tolist()], Decimal(c)
    uu, vv, apart = (sum(x * x for x in row) for row in (u, v, [a - b for a, b in zip(u, v, strict=True)]))
    z = 2 * k * apart / ((1 - k * uu) * (1 - k * vv))
    return float((1 + z + (z * (z + 2)).sqrt()).ln() / k.sqrt())
