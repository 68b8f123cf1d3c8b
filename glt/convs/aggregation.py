"""Sum, mean and maximum over the edges that are there, each with a meaning for edges that are half there."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from glt.adjacency import Adjacency

__all__ = ["Aggregation", "aggregate"]

Aggregation = Literal["sum", "mean", "max"]


def aggregate(adjacency: Adjacency, x: Tensor, how: Aggregation = "sum") -> Tensor:
    r"""Reduce the features of the sources over the incoming edges of every node.

    Args:
        adjacency: pattern and values; edges of value zero are absent, others count as `glt.convs` says.
        x: (N, D) features of the sources.
        how: `sum`; `mean`; `max`, entry by entry. A node without a live edge gets zeros.

    Returns:
        (targets, D). Time and memory are linear in edges plus nodes times D, for `max` in edges times D.

    Raises:
        ValueError: another `how`.

    >>> from glt.adjacency import Pattern
    >>> star = Adjacency(Pattern(torch.tensor([[0, 1, 2], [2, 2, 0]]), 3), torch.tensor([1.0, 0.0, 1.0]))
    >>> aggregate(star, torch.tensor([[4.0], [9.0], [5.0]]), "mean").tolist()
    [[5.0], [0.0], [4.0]]
    """
    if how == "sum":
        return adjacency @ x
    if how == "mean":
        return (adjacency @ x) / adjacency.degree("in").clamp(min=1).unsqueeze(1)
    if how == "max":
        soft = adjacency.values.requires_grad or bool(((adjacency.values != 0) & (adjacency.values < 1)).any())
        return _expected_maximum(adjacency, x) if soft else _maximum(adjacency, x)
    raise ValueError(f"how must be 'sum', 'mean' or 'max'; found {how!r}")


def _maximum(adjacency: Adjacency, x: Tensor) -> Tensor:
    alive = adjacency.values > 0
    messages = x[adjacency.pattern.source[alive]]
    index = adjacency.pattern.target[alive].unsqueeze(1).expand_as(messages)
    empty = x.new_zeros(adjacency.pattern.size[0], x.size(1))
    return empty.scatter_reduce(0, index, messages, "amax", include_self=False)


def _expected_maximum(adjacency: Adjacency, x: Tensor) -> Tensor:
    r"""$f_1$ of $f_k = w_{(k)} x_{(k)} + (1 - w_{(k)}) f_{k+1}$ over each node's messages, from the largest down."""
    pattern = adjacency.pattern
    order = _descending_by_target(x.detach()[pattern.source], pattern.target)
    there = adjacency.values.clamp(0, 1)[order]
    return _composed(1 - there, there * x[pattern.source].gather(0, order), pattern.rows)


def _composed(slope: Tensor, shift: Tensor, rows: Tensor) -> Tensor:
    """The maps f -> shift + slope f of each segment of a CSR layout, applied to zero from the last to the first.

    Neighbours are merged in pairs, so there are as many steps as a number of the longest segment's size has bits.
    """
    filled = rows.diff() > 0
    while bool((rows.diff() > 1).any()):
        length = rows.diff()
        rank = torch.arange(slope.size(0), device=rows.device) - rows[:-1].repeat_interleave(length)
        first = (rank % 2 == 0).nonzero().squeeze(1)
        alone = ((rank + 1)[first] == length.repeat_interleave(length)[first]).unsqueeze(1)
        second = (first + 1).clamp(max=slope.size(0) - 1)
        shift = shift[first] + slope[first] * shift[second].masked_fill(alone, 0.0)
        slope = slope[first] * slope[second].masked_fill(alone, 1.0)
        rows = torch.cat([rows[:1], ((length + 1) // 2).cumsum(0)])
    out = shift.new_zeros(rows.numel() - 1, shift.size(1))
    return out.index_copy(0, filled.nonzero().squeeze(1), shift)


def _descending_by_target(messages: Tensor, target: Tensor) -> Tensor:
    """For each column the edges sorted by target, and for each target from the largest message down: (E, D)."""
    largest_first = messages.argsort(dim=0, descending=True)
    by_target = target[largest_first].argsort(dim=0, stable=True)
    return largest_first.gather(0, by_target)
