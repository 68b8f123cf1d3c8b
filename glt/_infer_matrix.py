r"""The matrices that inference propagates by, such as $D^{-1/2}(A+I)D^{-1/2}$ of the kept edges, whole or some rows.

Edges come in pieces, each the sources, targets and values of some of them, so that they need never be in memory
together. A value of zero is an absent edge; two values for one pair of ends add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from torch import Tensor, from_numpy

from glt._csr import csr

__all__ = ["Kind", "Matrix", "Piece", "band", "cuts", "limited", "scales", "whole"]

Piece = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Sources, targets and values (float32) of some edges, (E,) each."""


@dataclass(frozen=True)
class Kind:
    r"""Which matrix a layer propagates by.

    Attributes:
        how: `symmetric`, $D^{-1/2}(A+I)D^{-1/2}$; `sum`, $A$; `mean`, $A$ with its rows over $\max(1, \sum_i w_i)$.
        degree: whose degrees normalise the first, see `glt.adjacency.Adjacency.normalised`.
        own: what a sum or a mean counts a node itself, on the diagonal.
        positive: edges whose value is below zero are absent.
    """

    how: Literal["symmetric", "sum", "mean"] = "sum"
    degree: str = "in"
    own: float = 0.0
    positive: bool = False


class Matrix:
    """A CSR matrix in the forms that the back-ends take; all share its memory.

    Args:
        pointers: (rows + 1,) int32, from 0.
        indices: (E,) int32, sorted in every row.
        values: (E,) float32.
        columns: how many.
    """

    def __init__(self, pointers: np.ndarray, indices: np.ndarray, values: np.ndarray, columns: int) -> None:
        self.parts = (pointers, indices, values)
        self.shape = (len(pointers) - 1, columns)
        self._cuts: dict[int, list[tuple[int, int]]] = {}

    @classmethod
    def of(cls, matrix: Any) -> Matrix:
        """From scipy's CSR matrix."""
        return cls(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])

    @cached_property
    def scipy(self) -> Any:
        """As scipy's CSR matrix."""
        from scipy.sparse import csr_matrix

        pointers, indices, values = self.parts
        return csr_matrix((values, indices, pointers), shape=self.shape, copy=False)

    @cached_property
    def torch(self) -> Tensor:
        """As torch's CSR tensor."""
        pointers, indices, values = (from_numpy(part) for part in self.parts)
        return csr(pointers, indices, values, self.shape)

    @cached_property
    def sums(self) -> Tensor:
        """(rows, 1) of their values."""
        ones = np.ones(self.shape[1], np.float32)
        return from_numpy(self.scipy @ ones).unsqueeze(1)

    @cached_property
    def soft(self) -> bool:
        """Whether some edge is there in part only."""
        return bool((self.parts[2] < 1).any())

    def some(self, ranges: Sequence[tuple[int, int]]) -> Matrix:
        """The rows of some ranges, one after the other, on all columns."""
        pointers, indices, values = self.parts
        entries = [slice(pointers[a], pointers[b]) for a, b in ranges]
        counts = np.concatenate([np.diff(pointers[a : b + 1]) for a, b in ranges])
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        found = [np.concatenate([part[few] for few in entries]) for part in (indices, values)]
        return Matrix(start, found[0], found[1], self.shape[1])

    def shares(self, threads: int) -> list[tuple[int, int]]:
        """Ranges of rows with about as many entries and rows each, some a thread."""
        if threads not in self._cuts:
            rows = self.shape[0]
            parts = 1 if threads == 1 else min(8 * threads, rows // 256 + 1)
            self._cuts[threads] = cuts(self.parts[0], parts)
        return self._cuts[threads]


def cuts(pointers: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Ranges of rows, at most `parts` and none of them empty, with about as many entries and rows each.

    >>> cuts(np.array([0, 10, 11, 12, 13]), 2)
    [(0, 1), (1, 4)]
    """
    rows = len(pointers) - 1
    work = pointers.astype(np.int64) + np.arange(rows + 1) * max(1, int(pointers[-1]) // max(1, rows))
    ends = np.searchsorted(work, np.linspace(0, work[-1], parts + 1)).tolist()
    return [(a, b) for a, b in pairwise([0, *ends[1:-1], rows]) if a < b]


def limited(pointers: np.ndarray, start: int, stop: int, rows: int, entries: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows one after the other, each of at most so many rows and entries, or of one row.

    >>> list(limited(np.array([0, 1, 2, 9, 10]), 0, 4, rows=3, entries=3))
    [(0, 2), (2, 3), (3, 4)]
    """
    while start < stop:
        last = int(np.searchsorted(pointers, pointers[start] + entries, "right")) - 1
        end = min(stop, start + rows, max(start + 1, last))
        yield start, end
        start = end


def scales(pieces: Iterable[Piece], nodes: int, degree: str = "in") -> np.ndarray:
    r"""$D^{-1/2}$, self-loops of weight one included: (N,) float32.

    Args:
        pieces: all edges.
        nodes: how many there are.
        degree: see `glt.adjacency.Adjacency.normalised`.
    """
    sums = np.ones(nodes)
    for source, target, values in pieces:
        np.add.at(sums, target if degree == "in" else source, values.astype(np.float64))
    scale: np.ndarray = (1 / np.sqrt(sums)).astype(np.float32)
    return scale


def band(pieces: Iterable[Piece], start: int, stop: int, scale: np.ndarray) -> Any:
    """Rows `start` to `stop` of the matrix as scipy's CSR matrix: float32, int32 indices, sorted.

    Args:
        pieces: edges; those to other targets are passed over.
        start, stop: targets.
        scale: what `scales` returned.

    Raises:
        ValueError: there are more entries than int32 can number.

    >>> ends = np.array([0, 1]), np.array([1, 0])
    >>> band([(*ends, np.ones(2, np.float32))], 0, 1, np.full(2, 0.5**0.5, np.float32)).toarray().round(2).tolist()
    [[0.5, 0.5]]
    """
    from scipy.sparse import csr_matrix

    loops = np.arange(start, stop, dtype=np.int32)
    found = [*_within(pieces, start, stop), (loops, loops, np.ones(len(loops), np.float32))]
    _check_size(sum(len(values) for _, _, values in found))
    source, target, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    del found
    shape = (stop - start, len(scale))
    matrix = csr_matrix((values, (target - np.int32(start), source)), shape=shape, dtype=np.float32)
    matrix.sort_indices()
    matrix.data *= scale[matrix.indices] * np.repeat(scale[start:stop], np.diff(matrix.indptr))
    return matrix


def whole(piece: Piece, nodes: int, kind: Kind) -> Any:
    """A matrix of all nodes, of edges that are in memory, as scipy's CSR matrix: float32, int32 indices, sorted.

    Raises:
        ValueError: there are more entries than int32 can number.

    >>> star = np.array([1, 2]), np.array([0, 0]), np.ones(2, np.float32)
    >>> whole(star, 3, Kind("mean", own=2.0)).toarray().tolist()
    [[2.0, 0.5, 0.5], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    """
    if kind.how == "symmetric":
        return band([piece], 0, nodes, scales([piece], nodes, kind.degree))
    from scipy.sparse import csr_matrix

    source, target, values = (part[piece[2] > 0] for part in piece) if kind.positive else piece
    _check_size(len(values) + nodes)
    if kind.how == "mean":
        sums = np.bincount(target, values, nodes).clip(min=1)
        values = (values / sums[target]).astype(np.float32)
    if kind.own:
        loops = np.arange(nodes)
        source, target = np.concatenate([source, loops]), np.concatenate([target, loops])
        values = np.concatenate([values, np.full(nodes, kind.own, np.float32)])
    matrix = csr_matrix((values, (target, source)), shape=(nodes, nodes), dtype=np.float32)
    matrix.sort_indices()
    return matrix


def _check_size(entries: int) -> None:
    if entries > np.iinfo(np.int32).max:
        raise ValueError(f"found {entries} edges with self-loops; expected fewer than 2^31")


def _within(pieces: Iterable[Piece], start: int, stop: int) -> Iterator[Piece]:
    for source, target, values in pieces:
        wanted = (target >= start) & (target < stop) & (values != 0)
        yield tuple(part if wanted.all() else part[wanted] for part in (source, target, values))  # type: ignore[misc]
