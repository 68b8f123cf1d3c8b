"""Criteria from the gradients of a loss: what would change if a weight were gone.

All have the signature of `common.scores`. With several batches b, g_b is the gradient of the b-th loss and E_b the
mean over batches. Sums and scores are in single precision at least, whatever the parameter's type. Batch normalisation
and dropout act as in the mode the model is in, and leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common._scorer import Objective, Scorer, cite, losses, slopes, unchanged

__all__ = ["expansion", "fisher", "gradient", "grasp", "snip", "taylor"]


@cite("Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020")
def gradient(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""How steep the loss is in a weight, kept or not: $|E_b[g_b]|$, the growth criterion of RigL.

    Args:
        model: any module; left as it was.
        params: name to parameter of the model.
        objective: yields one scalar loss a batch.

    Returns:
        Name to scores of the parameter's shape, without gradient; larger survives.

    Raises:
        ValueError: there is no objective, it yields no loss, or no loss depends on a parameter.
        TypeError: what it yields is no differentiable scalar.

    References:
        Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML 2020.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> gradient(model, {"weight": model.weight}, lambda m: [m(torch.tensor([3.0, -1.0])).sum()])
    {'weight': tensor([[3., 1.]])}
    """
    with unchanged(model, params):
        return {name: grad.abs() for name, grad in _mean(model, params, objective, "gradient").items()}


@cite("Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019")
def snip(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""Connection sensitivity: $E_b[|w \cdot g_b|]$, the slope of each batch's loss in a mask on the weight.

    Args, Returns, Raises: as `gradient`.

    References:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> snip(model, {"weight": model.weight}, lambda m: [m(torch.tensor([3.0, -1.0])).sum()])
    {'weight': tensor([[6., 2.]])}
    """
    sums, batches = _zeros(params), 0
    with unchanged(model, params):
        for grads in slopes(model, params, objective, "snip"):
            batches += 1
            for name, grad in grads.items():
                sums[name] += (_wide(params[name]) * grad).abs()
    return {name: total / batches for name, total in sums.items()}


@cite("Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019")
def taylor(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""First-order change of the loss if the weight were zero: $|E_b[w \cdot g_b]|$.

    Signs may cancel between batches, unlike in `snip`; with one batch the two are the same.

    Args, Returns, Raises: as `gradient`.

    References:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017.
        Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> batches = torch.tensor([[[3.0]], [[-3.0]]])
    >>> taylor(model, {"weight": model.weight}, lambda m: [m(batch).sum() for batch in batches])
    {'weight': tensor([[0.]])}
    """
    with unchanged(model, params):
        mean = _mean(model, params, objective, "taylor")
    return {name: (_wide(params[name]) * grad).abs() for name, grad in mean.items()}


@cite("Harn et al., IGRP: Iterative Gradient Rank Pruning for Finding Graph Lottery Ticket, BigData 2022")
def expansion(order: int = 2, *, reach: float = 0.1) -> Scorer:
    r"""Each weight's share of the Taylor expansion of $L(w) - L(0)$: $|t_1 - t_2/2 + t_3/6|$, up to `order` terms.

    $t_1 = w \odot g$, $t_2 = w \odot Hw$ and $t_3 = w \odot \nabla (w^\top H w)$; to order 1 it is `taylor`. What
    follows $t_1$ is how the gradient changes along w, taken by central differences between the weights $(1 \pm h) w$:
    no second backward pass, so that every layer will do. The objective is gone through three times, should yield the
    same batches each time, and draw nothing: put the model in eval mode.

    Args:
        order: 1, 2 or 3.
        reach: $h$, in (0, 1).

    Raises:
        ValueError: another order, or `reach` is out of range; in the scorer, as `gradient`.

    References:
        Harn et al., IGRP: Iterative Gradient Rank Pruning for Finding Graph Lottery Ticket, BigData 2022.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> scores = expansion(2)(model, {"weight": model.weight}, lambda m: [m.weight[0, 0] ** 2 + 3 * m.weight[0, 1]])
    >>> [round(score, 4) for score in scores["weight"][0].tolist()]
    [1.0, 3.0]
    """
    if order not in (1, 2, 3) or not 0 < reach < 1:
        raise ValueError(f"order must be 1, 2 or 3 and reach lie in (0, 1); found {order} and {reach}")

    @cite("Harn et al., IGRP: Iterative Gradient Rank Pruning for Finding Graph Lottery Ticket, BigData 2022")
    def score(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
        before = {name: p.detach().clone() for name, p in params.items()}
        slope = {}
        with unchanged(model, params):
            try:
                for scale in (reach, -reach, 0.0) if order > 1 else (0.0,):
                    _set(params, {name: w * (1 + scale) for name, w in before.items()})
                    slope[scale] = _mean(model, params, objective, "expansion")
            finally:
                _set(params, before)
        return {
            name: (_wide(w) * _summed({h: slopes[name] for h, slopes in slope.items()}, order)).abs()
            for name, w in before.items()
        }

    return score


def _summed(slope: Mapping[float, Tensor], order: int) -> Tensor:
    """The terms of an expansion, but for the weight: from the gradients at (1 + h) w, by h."""
    total = slope[0.0]
    if order > 1:
        reach = max(slope)
        total = total - (slope[reach] - slope[-reach]) / (4 * reach)
    if order > 2:
        total = total + (slope[reach] - 2 * slope[0.0] + slope[-reach]) / (6 * reach**2)
    return total


@cite("Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow, ICLR 2020")
def grasp(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""Gradient flow that goes with the weight: $w \cdot Hg$, with $g = E_b[g_b]$ and $H$ the mean loss's Hessian.

    Removing w changes $\|g\|^2$ by about $-2 w (Hg)$. The paper scores $-w (Hg)$ and removes the largest; the sign here
    is turned, so that larger survives. Scores may be negative.

    Args:
        objective: is gone through twice and should yield the same batches both times.

    Other args, Returns, Raises: as `gradient`.

    References:
        Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow, ICLR 2020.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> grasp(model, {"weight": model.weight}, lambda m: [m.weight[0, 0] ** 2 + m.weight[0, 1]])
    {'weight': tensor([[4., 0.]])}
    """
    sums, batches = _zeros(params), 0
    weights = list(params.values())
    with unchanged(model, params):
        flow = _mean(model, params, objective, "grasp")
        for loss in losses(model, objective, "grasp"):
            batches += 1
            grads = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
            pairs = zip(grads, flow.values(), strict=True)
            product = sum(((g * f).sum() for g, f in pairs if g is not None), torch.zeros(()))
            if product.requires_grad:  # else the loss is linear, and H is zero
                curved = torch.autograd.grad(product, weights, allow_unused=True)
                for name, value in zip(params, curved, strict=True):
                    sums[name] += 0 if value is None else value
    return {name: _wide(params[name]) * total / batches for name, total in sums.items()}


@cite("Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018")
def fisher(model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None = None) -> dict[str, Tensor]:
    r"""Second-order change of the loss if the weight were zero: $\frac{1}{2} w^2 E_b[g_b^2]$.

    The Hessian's diagonal of optimal brain damage, replaced by the empirical Fisher information. Batches of one
    example are the paper's; larger ones average before they square.

    Args, Returns, Raises: as `gradient`.

    References:
        LeCun, Denker and Solla, Optimal Brain Damage, NeurIPS 1989.
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> fisher(model, {"weight": model.weight}, lambda m: [m(torch.tensor([3.0, -1.0])).sum()])
    {'weight': tensor([[18.,  2.]])}
    """
    sums, batches = _zeros(params), 0
    with unchanged(model, params):
        for grads in slopes(model, params, objective, "fisher"):
            batches += 1
            for name, grad in grads.items():
                sums[name] += _wide(grad).square()
    return {name: _wide(params[name]).square() * total / (2 * batches) for name, total in sums.items()}


def _mean(
    model: nn.Module, params: Mapping[str, Tensor], objective: Objective | None, wanted_by: str
) -> dict[str, Tensor]:
    sums, batches = _zeros(params), 0
    for grads in slopes(model, params, objective, wanted_by):
        batches += 1
        for name, grad in grads.items():
            sums[name] += grad
    return {name: total / batches for name, total in sums.items()}


@torch.no_grad()
def _set(params: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, param in params.items():
        param.copy_(values[name])


def _zeros(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(_wide(p)) for name, p in params.items()}


def _wide(tensor: Tensor) -> Tensor:
    """A tensor in single precision at least, detached: sums over batches saturate in half precision."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
