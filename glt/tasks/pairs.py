"""Pairs of nodes: which edges of a graph are held out, and pairs that are no edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError

__all__ = ["Absent", "LinkSplit", "split_links"]


@dataclass(frozen=True)
class LinkSplit:
    """The undirected edges of a graph in three parts, each a pair of nodes once.

    Attributes:
        message: (2, E) directed edges that a network sees: those of training pairs, as they are in the graph.
        train, val, test: (2, P) pairs, the lower node first.
    """

    message: Tensor
    train: Tensor
    val: Tensor
    test: Tensor


def split_links(edge_index: Tensor, nodes: int, *, val: float = 0.05, test: float = 0.1, seed: int = 0) -> LinkSplit:
    """Hold out pairs of nodes with all edges between them, in both directions.

    Args:
        edge_index: (2, E) source and target; self-loops take no part.
        nodes: how many there are.
        val, test: shares of pairs, rounded down, at least one pair each.
        seed: of the choice.

    Raises:
        UsageError: no pair would be left to train on.

    >>> split = split_links(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), 4)
    >>> split.train.size(1), split.val.size(1), split.test.size(1), split.message.size(1)
    (1, 1, 1, 2)
    """
    keys, proper = _keys(edge_index, nodes), edge_index[0] != edge_index[1]
    pairs = torch.unique(keys[proper])
    held_test, held_val = (max(1, int(share * pairs.numel())) for share in (test, val))
    if held_test + held_val >= pairs.numel():
        raise UsageError(
            f"--task.val-links {val:g} and --task.test-links {test:g} leave none of {pairs.numel()} edges to train on; "
            "expected shares that leave some"
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(pairs.numel())).to(pairs.device)
    parts = [
        pairs[part].sort().values for part in order.split([held_test, held_val, pairs.numel() - held_test - held_val])
    ]
    seen = proper & ~torch.isin(keys, torch.cat(parts[:2]))
    held = [torch.stack([part // nodes, part % nodes]) for part in parts]
    return LinkSplit(edge_index[:, seen], held[2], held[1], held[0])


class Absent:
    """Pairs of nodes that are no edge.

    Args:
        edge_index: (2, E) source and target of the edges, or pairs in any order.
        nodes: how many there are.

    Raises:
        UsageError: every pair is an edge.

    >>> triangle_and_one = torch.tensor([[0, 0, 1, 0, 1], [1, 2, 2, 3, 3]])
    >>> Absent(triangle_and_one, 4).distinct(1, seed=0).tolist()
    [[2], [3]]
    """

    def __init__(self, edge_index: Tensor, nodes: int) -> None:
        proper = edge_index[0] != edge_index[1]
        self.nodes, self._edges = nodes, torch.unique(_keys(edge_index, nodes)[proper].cpu())
        self.count = nodes * (nodes - 1) // 2 - self._edges.numel()
        if self.count < 1:
            raise UsageError(
                f"found an edge between every two of {nodes} nodes; link prediction needs pairs without one"
            )

    def drawn(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(2, count) pairs, each drawn from all there are, from a generator or from torch's own stream."""
        pairs = self._random(count, generator)
        while (bad := self._bad(pairs)).any():
            pairs[:, bad] = self._random(int(bad.sum()), generator)
        return pairs

    def distinct(self, count: int, seed: int) -> Tensor:
        """(2, count) different pairs, the lower node first.

        Raises:
            UsageError: there are not so many.
        """
        if count > self.count:
            raise UsageError(
                f"found {self.count} pairs of nodes without an edge; expected {count}, as many as edges are held out. "
                "Hold out fewer"
            )
        generator = torch.Generator().manual_seed(seed)
        found = torch.empty(0, dtype=torch.int64)
        while found.numel() < count:
            more = _keys(self.drawn(2 * (count - found.numel()), generator), self.nodes)
            found = torch.unique(torch.cat([found, more]))
        chosen = found[torch.randperm(found.numel(), generator=generator)[:count]].sort().values
        return torch.stack([chosen // self.nodes, chosen % self.nodes])

    def _random(self, count: int, generator: torch.Generator | None) -> Tensor:
        return torch.randint(self.nodes, (2, count), generator=generator)

    def _bad(self, pairs: Tensor) -> Tensor:
        keys = _keys(pairs, self.nodes)
        place = torch.searchsorted(self._edges, keys).clamp(max=self._edges.numel() - 1)
        return (pairs[0] == pairs[1]) | (self._edges[place] == keys)


def _keys(pairs: Tensor, nodes: int) -> Tensor:
    """A number a pair of nodes, whichever comes first."""
    pairs = pairs.long()
    return pairs.min(0).values * nodes + pairs.max(0).values
