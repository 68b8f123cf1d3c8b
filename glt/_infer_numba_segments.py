"""Attention and maxima over the rows of a CSR matrix as compiled loops that hold no message."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from glt._infer_numba import compiled

__all__ = ["attend", "maximum"]


@compiled
def attend(matrix: Any, x: Any, powers: Any, targets: Any, spans: Any, y: Any, start: int, stop: int) -> None:
    """Attention of some nodes over their entries, without an exponential an edge.

    An entry weighs its value times the source's first power where that is above the target's threshold, else times its
    second power and the target's factor.

    Args:
        matrix: pointers, columns and values of the CSR matrix.
        x: (N, D) what is averaged.
        powers: (N, 2 heads), first and second.
        targets: (R, 2 heads), thresholds and factors.
        spans: (heads + 1,) where the columns of each head begin.
        y: (R, D), written.
        start, stop: the nodes.
    """
    pointers, heads = matrix[0], len(spans) - 1
    total, mass = np.empty(heads, np.float32), np.empty((4, heads), np.float32)
    for node in range(start, stop):
        out, end = y[node], pointers[node + 1]
        out[:], total[:] = 0, 0
        for at in range(pointers[node], end, 4):
            few = min(4, end - at)
            _weigh(matrix, powers, targets[node], at, few, mass, total)
            _gather(matrix[1], x, at, few, mass, spans, out)
        for head in range(heads):
            scale = np.float32(1) / total[head]
            for k in range(spans[head], spans[head + 1]):
                out[k] *= scale


@numba.njit(inline="always")
def _weigh(matrix: Any, powers: Any, mine: Any, at: int, few: int, mass: Any, total: Any) -> None:
    """What up to four entries weigh in every head; the rest weighs nothing."""
    heads = len(total)
    mass[few:] = 0
    for one in range(few):
        theirs, value = powers[matrix[1][at + one]], matrix[2][at + one]
        for head in range(heads):
            first, second = theirs[head], theirs[heads + head] * mine[heads + head]
            mass[one, head] = value * (first if first > mine[head] else second)
            total[head] += mass[one, head]


@numba.njit(inline="always")
def _gather(columns: Any, x: Any, at: int, few: int, mass: Any, spans: Any, out: Any) -> None:
    """Add up to four entries to a node, each head by its weight."""
    p, q = x[columns[at]], x[columns[at + min(1, few - 1)]]
    r, s = x[columns[at + min(2, few - 1)]], x[columns[at + min(3, few - 1)]]
    for head in range(mass.shape[1]):
        a, b, c, d = mass[0, head], mass[1, head], mass[2, head], mass[3, head]
        for k in range(spans[head], spans[head + 1]):
            out[k] += a * p[k] + b * q[k] + c * r[k] + d * s[k]


@compiled
def maximum(matrix: Any, x: Any, y: Any, start: int, stop: int) -> None:
    """The largest of each column over the entries of some rows; zero where there is none.

    Args:
        matrix: pointers, columns and values of the CSR matrix; the values are not read.
        x: (N, D) features.
        y: (R, D), written.
        start, stop: the rows.
    """
    pointers, columns, _ = matrix
    for node in range(start, stop):
        first, last, out = pointers[node], pointers[node + 1], y[node]
        if first == last:
            out[:] = 0
            continue
        out[:] = x[columns[first]]
        for at in range(first + 1, last):
            sent = x[columns[at]]
            for k in range(out.shape[0]):
                out[k] = max(out[k], sent[k])
