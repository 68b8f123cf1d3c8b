r"""Optimal transport between two clouds of points by Sinkhorn's iterations in the log domain.

$W(X, Y) = \sum_{ij} \pi_{ij} \|x_i - y_j\|^p$ of the plan $\pi$ that minimises this cost less $\epsilon$ times its
entropy, with equal masses on either side. Dual potentials are iterated instead of scalings, so that an $\epsilon$ far
below the costs does not underflow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["costs", "plan", "transport"]

_FLOOR, _UNDERFLOW = -60.0, 1e-20  # no denormal numbers, which are slow; columns with less mass are computed anew


def costs(x: Tensor, y: Tensor, p: float = 2.0) -> Tensor:
    r"""$\|x_i - y_j\|_2^p$ of points (n, D) and (m, D): (n, m).

    >>> costs(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]])).tolist()
    [[9.0], [4.0]]
    """
    squared = (x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
    return squared if p == 2 else squared.pow(p / 2)


def plan(cost: Tensor, blur: float, iterations: int) -> Tensor:
    r"""The transport plan of equal masses $1/n$ and $1/m$ after some iterations.

    Columns have their mass to rounding; rows have theirs once the iterations have converged, for which a small blur
    needs many. An iteration takes one exponential an entry, where two updates by log-sum-exp would take two.

    Args:
        cost: (n, m).
        blur: $\epsilon$, the weight of the entropy, in units of the cost.
        iterations: updates of both potentials.

    Returns:
        (n, m), adding up to 1; without gradient.

    References:
        Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport, NeurIPS 2013.
        Peyré and Cuturi, Computational Optimal Transport, 2019 (section 4.4, log domain).

    >>> plan(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), blur=0.01, iterations=10).round(decimals=6).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    scaled = cost.detach() / -blur
    n, m = cost.shape
    f, g = scaled.new_zeros(n, 1), scaled.new_zeros(1, m)
    for _ in range(iterations):
        shifted = scaled + g
        highest = shifted.amax(1, keepdim=True)
        moved = shifted.sub_(highest).clamp_(min=_FLOOR).exp_()
        total = moved.sum(1, keepdim=True).mul_(n)
        f = -highest - total.log()
        mass = moved.div_(total).sum(0, keepdim=True).mul_(m)  # rows have theirs; what columns lack moves g
        change = -mass.log()
        empty = (mass < _UNDERFLOW).squeeze(0)
        if bool(empty.any()):
            change[:, empty] = -math.log(m) - torch.logsumexp(scaled[:, empty] + f, 0, keepdim=True) - g[:, empty]
        g = g + change
    return scaled.add_(f).add_(g).exp_()


def transport(x: Tensor, y: Tensor, *, blur: float = 1e-3, iterations: int = 10) -> Tensor:
    r"""The cost $\sum_{ij} \pi_{ij} \|x_i - y_j\|^2$ of moving one cloud of points onto another, as a scalar.

    Its gradient holds the plan constant, which is exact for the plan that the iterations converge to.

    Args:
        x: (n, D) points, with a gradient if they require one.
        y: (m, D) points.
        blur: weight of the entropy in the plan.
        iterations: of the plan.

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    >>> round(float(transport(x, y, blur=0.1, iterations=100)), 2)  # half of the mass moves by 2
    2.0
    """
    moved = plan(costs(x.detach(), y.detach()), blur, iterations)
    ends = moved.sum(1) @ x.square().sum(1) + moved.sum(0) @ y.square().sum(1)
    return ends - 2 * (x * (moved @ y)).sum()
