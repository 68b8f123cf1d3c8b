"""Buffers that come back when nobody reads them any more, so that a forward touches no fresh memory."""

from __future__ import annotations

from collections.abc import Hashable

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


_WASTE = 4  # how many times the wanted size a free piece may have


class Pool:
    """Float32 memory, on boundaries of 64 bytes, with a ledger of who still reads it.

    >>> pool = Pool()
    >>> first = pool.take(8)
    >>> pool.own("a", first)
    >>> pool.own("view of a", first)
    >>> pool.release("a")
    >>> pool.take(8).data_ptr() == first.data_ptr()
    False
    >>> pool.release("view of a")
    >>> pool.take(8).data_ptr() == first.data_ptr()
    True
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._whole: dict[int, Tensor] = {}
        self._stages: dict[Hashable, Tensor] = {}
        self._owned: dict[str, Tensor] = {}
        self._claims: dict[int, int] = {}

    def take(self, floats: int) -> Tensor:
        """Memory of so many floats, with whatever it held: the smallest free piece of up to twice the size."""
        fits = [index for index, piece in enumerate(self._free) if floats <= piece.numel() <= _WASTE * floats]
        if fits:
            piece = self._free.pop(min(fits, key=lambda index: self._free[index].numel()))
        else:
            piece = torch.from_numpy(buffer(floats))
        self._whole[piece.data_ptr()] = piece
        return piece[:floats]

    def own(self, name: str, floats: Tensor) -> None:
        """Keep memory until this name, and every other that owns it, is released."""
        self._owned[name] = floats
        self._claims[floats.data_ptr()] = self._claims.get(floats.data_ptr(), 0) + 1

    def owned(self, name: str, value: Tensor) -> Tensor | None:
        """The memory of a name, if a value lies in it."""
        floats = self._owned.get(name)
        same = floats is not None and floats.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()
        return floats if same else None

    def release(self, name: str) -> None:
        """A name is read no more; memory that nobody owns can be taken again."""
        floats = self._owned.pop(name, None)
        if floats is not None:
            self._claims[floats.data_ptr()] -= 1
            if not self._claims[floats.data_ptr()]:
                del self._claims[floats.data_ptr()]
                self._free.append(self._whole.pop(floats.data_ptr()))

    def release_all(self) -> None:
        """No name is read any more."""
        for name in list(self._owned):
            self.release(name)

    def stage(self, use: Hashable, floats: int) -> Tensor:
        """Memory that starts as zeros and stays with its use, at least so many floats.

        Args:
            use: who writes where in it; what one use never writes to stays zero.
            floats: how many are wanted now; memory of a smaller call is not copied.
        """
        found = self._stages.get(use)
        if found is None or found.numel() < floats:
            found = self._stages[use] = torch.from_numpy(buffer(floats))
        return found[:floats]
