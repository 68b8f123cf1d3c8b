r"""Stars: which edges to keep so that as many nodes as possible, and those that need it most, hang on some hub.

A kept edge of a two-layer network joins a node not to one neighbour but to all that hang on the same hub. With few
edges to keep, stars therefore reach further than random edges, and further than an edge cover.
"""

from __future__ import annotations

import heapq

import numpy as np
import torch
from torch import Tensor

__all__ = ["stars"]


def stars(edge_index: Tensor, nodes: int, likeness: Tensor, need: Tensor, *, least: float = 0.3) -> Tensor:
    r"""Greedy stars: the best hub first, its edges valued by likeness times the need of the node that hangs on it.

    The hub is, again and again, the node whose neighbours gain most, $\arg\max_h \sum_v a_{hv} n_v$ over neighbours
    that hang on none yet, are no hubs and are like it, $a_{hv} > $ `least`; all of them then hang on it, by one edge
    each. It is the greedy algorithm for dominating sets with weights; ties go to the lowest number.

    Args:
        edge_index: (2, E) directed edges, both directions of an undirected one.
        nodes: how many there are.
        likeness: (E,) in [0, 1], the same in both directions.
        need: (N,) in (0, 1], how much a node loses without edges.
        least: neighbours below are never joined.

    Returns:
        (E,) in [0, 1]: likeness times need of an edge within a star (its two directions), 0 of the others.

    >>> edges = torch.tensor([[0, 0, 0, 1, 2, 3, 2, 3], [1, 2, 3, 0, 0, 0, 3, 2]])
    >>> stars(edges, 4, torch.ones(8), torch.tensor([1.0, 0.5, 0.5, 0.5])).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    """
    ends = np.sort(edge_index.cpu().numpy(), axis=0)
    _, first, pair = np.unique(ends[0] * nodes + ends[1], return_index=True, return_inverse=True)
    like = likeness.detach().cpu().double().numpy()[first]
    like[like <= least] = 0.0
    value = _greedy(ends[:, first], nodes, like, need.detach().cpu().double().numpy())
    return torch.from_numpy(value[pair]).to(likeness)


def _greedy(ends: np.ndarray, nodes: int, like: np.ndarray, need: np.ndarray) -> np.ndarray:
    """Values of undirected pairs (2, P)."""
    pairs = like.size
    heads, tails = np.concatenate([ends[0], ends[1]]), np.concatenate([ends[1], ends[0]])
    order = np.argsort(heads, kind="stable")
    start = np.searchsorted(heads[order], np.arange(nodes + 1))
    number, tails = order % pairs, tails[order]
    gain = np.bincount(heads, like[np.arange(2 * pairs) % pairs] * need[np.concatenate([ends[1], ends[0]])], nodes)
    free, value = np.ones(nodes, bool), np.zeros(pairs)
    queue = [(-g, hub) for hub, g in enumerate(gain.tolist()) if g > 0]
    heapq.heapify(queue)
    while queue:
        best, hub = heapq.heappop(queue)
        if -best != gain[hub]:
            continue  # its neighbours have been taken since
        around = slice(start[hub], start[hub + 1])
        mine, near = number[around], tails[around]
        hangs = free[near] & (like[mine] > 0)
        value[mine[hangs]] = like[mine[hangs]] * need[near[hangs]]
        taken = near[hangs].tolist() + ([hub] if free[hub] else [])
        free[taken] = False
        for node in taken:
            here = slice(start[node], start[node + 1])
            gain[tails[here]] -= like[number[here]] * need[node]
            for other in tails[here].tolist():
                if gain[other] > 1e-9:
                    heapq.heappush(queue, (-gain[other], other))
        gain[hub] = 0.0
    return value
