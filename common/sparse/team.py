"""Threads that share one kernel: those of torch's own OpenMP where there is one, of Python otherwise.

Torch's workers spin for a while after every operation, so that a second set of threads would fight them for the cores.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.sparse.jit import Code, compiled

__all__ = ["Team", "row", "shares"]

_SHARE = """
define void @share(ptr %data) {
entry:
%function = load ptr, ptr %data
%count.at = getelementptr i8, ptr %data, i64 8
%count = load i64, ptr %count.at
%rows.at = getelementptr i8, ptr %data, i64 16
%rows = load ptr, ptr %rows.at
%width.at = getelementptr i8, ptr %data, i64 24
%width = load i64, ptr %width.at
%rank.at = getelementptr i8, ptr %data, i64 32
%rank.function = load ptr, ptr %rank.at
%size.at = getelementptr i8, ptr %data, i64 40
%size.function = load ptr, ptr %size.at
%rank = call i32 %rank.function()
%first = sext i32 %rank to i64
%size = call i32 %size.function()
%step = sext i32 %size to i64
br label %test
test:
%i = phi i64 [%first, %entry], [%next, %work]
%more = icmp slt i64 %i, %count
br i1 %more, label %work, label %done
work:
%offset = mul i64 %i, %width
%row = getelementptr i8, ptr %rows, i64 %offset
call void %function(ptr %row)
%next = add i64 %i, %step
br label %test
done:
ret void
}
"""


def row(*arguments: int | float) -> np.ndarray:
    """The 8-byte arguments of a kernel: integers and addresses as they are, numbers as float32 in the low half.

    >>> row(7, 1.0).tolist()
    [7, 1065353216]
    """
    whole = [a if isinstance(a, int) else int(np.float32(a).view(np.int32)) for a in arguments]
    return np.array(whole, dtype=np.int64)


class Team:
    """Runs a kernel on several rows of arguments at once.

    Args:
        threads: how many, the caller's among them.

    Raises:
        ValueError: fewer than one.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"found {threads} threads; expected at least 1")
        self.threads = threads
        self._openmp = _openmp() if threads > 1 else None
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 and self._openmp is None else None

    def run(self, code: Code, rows: Sequence[np.ndarray]) -> None:
        """Call a kernel with every row of arguments and return when all are done.

        Args:
            code: the kernel.
            rows: of `row`, all of one length.
        """
        table = np.stack(rows)
        places = [table.ctypes.data + index * table.strides[0] for index in range(len(table))]
        if self._openmp is not None and len(rows) > 1:
            start, share, rank, size = self._openmp
            data = np.array([code.address, len(rows), table.ctypes.data, table.strides[0], rank, size], dtype=np.int64)
            start(share.address, data.ctypes.data, min(self.threads, len(rows)), 0)
        elif self._pool is not None and len(rows) > 1:
            others = [self._pool.submit(partial(code.call, place)) for place in places[1:]]
            code.call(places[0])
            for other in others:
                other.result()
        else:
            for place in places:
                code.call(place)


def shares(length: int, parts: int) -> list[tuple[int, int]]:
    """A range cut into at most so many parts of nearly one size, none of them empty.

    >>> shares(5, 2), shares(1, 4)
    ([(0, 2), (2, 5)], [(0, 1)])
    """
    edges = [length * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


@cache
def _openmp() -> tuple[Any, Code, int, int] | None:
    """GNU OpenMP as torch brings it: how to start a team, the function every thread runs, who am I, how many are we."""
    folder = Path(torch.__file__).parent
    found = [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]
    try:
        library = ctypes.CDLL(str(found[0]))
        start = library.GOMP_parallel
        rank, size = (
            ctypes.cast(f, ctypes.c_void_p).value for f in (library.omp_get_thread_num, library.omp_get_num_threads)
        )
    except (IndexError, OSError, AttributeError):
        return None
    start.argtypes, start.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start, compiled(_SHARE, "share"), rank or 0, size or 0
