"""Images in lanes to images one after the other, and back: a transposition of 16 x 16 blocks in registers.

Torch copies between such strides one float at a time; attention, which the library computes image by image, needs four
such copies.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from common.sparse.emit import Emitter
from common.sparse.jit import Code, compiled
from common.sparse.layout import IMAGES
from common.sparse.machine import Machine
from common.sparse.team import Team, row, shares

__all__ = ["move"]

_NAME = "transpose_blocks"
_KINDS = ("ptr",) * 4 + ("i64",) * 4


def move(source: Tensor, target: Tensor, machine: Machine, team: Team) -> None:
    """Copy between tensors of one shape whose first dimension is 16 images, whatever their strides.

    Fast where one has its images in lanes and the other has another dimension of at least 16 side by side.

    Args:
        source, target: float32, on the CPU.
        machine: the target of the kernel.
        team: threads.

    >>> import torch
    >>> from common.sparse.machine import host
    >>> lanes = torch.arange(512.0).reshape(32, 16).t()
    >>> plain = torch.empty(16, 32)
    >>> move(lanes, plain, host(), Team(1))
    >>> torch.equal(plain, lanes)
    True
    """
    wide, narrow = (source, target) if source.stride(0) == 1 else (target, source)
    across = [d for d in range(1, narrow.dim()) if narrow.stride(d) == 1 and narrow.shape[d] >= IMAGES]
    if (
        len(source) != IMAGES
        or wide.stride(0) != 1
        or not across
        or source.dtype != target.dtype
        or source.itemsize != 4
    ):
        target.copy_(source)
        return
    dimension = across[-1]
    shape = tuple(narrow.shape)
    from_wide, from_narrow = (_offsets(shape, tensor.stride(), dimension) for tensor in (wide, narrow))
    steps = wide.stride(dimension) * 4, narrow.stride(0) * 4
    offsets = (from_wide, from_narrow) if source is wide else (from_narrow, from_wide)
    steps = steps if source is wide else steps[::-1]
    code = _code(machine)
    addresses = (source.data_ptr(), target.data_ptr(), offsets[0].ctypes.data, offsets[1].ctypes.data)
    team.run(code, [row(*addresses, *steps, *part) for part in shares(len(offsets[0]), team.threads)])


@cache
def _offsets(shape: tuple[int, ...], strides: tuple[int, ...], dimension: int) -> np.ndarray:
    """Bytes to the first float of every block of 16 along a dimension; the last one may overlap its neighbour."""
    starts = [min(at, shape[dimension] - IMAGES) for at in range(0, shape[dimension], IMAGES)]
    found = np.array(starts, dtype=np.int64) * strides[dimension]
    for d in range(1, len(shape)):
        if d != dimension:
            found = (np.arange(shape[d], dtype=np.int64)[:, None] * strides[d] + found[None]).reshape(-1)
    return found * 4


@cache
def _code(machine: Machine) -> Code:
    e = Emitter(_NAME, _KINDS, IMAGES)
    source, target, sources, targets, step_in, step_out, first, last = e.arguments
    with e.loop(first, last) as block:
        base = e.at(source, e.load_long(sources, block))
        rows = [e.load(e.at(base, e.mul(step_in, i))) for i in range(IMAGES)]
        for size in (1, 2, 4, 8):
            rows = _swapped(e, rows, size)
        base = e.at(target, e.load_long(targets, block))
        for i, vector in enumerate(rows):
            e.store(vector, e.at(base, e.mul(step_out, i)))
    return compiled(e.text(), _NAME, machine)


def _swapped(e: Emitter, rows: list[Any], size: int) -> list[Any]:
    """One of the four steps of a transposition: blocks of `size` change sides between rows that far apart."""
    low = [j if not j & size else IMAGES + j - size for j in range(IMAGES)]
    high = [j + size if not j & size else IMAGES + j for j in range(IMAGES)]
    found = list(rows)
    for i in range(IMAGES):
        if not i & size:
            found[i] = e.shuffle(rows[i], rows[i + size], low)
            found[i + size] = e.shuffle(rows[i], rows[i + size], high)
    return found
