r"""How much each edge says in what a trained network says: its diagonal of the Fisher information.

$F_e = \sum_v E_{y \sim p_v} \left(\partial \log p_v(y) / \partial w_e\right)^2$ with the network's own distributions
$p_v$ at the nodes v and weights $w_e = 1$ of the edges. To second order, taking an edge away changes what is predicted
for all nodes by a divergence of $F_e / 2$: edges of small influence may go without anybody noticing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from common.scoped import seeded
from glt.models import GraphModel
from glt.tasks import Task, served

__all__ = ["influence"]


def influence(model: GraphModel, task: Task, *, draws: int = 100, seed: int = 0, classes: bool = True) -> Tensor:
    r"""Estimates $F_e$ of every edge, both directions of an undirected one each by themselves.

    A sum over nodes of squared gradients is the expected square of the gradient of a sum with random signs
    (Hutchinson), so a draw costs one backward pass.

    Args:
        model: a trained network; its weights stay as they are.
        task: what it was trained for.
        draws: of classes and signs.
        seed: of the draws.
        classes: whether the network's outputs are logits; embeddings otherwise, normally distributed with variance 1.

    Returns:
        The shape of the edge weights, at least 0.

    References:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018 (for channels).
    """
    weight = model.edges.weight
    total, needed = torch.zeros_like(weight), weight.requires_grad
    weight.requires_grad_(True)
    try:
        with seeded(seed), torch.enable_grad():
            outputs = served(task, model)
            for _ in range(draws):
                signs = torch.randint(2, outputs.shape[:1] if classes else outputs.shape) * 2 - 1
                drawn = _log_probability(outputs, classes, signs.to(outputs))
                total += torch.autograd.grad(drawn, weight, retain_graph=True)[0] ** 2
    finally:
        weight.requires_grad_(needed)
    return total.detach() / draws


def _log_probability(outputs: Tensor, classes: bool, signs: Tensor) -> Tensor:
    """Sum with signs over nodes of the log probability of a class drawn for each, or over the numbers of embeddings."""
    if not classes:
        return (signs * outputs).sum()
    drawn = torch.multinomial(outputs.detach().softmax(1), 1)
    return (signs * functional.log_softmax(outputs, 1).gather(1, drawn).squeeze(1)).sum()
