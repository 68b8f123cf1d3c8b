"""Softmax over the incoming edges of every node, with edge weights that can take an edge out of it."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from glt.adjacency import Adjacency, Pattern, propagate

__all__ = ["attend", "edge_softmax"]

_STEEPEST = 60.0  # a dead edge's logit counts as no more than this above the largest live one; its exp is finite

_repeated: weakref.WeakKeyDictionary[Pattern, dict[int, Pattern]] = weakref.WeakKeyDictionary()


def edge_softmax(adjacency: Adjacency, logits: Tensor) -> Tensor:
    r"""Attention of every node over its live incoming edges, $\alpha_e = w_e e^{l_e} / \sum_{f} w_f e^{l_f}$.

    The weight of an edge multiplies the exponential, not the logit: at 0 the edge is out of numerator and denominator,
    while a logit of 0 would leave it a share. Weights below zero count as zero.

    Args:
        adjacency: pattern and weights.
        logits: (E, H) of the edges in the pattern's order, for H heads or channels.

    Returns:
        (E, H), adding up to 1 over a node's incoming edges, or all zero where none is live.

    >>> fork = Adjacency(Pattern(torch.tensor([[0, 1, 2], [2, 2, 0]]), 3), torch.tensor([1.0, 0.0, 1.0]))
    >>> edge_softmax(fork, torch.tensor([[1.0], [5.0], [2.0]])).squeeze(1).tolist()
    [1.0, 0.0, 1.0]
    """
    pattern = adjacency.pattern
    weight = adjacency.values.clamp(min=0).unsqueeze(1)
    with torch.no_grad():
        live = logits.masked_fill(weight == 0, -torch.inf)[pattern.order]
        largest = torch.segment_reduce(live, "max", offsets=pattern.rows, axis=0)
        largest = largest.masked_fill(largest == -torch.inf, 0.0)[pattern.target]
    power = (logits - largest).clamp(max=_STEEPEST).exp()
    mass = weight * power
    total = mass.new_zeros(pattern.size[0], mass.size(1)).index_add(0, pattern.target, mass)
    return mass / (total + (total == 0))[pattern.target]


def attend(pattern: Pattern, attention: Tensor, x: Tensor) -> Tensor:
    """Sum over incoming edges, for every head by itself: (E, H) times (N, H, C) gives (targets, H, C).

    The heads are one block-diagonal sparse product, so no (E, H, C) is ever held.
    """
    heads = attention.size(1)
    if heads == 1:
        return propagate(pattern, attention.squeeze(1), x.squeeze(1)).unsqueeze(1)
    stacked = x.transpose(0, 1).reshape(-1, x.size(2))
    out = propagate(_side_by_side(pattern, heads), attention.T.reshape(-1), stacked)
    return out.view(heads, pattern.size[0], -1).transpose(0, 1)


def _side_by_side(pattern: Pattern, copies: int) -> Pattern:
    """The pattern of a graph that is `copies` graphs without an edge between them; kept while the pattern lives."""
    known = _repeated.setdefault(pattern, {})
    if copies not in known:
        number = torch.arange(copies, device=pattern.source.device).unsqueeze(1)
        targets, sources = pattern.size
        ends = [(number * sources + pattern.source).reshape(-1), (number * targets + pattern.target).reshape(-1)]
        known[copies] = Pattern(torch.stack(ends), copies * sources, copies * targets)
    return known[copies]
