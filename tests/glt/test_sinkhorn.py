"""Optimal transport against sorting, a linear programme and plain log-sum-exp iterations."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from glt.sinkhorn import costs, plan, transport


def exact(cost: np.ndarray) -> float:
    """The least cost of moving equal masses, as a linear programme over plans."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    masses = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return float(linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=masses).fun)


def test_powers_of_distances() -> None:
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[3.0, 0.0]])
    assert costs(x, y).tolist() == [[9.0], [16.0]]
    assert costs(x, y, p=1.0).tolist() == [[3.0], [4.0]]
    assert bool((costs(x, x) >= 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_a_small_blur_finds_the_least_cost(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(n, 3, generator=generator, dtype=torch.float64) for n in (6, 9))
    expected = exact(costs(x, y).numpy())
    assert transport(x, y, blur=1e-3, iterations=3000).item() == pytest.approx(expected, rel=0.01)
    assert transport(x, y, blur=10.0, iterations=50).item() > 1.2 * expected  # near the product of the masses


def test_on_a_line_the_sorted_points_meet() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(8, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = (x.sort(0).values - y.sort(0).values).square().mean()
    assert transport(x, y, blur=1e-4, iterations=3000).item() == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("blur", [1e-4, 1e-3, 0.1])
@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_it_is_plain_log_domain_sinkhorn(blur: float, iterations: int) -> None:
    """Squared distances up to 2 are 20,000 times the smallest blur: every exponential of a row may underflow."""
    generator = torch.Generator().manual_seed(3)
    points = torch.softmax(8 * torch.randn(50, 4, generator=generator), 1)
    cost = costs(points[:20], points[20:])
    scaled = cost.double() / -blur
    g = torch.zeros(1, 30, dtype=torch.float64)
    for _ in range(iterations):
        f = -math.log(20) - torch.logsumexp(scaled + g, 1, keepdim=True)
        g = -math.log(30) - torch.logsumexp(scaled + f, 0, keepdim=True)
    found = plan(cost, blur, iterations)
    torch.testing.assert_close(found.double(), (scaled + f + g).exp(), rtol=2e-2, atol=1e-6)
    torch.testing.assert_close(found.sum(0), torch.full((30,), 1 / 30), rtol=1e-3, atol=0)


def test_the_gradient_is_that_of_the_exact_distance() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.rand(7, 2, generator=generator, dtype=torch.float64)
    (grad,) = torch.autograd.grad(transport(x, y, blur=1e-3, iterations=3000), x)
    eps, expected = 1e-5, np.zeros((5, 2))
    for index in np.ndindex(5, 2):
        ends = []
        for sign in (1, -1):
            moved = x.detach().clone()
            moved[index] += sign * eps
            ends.append(exact(costs(moved, y).numpy()))
        expected[index] = (ends[0] - ends[1]) / (2 * eps)
    np.testing.assert_allclose(grad.numpy(), expected, atol=5e-3)


def test_points_in_one_place_cost_nothing() -> None:
    x = torch.full((3, 2), 0.5, requires_grad=True)
    cost = transport(x, torch.full((4, 2), 0.5))
    cost.backward()
    assert cost.item() == pytest.approx(0.0, abs=1e-6)
    assert x.grad is not None
    assert float(x.grad.abs().max()) < 1e-6
