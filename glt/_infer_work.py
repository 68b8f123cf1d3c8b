"""What the back-ends of inference compute with: memory that stays, a matrix, the values made so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from glt._infer_matrix import Matrix
from glt._infer_steps import Touch
from glt.features import Features

__all__ = ["Engine", "Scratch", "Work", "finished", "share"]


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


@dataclass(frozen=True)
class Work:
    """What a stage is computed with.

    Attributes:
        scratch: memory; what is taken from it shares none with the values.
        values: number to value, of those that are still read.
        matrix: of a stage that reads neighbours: a row for every node that is computed, a column for every node.
        rows: (R,) the nodes that are computed; None for all.
        features: the sparse ones.
    """

    scratch: Scratch
    values: Mapping[int, Tensor] = field(default_factory=dict)
    matrix: Matrix | None = None
    rows: Tensor | None = None
    features: Features | None = None

    @property
    def there(self) -> Matrix:
        """The matrix, in a stage that has one."""
        return cast(Matrix, self.matrix)

    def own(self, x: Tensor) -> Tensor:
        """Of a row for every node those of the nodes that are computed."""
        return x if self.rows is None else x[self.rows]

    def take(self, rows: int, width: int, *busy: Tensor) -> Tensor:
        """Uninitialised (rows, width) float32."""
        return self.scratch.take(rows, width, *busy, *self.values.values())


Engine = Callable[[Work], Tensor]
"""Computes a stage: (R, columns), in memory that the next stage may take unless it is among the values."""


def finished(y: Tensor, touches: tuple[Touch, ...], work: Work) -> Tensor:
    """The result of a step after its touches, in place."""
    for touch in touches:
        touch(y, lambda number: work.own(work.values[number]))
    return y


def share(function: Callable[[int, int], None], cuts: list[tuple[int, int]], threads: int) -> None:
    """Call a function for every range of rows, on some threads."""
    if len(cuts) == 1:
        function(*cuts[0])
        return
    for done in [_pool(threads).submit(function, *cut) for cut in cuts]:
        done.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "inference")
