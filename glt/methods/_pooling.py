r"""Pooling of a graph's nodes by matching along its edges, and what it says of each edge.

At every level each cluster joins at most one neighbour, along the best edge between them. The edges along which
clusters joined, its bonds, form a forest that carries all that a cluster knows; other edges within a cluster, and all
but one of the edges between two clusters, say again what survivors say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glt.edges import Edges

__all__ = ["Pooling", "aggregated"]


class Pooling:
    """The clusters of a graph, level by level.

    Args:
        edges: the graph; a pair of opposite edges counts as one.
        generator: of the order among equal scores.

    Attributes:
        cluster: (N,) which cluster a node is in.
        bonds: (P,) the pairs along which clusters joined.
    """

    def __init__(self, edges: Edges, generator: torch.Generator) -> None:
        self._pair, self._generator = edges.pair, generator
        size = int(edges.pair.max()) + 1 if edges.pair.numel() else 0
        self._ends = edges.edge_index.new_zeros(2, size)
        self._ends[:, edges.pair] = torch.stack([edges.edge_index.min(0).values, edges.edge_index.max(0).values])
        self.cluster = torch.arange(edges.num_nodes, device=edges.pair.device)
        self.bonds = torch.zeros(size, dtype=torch.bool, device=edges.pair.device)

    def level(self, score: Tensor, live: Tensor) -> Tensor:
        """Join clusters once more, and rank all edges by how little their loss would take away.

        Args:
            score: (E,) how alike the two ends of an edge are, the same in both directions.
            live: (E,) bool, the edges that are left.

        Returns:
            (E,) in double precision; the lowest are condensed first: edges within a cluster, then those beside a better
            one between the same two clusters, then the last ones between two clusters, and bonds at the end; the least
            alike first. Both directions of an edge rank the same.
        """
        size = self.bonds.numel()
        alive = self.bonds.new_zeros(size)
        alive[self._pair[live]] = True
        pooled = score.new_zeros(size, dtype=torch.float64)
        pooled[self._pair] = score.double()
        rank = self._ranked(pooled)
        self._join(rank, alive)
        a, b = self.cluster[self._ends]
        between = alive & (a != b)
        _, group = torch.unique(torch.minimum(a, b) * self.cluster.numel() + torch.maximum(a, b), return_inverse=True)
        best = rank.new_full((int(group.max()) + 1 if size else 0,), -1)
        best.scatter_reduce_(0, group[between], rank[between], "amax")
        tier = between.long() + (between & (best[group] == rank)).long()
        tier[self.bonds] = 3
        return (tier * size + rank).double()[self._pair]

    def _ranked(self, score: Tensor) -> Tensor:
        """Places from 0 for the lowest score, equal ones in random order, so that matching takes few rounds."""
        shuffled = torch.randperm(score.numel(), generator=self._generator).to(score.device)
        order = shuffled[score[shuffled].argsort(stable=True)]
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.numel(), device=order.device)
        return rank

    def _join(self, rank: Tensor, alive: Tensor) -> None:
        """Match clusters along the edges that are the best ones of both their ends, until none is left to match."""
        a, b = self.cluster[self._ends]
        free = alive & (a != b)
        renamed = torch.arange(self.cluster.numel(), device=rank.device)
        while bool(free.any()):
            best = rank.new_full((self.cluster.numel(),), -1)
            for ends in (a, b):
                best.scatter_reduce_(0, ends[free], rank[free], "amax")
            chosen = free & (best[a] == rank) & (best[b] == rank)
            self.bonds |= chosen
            renamed[b[chosen]] = a[chosen]
            matched = torch.zeros_like(best, dtype=torch.bool)
            matched[a[chosen]] = True
            matched[b[chosen]] = True
            free &= ~(matched[a] | matched[b])
        self.cluster = renamed[self.cluster]


def aggregated(edge_index: Tensor, nodes: int, mask: Tensor) -> Tensor:
    r"""Weights with which kept edges take over what the others carried, $(d_i / d'_i + d_j / d'_j) / 2$.

    Here $d$ and $d'$ are degrees before and after: each end of an edge shares its condensed edges out among those that
    it keeps. The sum of all weights stays what it was, but for nodes that keep none.

    Args:
        edge_index: (2, E) source and target.
        nodes: how many there are.
        mask: (E,) bool, True is kept.

    Returns:
        (E,), zero where an edge is condensed.

    >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> aggregated(path, 3, torch.tensor([True, True, False, False])).tolist()
    [1.5, 1.5, 0.0, 0.0]
    """
    kept, shares = mask.float(), []
    for ends in edge_index:
        before = torch.bincount(ends, minlength=nodes).float()
        after = before.new_zeros(nodes).index_add_(0, ends, kept)
        shares.append((before / after.clamp(min=1))[ends])
    return kept * (shares[0] + shares[1]) / 2
