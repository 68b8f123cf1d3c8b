r"""Sparse propagation with gradients to features and to edge values.

Messages flow from source to target: $y_j = \sum_i a_{ij} x_i$. The pattern of the graph is laid out once as CSR by
target and by source; a step then costs one sparse product forward, one backward for the features and one sampled
dense-dense product for the edge values, in memory linear in edges, never nodes squared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glt._csr import csr, product

__all__ = ["Adjacency", "Pattern", "propagate"]


class Pattern:
    """Where a graph has edges: CSR by target for the product, CSR by source for its transpose.

    Args:
        edge_index: (2, E) source and target, without duplicates.
        sources: nodes that send.
        targets: nodes that receive; the same number if not given.

    Attributes:
        source, target: (E,) ends of the edges in the caller's order.
        order: (E,) permutation from the caller's order to CSR by target; `back` the one to CSR by source.
    """

    def __init__(self, edge_index: Tensor, sources: int, targets: int | None = None) -> None:
        self.size = (sources if targets is None else targets, sources)
        self.source, self.target = edge_index[0], edge_index[1]
        self.order, self.rows, self.columns = _csr(self.target, self.source, self.size)
        self.back, self.back_rows, self.back_columns = _csr(self.source, self.target, self.size[::-1])
        self._looped: Pattern | None = None
        self._fields: dict[tuple[int, int], tuple[Tensor, list[tuple[Tensor, Tensor]]]] = {}
        self._between: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor, Pattern]] = {}

    def to(self, device: torch.device) -> Pattern:
        """The same pattern on another device; itself if it is there already."""
        if self.source.device == device:
            return self
        return Pattern(torch.stack([self.source, self.target]).to(device), self.size[1], self.size[0])

    def with_loops(self) -> Pattern:
        """The pattern with a self-loop a node, appended after the edges in node order."""
        if self._looped is None:
            loops = torch.arange(self.size[0], device=self.source.device)
            ends = torch.stack([torch.cat([self.source, loops]), torch.cat([self.target, loops])])
            self._looped = Pattern(ends, self.size[0])
        return self._looped

    def receptive_field(self, rows: Tensor, depth: int) -> list[tuple[Tensor, Tensor]]:
        """Which nodes each of `depth` layers reads and writes so that the last one writes `rows`: (sources, targets).

        Every target is among its sources, so that self-loops fit. Kept for the same `rows` object.
        """
        key = (id(rows), depth)
        if key not in self._fields:
            layers: list[tuple[Tensor, Tensor]] = []
            targets = rows
            for _ in range(depth):
                wanted = torch.zeros(self.size[0], dtype=torch.bool, device=rows.device)
                wanted[targets] = True
                wanted[self.source[wanted[self.target]]] = True
                layers.insert(0, (wanted.nonzero().squeeze(1), targets))
                targets = layers[0][0]
            self._fields[key] = (rows, layers)
        return self._fields[key][1]

    def between(self, sources: Tensor, targets: Tensor) -> tuple[Tensor, Pattern]:
        """The edges (their positions) from some nodes to others, and the pattern among these, renumbered."""
        key = (id(sources), id(targets))
        if key not in self._between:
            number = self.source.new_full((2, max(self.size)), -1)
            number[0, sources] = torch.arange(sources.numel(), device=sources.device)
            number[1, targets] = torch.arange(targets.numel(), device=targets.device)
            ends = torch.stack([number[0, self.source], number[1, self.target]])
            edges = (ends >= 0).all(0).nonzero().squeeze(1)
            part = Pattern(ends[:, edges], sources.numel(), targets.numel())
            self._between[key] = (sources, targets, edges, part)
        return self._between[key][2:]

    def matrix(self, values: Tensor) -> Tensor:
        """CSR tensor (targets, sources) that maps source features to targets, from (E,) values in edge order."""
        return csr(self.rows, self.columns, values[self.order], self.size)

    def transposed(self, values: Tensor) -> Tensor:
        """The transpose of `matrix(values)`."""
        return csr(self.back_rows, self.back_columns, values[self.back], self.size[::-1])


def _csr(row: Tensor, column: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.argsort(row * size[1] + column)
    counts = torch.bincount(row, minlength=size[0])
    return order, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), column[order]


class Adjacency:
    """A pattern and the values (E,) on it, in the pattern's edge order; what a layer of `glt.convs` takes.

    A value of zero marks an absent edge. Degree normalisation is differentiable through the values, and is computed
    once for values that are constant.
    """

    def __init__(self, pattern: Pattern, values: Tensor) -> None:
        self.pattern, self.values = pattern, values
        self._normalised: dict[str, Adjacency] = {}

    def degree(self, of: str) -> Tensor:
        """Sum of values into each node (`of="in"`) or out of it (`"out"`), shape (N,)."""
        ends, size = (self.pattern.target, 0) if of == "in" else (self.pattern.source, 1)
        return self.values.new_zeros(self.pattern.size[size]).index_add(0, ends, self.values)

    def normalised(self, degree: str = "in") -> Adjacency:
        r"""$D^{-1/2}(A + I)D^{-1/2}$ with self-loops of weight one (Kipf & Welling, ICLR 2017).

        Args:
            degree: sums over incoming edges ("in", as PyG does) or outgoing ones ("out", as the published UGS); they
                agree on an undirected graph with symmetric values.
        """
        if degree not in ("in", "out"):
            raise ValueError(f"degree must be 'in' or 'out'; found {degree!r}")
        if degree not in self._normalised:
            loops = Adjacency(self.pattern.with_loops(), torch.cat([self.values, self._ones()]))
            scale = loops.degree(degree).rsqrt()
            values = scale[loops.pattern.source] * loops.values * scale[loops.pattern.target]
            self._normalised[degree] = Adjacency(loops.pattern, values)
        return self._normalised[degree]

    def between(self, sources: Tensor, targets: Tensor) -> Adjacency:
        """The part that leads from some nodes to others, renumbered; its values as they are."""
        edges, part = self.pattern.between(sources, targets)
        return Adjacency(part, self.values[edges])

    def layers(self, rows: Tensor | None, depth: int) -> list[Adjacency]:
        """What each of `depth` layers needs so that the last one writes `rows` (all nodes if None)."""
        if rows is None:
            return [self] * depth
        return [_Part(self, *ends) for ends in self.pattern.receptive_field(rows, depth)]

    def _ones(self) -> Tensor:
        return self.values.new_ones(self.pattern.size[0])

    def __matmul__(self, x: Tensor) -> Tensor:
        return propagate(self.pattern, self.values, x)


class _Part(Adjacency):
    """A part of an adjacency whose degrees are those of the whole."""

    def __init__(self, whole: Adjacency, sources: Tensor, targets: Tensor) -> None:
        part = whole.between(sources, targets)
        super().__init__(part.pattern, part.values)
        self.whole, self.sources, self.targets = whole, sources, targets

    def normalised(self, degree: str = "in") -> Adjacency:
        return self.whole.normalised(degree).between(self.sources, self.targets)


class _Propagate(torch.autograd.Function):
    """y = A(values) x with its two gradients: A^T g for x, and <g_target, x_source> on the pattern for the values."""

    @staticmethod
    def forward(ctx: Any, pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.pattern = pattern
        ctx.save_for_backward(values, x)
        return product(pattern.matrix(values), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:  # type: ignore[override]
        (values, x), pattern = ctx.saved_tensors, ctx.pattern
        grad = grad.contiguous()
        to_values = to_x = None
        if ctx.needs_input_grad[1]:
            blank = pattern.matrix(torch.zeros_like(values))
            sampled = torch.sparse.sampled_addmm(blank, grad, x.T, beta=0.0).values()
            to_values = torch.empty_like(values)
            to_values[pattern.order] = sampled
        if ctx.needs_input_grad[2]:
            to_x = product(pattern.transposed(values), grad)
        return None, to_values, to_x


def propagate(pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:
    """Sum over incoming edges: (E,) values in edge order times (N, D) features gives (N, D).

    >>> chain = Pattern(torch.tensor([[0, 1], [1, 2]]), sources=3)
    >>> propagate(chain, torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [1.0], [1.0]])).tolist()
    [[0.0], [1.0], [2.0]]
    """
    result: Tensor = _Propagate.apply(pattern, values, x)  # type: ignore[no-untyped-call]
    return result
