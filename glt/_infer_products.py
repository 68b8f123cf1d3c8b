"""The back-ends of products with weights: torch's GEMM, or what touches the kept weights only (scipy, numba)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from glt._infer_matrix import Matrix
from glt._infer_plan import Stage, plain
from glt._infer_steps import Multiply, Step
from glt._infer_work import Engine, Work, finished, share

__all__ = ["Product", "bias_of", "fused", "gemm", "given", "scipy_product"]

Product = Callable[[Tensor, Work], Tensor]
"""From rows (R, in) to (R, out); what it is given stays as it is."""
_ROWS = 4096  # nodes that scipy's sparse weights take at once


def gemm(step: Step) -> Product:
    """The dense product and its touches."""
    weight = _weight(step)

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(len(x), weight.size(0), x)
        return finished(torch.mm(x, weight.T, out=y), step.touches, work)

    return run


def scipy_product(step: Step) -> Product:
    """The kept weights as a CSR matrix, times blocks of nodes side by side."""
    weight = _sparse(_weight(step))

    def run(x: Tensor, work: Work) -> Tensor:
        y = work.take(len(x), weight.shape[0], x)
        for rows, out in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
            out.copy_(torch.from_numpy(weight @ rows.T.contiguous().numpy()).T)
        return finished(y, step.touches, work)

    return run


def given(stage: Stage) -> Engine:
    """The product of sparse features."""
    (step,) = stage.maps
    weight = _weight(step)

    def run(work: Work) -> Tensor:
        if work.features is None:
            raise ValueError("found no sparse features; expected them in a stage that multiplies them")
        return finished(work.features.linear(weight), step.touches, work)

    return run


def fused(stage: Stage, propagates: bool, threads: int) -> Product:
    """A propagation, if there is one, and one or two products, block by block of nodes in one compiled loop."""
    from glt import _infer_numba

    packed = [_packed(step) for step in stage.maps]
    weights, width = (packed[0], packed[-1]), len(packed[-1][3])
    (bias, relu), _ = plain(stage.first.touches if propagates and stage.first is not None else ())
    _, rest = plain(stage.maps[-1].touches)

    def run(x: Tensor, work: Work) -> Tensor:
        matrix = work.there if propagates else _empty(len(x))  # products alone read no entry of it
        y = work.take(matrix.shape[0], width, x)
        words = (propagates, matrix.parts, x.numpy(), bias_of(bias, relu, x.size(1)), relu, weights, len(packed))
        share(lambda a, b: _infer_numba.stage(*words, y.numpy(), a, b), matrix.shares(threads), threads)
        return finished(y, rest, work)

    return run


def bias_of(bias: Tensor | None, relu: bool, width: int) -> np.ndarray:
    """A bias as the compiled loops take it: empty if the sum is left as it is."""
    if bias is not None:
        found: np.ndarray = bias.numpy()
        return found
    return np.zeros(width if relu else 0, np.float32)


def _weight(step: Step) -> Tensor:
    return cast(Multiply, step.op).weight


def _packed(step: Step) -> tuple[Any, Any, Any, Any, bool]:
    weight = _sparse(_weight(step))
    (bias, relu), _ = plain(step.touches)
    start = np.zeros(weight.shape[0], np.float32) if bias is None else bias.numpy()
    return weight.indptr, weight.indices, weight.data, start, relu


def _sparse(weight: Tensor) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(np.ascontiguousarray(weight.numpy()))


def _empty(rows: int) -> Matrix:
    """A matrix of so many rows without an entry."""
    return Matrix(np.zeros(rows + 1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32), rows)
