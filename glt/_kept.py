"""The propagation matrix of a graph on disk: kept edges, made in bands of rows, in memory or in a nameless file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from glt._infer_matrix import Matrix, Piece, band, limited
from glt._rows import Mapped, append, nameless

__all__ = ["AN_EDGE", "AN_ENTRY", "Kept", "counted", "keep"]

AN_ENTRY = 8
"""Bytes of an index and a value."""
AN_EDGE = 64
"""Bytes that an edge takes at most while its band is made."""


class Kept:
    """Some rows of the propagation matrix.

    Args:
        pointers: (rows + 1,) int64.
        indices, values: (E,) int32 and float32.
        nodes: of the graph.

    Attributes:
        columns: how many there are, one a node unless renumbered.
    """

    def __init__(
        self, pointers: np.ndarray, indices: np.ndarray | Mapped, values: np.ndarray | Mapped, nodes: int
    ) -> None:
        self.pointers, self._indices, self._values = pointers, indices, values
        self._number: np.ndarray | None = None
        self.columns = nodes

    @property
    def entries(self) -> int:
        """How many entries there are, self-loops included."""
        return int(self.pointers[-1])

    @property
    def held(self) -> bool:
        """Whether they are in memory."""
        return isinstance(self._indices, np.ndarray)

    def indices(self, start: int, stop: int) -> np.ndarray:
        """The columns of some rows' entries."""
        found = _part(self._indices, int(self.pointers[start]), int(self.pointers[stop]))
        return found if self._number is None else self._number[found]

    def matrix(self, start: int, stop: int, number: np.ndarray | None = None, columns: int | None = None) -> Matrix:
        """Some rows.

        Args:
            start, stop: which.
            number: (columns,) another column for each; as they are if None.
            columns: how many these are.
        """
        begin, end = int(self.pointers[start]), int(self.pointers[stop])
        pointers = (self.pointers[start : stop + 1] - begin).astype(np.int32)
        indices = self.indices(start, stop)
        indices = indices if number is None else number[indices]
        return Matrix(pointers, indices, _part(self._values, begin, end), columns or self.columns)

    def renumber(self, held: np.ndarray) -> None:
        """From now on a column is the place of its node among some, which are sorted."""
        if len(held) < self.columns:
            self._number = np.zeros(self.columns, np.int32)
            self._number[held] = np.arange(len(held), dtype=np.int32)
            self.columns = len(held)

    def wanted(self) -> np.ndarray:
        """(columns,) which of them the rows read."""
        seen = np.zeros(self.columns, bool)
        for first, last in limited(self.pointers, 0, len(self.pointers) - 1, self.columns, 1 << 17):
            seen[self.indices(first, last)] = True
        return seen


def counted(pieces: Iterable[Piece], counts: np.ndarray) -> Iterator[Piece]:
    """The same pieces; how many values other than zero lead into every node is added to `counts` (N,)."""
    for source, target, values in pieces:
        np.add.at(counts, target[values != 0], 1)
        yield source, target, values


def keep(
    pieces: Callable[[], Iterable[Piece]],
    scale: np.ndarray,
    counts: np.ndarray,
    rows: range,
    *,
    folder: Path,
    memory: float,
    hold: Callable[[int], bool],
) -> Kept:
    """Make some rows of the matrix.

    Args:
        pieces: gives all edges, as often as asked: once a band.
        scale: see `glt._infer_matrix.band`.
        counts: (N,) values that lead into every node, at least.
        rows: which.
        folder: of the nameless files.
        memory: bytes for a band.
        hold: from a number of entries, whether they stay in memory.
    """
    if math.isinf(memory):
        matrix = band(pieces(), rows.start, rows.stop, scale)
        return Kept(matrix.indptr.astype(np.int64), matrix.indices, matrix.data, len(scale))
    pointers, before = [np.zeros(1, np.int64)], np.concatenate([[0], np.cumsum(counts + 1)])
    bands = limited(before, rows.start, rows.stop, len(scale), int(memory) // AN_EDGE)
    with nameless(folder) as indices, nameless(folder) as values:
        for start, stop in bands:
            matrix = band(pieces(), start, stop, scale)
            pointers.append(pointers[-1][-1] + matrix.indptr[1:].astype(np.int64))
            append(indices, matrix.indices)
            append(values, matrix.data)
            del matrix  # before the next one is made
        entries = int(pointers[-1][-1])
        stored = Mapped(indices, np.dtype(np.int32), (entries,)), Mapped(values, np.dtype(np.float32), (entries,))
    if hold(entries) and AN_ENTRY * entries <= memory:
        return Kept(np.concatenate(pointers), stored[0].read(), stored[1].read(), len(scale))
    return Kept(np.concatenate(pointers), *stored, len(scale))


def _part(array: np.ndarray | Mapped, begin: int, end: int) -> np.ndarray:
    return array[begin:end] if isinstance(array, np.ndarray) else array.read(begin, end)
