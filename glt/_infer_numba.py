"""A stage of full-graph inference as one compiled loop over blocks of nodes.

A block's propagated features are turned so that its nodes lie side by side; a kept weight then multiplies whole
vectors. Pruned weights cost nothing, and what lies between propagation and the last map never leaves the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

__all__ = ["BLOCK", "compiled", "hop", "stage"]

BLOCK = 128
"""Nodes side by side: eight vectors of 16."""
_TILE = 16


def compiled(function: Callable[..., None]) -> Any:
    """The function in machine code, kept on disk where that can be written."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


@numba.njit(inline="always")
def _add(matrix: Any, x: Any, line: int, out: Any, width: int) -> None:
    """Add one line of a CSR matrix times x to `out`, four entries at a time."""
    pointers, columns, values = matrix
    at, end = pointers[line], pointers[line + 1]
    while at + 4 <= end:
        a, b, c, d = values[at], values[at + 1], values[at + 2], values[at + 3]
        p, q, r, s = x[columns[at]], x[columns[at + 1]], x[columns[at + 2]], x[columns[at + 3]]
        for k in range(width):
            out[k] += a * p[k] + b * q[k] + c * r[k] + d * s[k]
        at += 4
    while at < end:
        a, p = values[at], x[columns[at]]
        for k in range(width):
            out[k] += a * p[k]
        at += 1


@compiled
def _row(matrix: Any, x: Any, node: int, out: Any) -> None:
    out[:] = 0
    _add(matrix, x, node, out, x.shape[1])


@compiled
def _finish(out: Any, bias: Any, relu: bool) -> None:
    for k in range(out.shape[0]):
        out[k] += bias[k]
    if relu:
        for k in range(out.shape[0]):
            out[k] = max(out[k], np.float32(0))


@compiled
def _turn(source: Any, target: Any, rows: int, columns: int) -> None:
    for start in range(0, rows, _TILE):
        stop = min(start + _TILE, rows)
        for column in range(columns):
            for row in range(start, stop):
                target[column, row] = source[row, column]


@compiled
def _multiply(weight: Any, x: Any, y: Any) -> None:
    pointers, columns, values, bias, relu = weight
    for unit in range(y.shape[0]):
        out, start = y[unit], bias[unit]
        for k in range(BLOCK):
            out[k] = start
        _add((pointers, columns, values), x, unit, out, BLOCK)
        if relu:
            for k in range(BLOCK):
                out[k] = max(out[k], np.float32(0))


@compiled
def hop(matrix: Any, x: Any, bias: Any, relu: bool, y: Any, start: int, stop: int) -> None:
    """Propagate into some nodes and finish with bias and ReLU.

    Args:
        matrix: pointers, columns and values of the CSR matrix.
        x: (N, D) features.
        bias: (D,); empty if the result is left as it is.
        relu: whether negative sums become zero.
        y: (N, D), written.
        start, stop: the nodes.
    """
    for node in range(start, stop):
        _row(matrix, x, node, y[node])
        if bias.shape[0] > 0:
            _finish(y[node], bias, relu)


@compiled
def stage(
    propagates: bool,
    matrix: Any,
    x: Any,
    bias: Any,
    relu: bool,
    weights: Any,
    count: int,
    y: Any,
    start: int,
    stop: int,
) -> None:
    """Propagate into some nodes, or take them as they are, and apply one or two sparse maps.

    Args:
        propagates: whether there is a propagation.
        matrix, x, bias, relu: see `hop`.
        weights: two maps, each pointers, columns, values, bias and ReLU.
        count: how many of them count.
        y: (N, outputs), written.
        start, stop: the nodes.
    """
    width, first, last = x.shape[1], weights[0], weights[1]
    wide = np.zeros((width, BLOCK), np.float32)
    middle = np.empty((first[3].shape[0], BLOCK), np.float32)
    final = np.empty((last[3].shape[0], BLOCK), np.float32)
    rows = np.empty((BLOCK, width), np.float32)
    for begin in range(start, stop, BLOCK):
        size = min(BLOCK, stop - begin)
        if propagates:
            for k in range(size):
                _row(matrix, x, begin + k, rows[k])
                if bias.shape[0] > 0:
                    _finish(rows[k], bias, relu)
            _turn(rows, wide, size, width)
        else:
            _turn(x[begin : begin + size], wide, size, width)
        _multiply(first, wide, middle)
        if count == 2:
            _multiply(last, middle, final)
            _turn(final, y[begin : begin + size], final.shape[0], size)
        else:
            _turn(middle, y[begin : begin + size], middle.shape[0], size)
