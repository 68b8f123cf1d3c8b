"""Buffers that come back when nobody reads them any more, so that a forward touches no fresh memory."""

from __future__ import annotations

import torch
from torch import Tensor

from common.sparse.layout import Plane
from common.sparse.summation import buffer

__all__ = ["Pool", "over"]


def over(floats: Tensor, images: int, channels: int, plane: Plane, start: int = 0) -> Tensor:
    """The (images, channels, rows, columns) tensor that a plane's pixels inside the margin are.

    Args:
        floats: flat memory.
        images, channels: its other sizes.
        plane: where the pixels lie.
        start: floats to skip.
    """
    size = (images, channels, plane.rows, plane.cols)
    return floats.as_strided(size, plane.strides, floats.storage_offset() + start + plane.origin // 4)


class Pool:
    """Float32 memory by size, on boundaries of 64 bytes.

    >>> pool = Pool()
    >>> first = pool.take(8)
    >>> pool.give(first)
    >>> pool.take(8).data_ptr() == first.data_ptr()
    True
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = {}
        self._stages: dict[tuple[int, Plane], Tensor] = {}

    def take(self, floats: int) -> Tensor:
        """Memory of so many floats, with whatever it held."""
        free = self._free.get(floats)
        return free.pop() if free else torch.from_numpy(buffer(floats))

    def give(self, floats: Tensor) -> None:
        """Take memory back."""
        self._free.setdefault(floats.numel(), []).append(floats)

    def stage(self, channels: int, plane: Plane) -> Tensor:
        """Memory that is the same at every call, with a margin that stays zero as long as nobody writes to it."""
        found = self._stages.get((channels, plane))
        if found is None:
            found = self._stages[channels, plane] = torch.from_numpy(buffer(channels * plane.size // 4))
        return found
