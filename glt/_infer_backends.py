"""The ways to compute a stage of full-graph inference, and the choice between them by the clock.

`dense` multiplies the weights by torch's GEMM, `sparse` touches the kept ones only. The matrix may be some rows of the
whole one: a stage then computes these.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch

from common.runs.errors import UsageError
from glt._infer_hops import hops
from glt._infer_matrix import Matrix
from glt._infer_plan import Stage
from glt._infer_products import Product, fused, gemm, given, scipy_product
from glt._infer_steps import Propagate
from glt._infer_work import Engine, Scratch, Work

__all__ = ["BACKENDS", "check_backend", "engines", "quickest", "sample"]

BACKENDS = ("scipy", "torch", "numba")
_SPARSE_BELOW = 0.5  # denser weights never win as CSR, so they are not tried
_ROWS, _ENTRIES, _RANGES = 1 << 13, 1 << 16, 16  # of a sample, at most, and in how many places it is taken


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


def engines(stage: Stage, backend: str, threads: int, *, soft: bool = False) -> dict[str, Engine]:
    """All ways to compute a stage; one, without a name, for the product of sparse features.

    Args:
        stage: what to compute.
        backend: one of `BACKENDS`, or `auto` for all that are installed. See `glt._infer_hops` for what takes the place
            of one that lacks an operation.
        threads: of numba; torch has its own setting and scipy runs on one.
        soft: some edges of the stage's matrix are there in part.
    """
    if stage.given:
        return {"": given(stage)}
    names = [name for name in BACKENDS if backend in ("auto", name)]
    if find_spec("numba") is None:
        names = [name for name in names if name != "numba"]
    firsts: dict[str, Product | None] = {names[-1]: None}
    if stage.first is not None:
        firsts = {**hops(stage.first, names, threads, soft=soft)}
    if not stage.maps:
        return {name: _chain(stage, first, ()) for name, first in firsts.items()}
    dense = tuple(gemm(step) for step in stage.maps)
    found = {f"{name} dense": _chain(stage, first, dense) for name, first in firsts.items()}
    if stage.density <= _SPARSE_BELOW:
        found |= _sparse(stage, names, firsts, threads)
    return found


def _sparse(stage: Stage, names: list[str], firsts: dict[str, Product | None], threads: int) -> dict[str, Engine]:
    """The ways that touch the kept weights only; numba's, where both stand behind a step of the same name."""
    found: dict[str, Engine] = {}
    if "scipy" in names:
        name = next(iter(firsts)) if stage.first is not None else "scipy"
        found[f"{name} sparse"] = _chain(stage, firsts.get(name), tuple(scipy_product(step) for step in stage.maps))
    if "numba" in names:
        *_, name = firsts
        propagates = isinstance(stage.hop, Propagate)
        first = None if propagates else firsts[name]
        found[f"{name} sparse"] = _chain(stage, first, (fused(stage, propagates, threads),))
    return found


def _chain(stage: Stage, first: Product | None, maps: Sequence[Product]) -> Engine:
    reads = stage.steps[0].reads

    def run(work: Work) -> torch.Tensor:
        x = work.values[reads]
        y = work.own(x) if stage.first is None else x
        for function in (*([] if first is None else [first]), *maps):
            y = function(y, work)
        return y

    return run


def quickest(candidates: dict[str, Engine], work: Work) -> str:
    """The name of the candidate that takes the least time on a sample of the rows."""
    if len(candidates) == 1:
        return next(iter(candidates))
    few = sample(work)
    for engine in candidates.values():
        engine(few)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(5):  # in turn, so that a busy moment is not held against one of them
        for name, engine in candidates.items():
            seconds[name].append(_time(engine, few))
    return min(seconds, key=lambda name: min(seconds[name]))


def sample(work: Work) -> Work:
    """The same on some of the rows, taken in several places, and on what they read; on all where they are few."""
    rows = len(next(iter(work.values.values()))) if work.matrix is None else work.matrix.shape[0]
    entries = 0 if work.matrix is None else int(work.matrix.parts[0][-1])
    share = min(1.0, _ROWS / max(1, rows), _ENTRIES / max(1, entries))
    if share == 1:
        return work
    size = max(1, int(rows * share / _RANGES))
    ranges = [(start, start + size) for start in np.linspace(0, rows - size, _RANGES, dtype=np.int64).tolist()]
    chosen = np.concatenate([np.arange(*part) for part in ranges])
    work = replace(work, scratch=Scratch())  # the other one holds the values themselves
    if work.matrix is None:
        return replace(work, values={number: value[chosen] for number, value in work.values.items()})
    some = work.matrix.some(ranges)
    pointers, columns, entry = some.parts
    square = work.matrix.shape[0] == work.matrix.shape[1]  # then a row is the node of the same number
    read = np.unique(np.concatenate([columns, chosen]) if square else columns)
    matrix = Matrix(pointers, np.searchsorted(read, columns).astype(np.int32), entry, len(read))
    values = {number: value[read] for number, value in work.values.items()}
    return replace(
        work, values=values, matrix=matrix, rows=torch.from_numpy(np.searchsorted(read, chosen)) if square else None
    )


def _time(engine: Engine, work: Work) -> float:
    begin = time.perf_counter()
    engine(work)
    return time.perf_counter() - begin
