"""The back-ends of full-graph inference, and the choice between them by the clock.

Each turns a stage into functions from features and a matrix to features. `dense` multiplies the weights by torch's
GEMM, `sparse` touches the kept ones only. The matrix may be some rows of the whole one: a stage then computes these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError
from glt._infer_matrix import Matrix
from glt._infer_plan import Finish, Map, Stage

__all__ = ["BACKENDS", "Engine", "Scratch", "check_backend", "engines", "quickest"]

BACKENDS = ("scipy", "torch", "numba")
_SPARSE_BELOW = 0.5  # denser weights never win as CSR, so they are not tried
_ROWS = 4096  # nodes that scipy's sparse weights take at once


class Scratch:
    """Memory for activations that is kept between calls, since fresh pages cost as much as a propagation."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []

    def take(self, rows: int, width: int, *busy: Tensor) -> Tensor:
        """Uninitialised (rows, width) float32 that shares no memory with the busy tensors."""
        used = {tensor.untyped_storage().data_ptr() for tensor in busy}
        size = rows * width
        for slot, flat in enumerate(self._kept):
            if flat.untyped_storage().data_ptr() not in used:
                if flat.numel() < size:
                    flat = self._kept[slot] = _fresh(size)
                return flat[:size].view(rows, width)
        self._kept.append(_fresh(size))
        return self._kept[-1].view(rows, width)


def _fresh(size: int) -> Tensor:
    """Uninitialised memory; numpy asks the system for large pages, which random rows of it are read the faster from."""
    return torch.from_numpy(np.empty(size, np.float32))


Engine = Callable[[Tensor, Scratch, "Matrix | None"], Tensor]
"""From features (columns of the matrix, D), scratch memory and the matrix, which only a propagation needs, to features
(rows of the matrix, outputs)."""
_Map = Callable[..., Tensor]  # from features, scratch memory and tensors that must stay as they are
_Hop = Callable[[Tensor, Scratch, Matrix], Tensor]


def check_backend(backend: str) -> None:
    """Refuse a back-end that there is not.

    Raises:
        UsageError: an unknown name, or numba, which is not installed.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"found the backend {backend!r}; expected one of auto, {', '.join(BACKENDS)}")
    if backend == "numba" and find_spec("numba") is None:
        raise UsageError(
            "found the backend 'numba', but numba is not installed; expected one of auto, scipy, torch. "
            "pip install 'lottery-tickets[accel]' brings it."
        )


def engines(stage: Stage, backend: str, threads: int) -> dict[str, Engine]:
    """All ways to compute a stage.

    Args:
        stage: what to compute.
        backend: one of `BACKENDS`, or `auto` for all that are installed.
        threads: of numba; torch has its own setting and scipy runs on one.
    """
    names = [name for name in BACKENDS if backend in ("auto", name)]
    if find_spec("numba") is None:
        names = [name for name in names if name != "numba"]
    hops = {"scipy": _scipy_hop, "torch": _torch_hop, "numba": _numba_hop}
    found: dict[str, Engine] = {}
    sparse = bool(stage.maps) and stage.density <= _SPARSE_BELOW
    for name in names:
        first = hops[name](stage, threads) if stage.hop else None
        if not stage.maps:
            found[name] = _chain(first, ())
            continue
        if stage.hop or name == names[-1]:
            found[f"{name} dense"] = _chain(first, tuple(_gemm(kind) for kind in stage.maps))
        if sparse and name == "scipy":
            found["scipy sparse"] = _chain(first, tuple(_scipy_map(kind) for kind in stage.maps))
        if sparse and name == "numba":
            found["numba sparse"] = _numba_stage(stage, threads)
    return found


def quickest(candidates: dict[str, Engine], x: Tensor, scratch: Scratch, matrix: Matrix | None) -> tuple[str, Tensor]:
    """The name of the candidate that takes the least time on an input, and its result."""
    if len(candidates) == 1:
        name = next(iter(candidates))
        return name, candidates[name](x, scratch, matrix)
    for engine in candidates.values():
        engine(x, scratch, matrix)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(3):  # in turn, so that a busy moment is not held against one of them
        for name, engine in candidates.items():
            seconds[name].append(_time(engine, x, scratch, matrix))
    best = min(seconds, key=lambda name: min(seconds[name]))
    return best, candidates[best](x, scratch, matrix)


def _time(engine: Engine, x: Tensor, scratch: Scratch, matrix: Matrix | None) -> float:
    begin = time.perf_counter()
    engine(x, scratch, matrix)
    return time.perf_counter() - begin


def _chain(first: _Hop | None, maps: tuple[_Map, ...]) -> Engine:
    def run(x: Tensor, scratch: Scratch, matrix: Matrix | None) -> Tensor:
        y = x if first is None or matrix is None else first(x, scratch, matrix)
        for step in maps:
            y = step(y, scratch, x)  # the input stays, for the next candidate
        return y

    return run


def _finished(y: Tensor, finish: Finish) -> Tensor:
    if finish.bias is not None:
        y.add_(finish.bias)
    return y.relu_() if finish.relu else y


def _gemm(kind: Map) -> _Map:
    weight = kind.weight

    def run(x: Tensor, scratch: Scratch, *busy: Tensor) -> Tensor:
        y = scratch.take(len(x), weight.size(0), x, *busy)
        return _finished(torch.mm(x, weight.T, out=y), kind.finish)

    return run


def _scipy_map(kind: Map) -> _Map:
    weight = _sparse(kind.weight)

    def run(x: Tensor, scratch: Scratch, *busy: Tensor) -> Tensor:
        y = scratch.take(len(x), weight.shape[0], x, *busy)
        for rows, out in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
            out.copy_(torch.from_numpy(weight @ rows.T.contiguous().numpy()).T)
        return _finished(y, kind.finish)

    return run


def _scipy_hop(stage: Stage, threads: int) -> _Hop:
    del threads
    return lambda x, _, matrix: _finished(torch.from_numpy(matrix.scipy @ x.numpy()), stage.after)


def _torch_hop(stage: Stage, threads: int) -> _Hop:
    del threads

    def run(x: Tensor, scratch: Scratch, matrix: Matrix) -> Tensor:
        y = scratch.take(matrix.shape[0], x.size(1), x)
        return _finished(torch.mm(matrix.torch, x, out=y), stage.after)

    return run


def _numba_hop(stage: Stage, threads: int) -> _Hop:
    from glt import _infer_numba

    def run(x: Tensor, scratch: Scratch, matrix: Matrix) -> Tensor:
        y = scratch.take(matrix.shape[0], x.size(1), x)
        words = (matrix.parts, x.numpy(), _bias(stage.after, x.size(1)), stage.after.relu, y.numpy())
        _share(lambda a, b: _infer_numba.hop(*words, a, b), matrix.shares(threads), threads)
        return y

    return run


def _numba_stage(stage: Stage, threads: int) -> Engine:
    from glt import _infer_numba

    packed = [_packed(kind) for kind in stage.maps]
    weights, width = (packed[0], packed[-1]), len(packed[-1][3])

    def run(x: Tensor, scratch: Scratch, matrix: Matrix | None) -> Tensor:
        found = _empty(len(x)) if matrix is None else matrix  # maps alone read no entry of it
        y = scratch.take(found.shape[0], width, x)
        bias, after = _bias(stage.after, x.size(1)), stage.after
        words = (stage.hop, found.parts, x.numpy(), bias, after.relu, weights, len(packed), y.numpy())
        _share(lambda a, b: _infer_numba.stage(*words, a, b), found.shares(threads), threads)
        return y

    return run


def _empty(rows: int) -> Matrix:
    """A matrix of so many rows without an entry."""
    return Matrix(np.zeros(rows + 1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32), rows)


def _packed(kind: Map) -> tuple[Any, Any, Any, Any, bool]:
    weight = _sparse(kind.weight)
    bias = np.zeros(weight.shape[0], np.float32) if kind.finish.bias is None else kind.finish.bias.numpy()
    return weight.indptr, weight.indices, weight.data, bias, kind.finish.relu


def _sparse(weight: Tensor) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(np.ascontiguousarray(weight.numpy()))


def _bias(after: Finish, width: int) -> Any:
    if after.bias is not None:
        return after.bias.numpy()
    return np.zeros(width if after.relu else 0, np.float32)


def _share(function: Callable[[int, int], None], cuts: list[tuple[int, int]], threads: int) -> None:
    if len(cuts) == 1:
        function(*cuts[0])
        return
    for done in [_pool(threads).submit(function, *cut) for cut in cuts]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "inference")
