"""A graph's edge weights as one more named tensor that the mask engine can prune.

`Edges` is a module with one parameter, `weight`, a value for each directed edge. Masks, scores, gates and tickets treat
it as any other tensor; an edge whose weight is zero is absent for every layer of `glt.convs`. Self-loops are not in it:
they are what a layer adds, so no method can prune them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from common.structure import Structure, entries, tied
from glt.adjacency import Adjacency, Pattern

__all__ = ["Edges", "check_edge_index", "is_undirected"]


def check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    """Check that `edge_index` is a (2, E) integer tensor with entries in [0, num_nodes).

    Raises:
        TypeError: it is not an integer tensor.
        ValueError: it has another shape or an entry out of range.
    """
    if edge_index.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"edge_index must hold integers (torch.int64); found {edge_index.dtype}")
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape (2, E); found {tuple(edge_index.shape)}")
    if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes):
        raise ValueError(
            f"edge_index must lie in [0, {num_nodes - 1}] for {num_nodes} nodes; found values from "
            f"{int(edge_index.min())} to {int(edge_index.max())}. Renumber the nodes or correct the feature matrix."
        )


def is_undirected(edge_index: Tensor, num_nodes: int) -> bool:
    """Whether every edge (i, j) of a duplicate-free `edge_index` (2, E) has its reverse (j, i).

    >>> is_undirected(torch.tensor([[0, 1], [1, 0]]), 2), is_undirected(torch.tensor([[0], [1]]), 2)
    (True, False)
    """
    forth = edge_index[0] * num_nodes + edge_index[1]
    back = edge_index[1] * num_nodes + edge_index[0]
    return torch.equal(forth.sort().values, back.sort().values)


class _View:
    """What can be seen of the edges: their pattern, which ones they are, and the compact form for constant weights."""

    def __init__(self, pattern: Pattern, seen: Tensor | None = None) -> None:
        self.pattern, self.seen = pattern, seen
        self.compact: tuple[object, list[Adjacency]] | None = None
        self.hidden: tuple[Tensor, _View] | None = None

    def of(self, values: Tensor) -> Tensor:
        """The part of (..., E) that can be seen."""
        return values if self.seen is None else values[..., self.seen]


class Edges(nn.Module):
    r"""The edges of a graph with a weight each, in row-major order (by source, then target).

    Duplicates are merged and self-loops left out, since layers add their own. With `symmetric`, both directions of an
    undirected edge share one fate: their effective weight is the mean of the two,
    $\tilde a_{ij} = (a_{ij} + a_{ji}) / 2$, and `structure()` ties their scores.

    Args:
        edge_index: (2, E) source and target of every edge.
        num_nodes: how many nodes the graph has.
        weight: (E,) positive edge weights; ones if absent.
        symmetric: tie the directions; None does so exactly if the graph is undirected.

    Raises:
        TypeError, ValueError: see `check_edge_index`; also for weights that are not finite and positive, and for
            `symmetric=True` on a graph with one-way edges.

    >>> edges = Edges(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
    >>> edges.weight.numel(), edges.pair.tolist()
    (4, [0, 0, 1, 1])
    """

    edge_index: Tensor
    pair: Tensor
    reverse: Tensor

    def __init__(
        self, edge_index: Tensor, num_nodes: int, weight: Tensor | None = None, *, symmetric: bool | None = None
    ) -> None:
        super().__init__()
        check_edge_index(edge_index, num_nodes)
        edge_index, values = _merged(edge_index.long(), num_nodes, weight)
        undirected = is_undirected(edge_index, num_nodes)
        if symmetric and not undirected:
            raise ValueError(
                "symmetric=True needs an undirected graph, where every edge has its reverse; this one has one-way "
                "edges. Pass symmetric=False, or add the reverse edges."
            )
        self.num_nodes = num_nodes
        self.symmetric = undirected if symmetric is None else symmetric
        self.weight = nn.Parameter(values, requires_grad=False)
        low, high = edge_index.min(0).values, edge_index.max(0).values
        _, pair = torch.unique(low * num_nodes + high, return_inverse=True)
        forth = edge_index[0] * num_nodes + edge_index[1]
        back = edge_index[1] * num_nodes + edge_index[0]
        reverse = torch.searchsorted(forth, back) if self.symmetric else torch.arange(forth.numel())
        self.register_buffer("edge_index", edge_index, persistent=False)
        self.register_buffer("pair", pair, persistent=False)
        self.register_buffer("reverse", reverse, persistent=False)
        self._whole = _View(Pattern(edge_index, num_nodes))
        self._view = self._whole

    def forward(self) -> Adjacency:
        """The adjacency as it stands: live edges only when the weights are constant, all of them under a gate.

        An edge of weight zero takes no part in either case; leaving it out merely saves its time. The compact form is
        kept until the weights change in place (a write through `.data` goes unnoticed).
        """
        return self.layers()[0]

    def layers(self) -> list[Adjacency]:
        """The adjacency of every row of the weights."""
        weight, view = self.weight, self._view
        view.pattern = view.pattern.to(weight.device)
        if weight.requires_grad or torch.nn.utils.parametrize.is_parametrized(self, "weight"):
            return [Adjacency(view.pattern, view.of(row)) for row in self._both(weight)]
        key = (id(weight), weight._version, weight.device)
        if view.compact is None or view.compact[0] != key:
            view.compact = (key, [self._live(view, row) for row in self._both(weight.detach())])
        return view.compact[1]

    @property
    def pattern(self) -> Pattern:
        """Where all edges are, in the order of `weight`, whatever their weights and whatever is hidden."""
        self._whole.pattern = self._whole.pattern.to(self.weight.device)
        return self._whole.pattern

    @contextmanager
    def without(self, nodes: Tensor) -> Iterator[None]:
        """Hide all edges of some nodes inside a block.

        Args:
            nodes: (N,) bool, True where hidden; the same tensor every time saves building the pattern again.
        """
        if self._whole.hidden is None or self._whole.hidden[0] is not nodes:
            seen = ~nodes[self.edge_index].any(0)
            view = _View(Pattern(self.edge_index[:, seen], self.num_nodes), seen.nonzero().squeeze(1))
            self._whole.hidden = (nodes, view)
        before, self._view = self._view, self._whole.hidden[1]
        try:
            yield
        finally:
            self._view = before

    def _both(self, weight: Tensor) -> Tensor:
        """Effective weights, (rows, E): the mean of both directions of an undirected edge."""
        values = (weight + weight[..., self.reverse]) / 2 if self.symmetric else weight
        return values if values.dim() == 2 else values.unsqueeze(0)

    def _live(self, view: _View, row: Tensor) -> Adjacency:
        values = view.of(row)
        alive = values != 0
        if bool(alive.all()):
            return Adjacency(view.pattern, values)
        pattern = Pattern(view.of(self.edge_index)[:, alive], self.num_nodes).to(row.device)
        return Adjacency(pattern, values[alive])

    def structure(self) -> Structure:
        """How a mask on `weight` is chosen: in undirected pairs if `symmetric`, else entry by entry."""
        return tied(self.pair) if self.symmetric else entries

    def count(self, mask: Tensor | None = None) -> dict[str, int]:
        """Kept and total, in edges as a reader counts them: undirected pairs if `symmetric`, else directed edges.

        >>> Edges(torch.tensor([[0, 1], [1, 0]]), 2).count()
        {'total': 1, 'kept': 1}
        """
        alive = torch.ones_like(self.pair, dtype=torch.bool) if mask is None else mask.to(self.pair.device)
        if not self.symmetric:
            return {"total": alive.numel(), "kept": int(alive.sum())}
        return {
            "total": int(self.pair.max()) + 1 if self.pair.numel() else 0,
            "kept": self.pair[alive].unique().numel(),
        }

    def fingerprint(self) -> dict[str, object]:
        """What identifies the graph: nodes, directed edges, and a sha256 of the edge list."""
        digest = hashlib.sha256(f"{self.num_nodes}".encode())
        digest.update(self.edge_index.cpu().contiguous().numpy().tobytes())
        return {"nodes": self.num_nodes, "edges": self.edge_index.size(1), "sha256": digest.hexdigest()}

    def extra_repr(self) -> str:
        """The numbers that `print(model)` shows."""
        return f"nodes={self.num_nodes}, edges={self.edge_index.size(1)}, symmetric={self.symmetric}"


def _merged(edge_index: Tensor, num_nodes: int, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    if weight is None:
        weight = torch.ones(edge_index.size(1))
    if weight.shape != edge_index.shape[1:]:
        raise ValueError(f"weight must have shape ({edge_index.size(1)},), one an edge; found {tuple(weight.shape)}")
    if not bool((torch.isfinite(weight) & (weight > 0)).all()):
        raise ValueError("edge weights must be finite and positive: an edge of weight 0 is no edge. Drop such edges.")
    proper = edge_index[0] != edge_index[1]
    key = (edge_index[0] * num_nodes + edge_index[1])[proper]
    unique, inverse = torch.unique(key, return_inverse=True)
    merged = torch.zeros(unique.numel(), dtype=torch.float32)
    merged[inverse] = weight[proper].float()  # a duplicate repeats its edge; its weight is taken once
    return torch.stack([unique // num_nodes, unique % num_nodes]), merged
