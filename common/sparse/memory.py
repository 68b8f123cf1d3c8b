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
    """Float32 memory by size, on boundaries of 64 bytes, with a ledger of who still reads it.

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
        self._free: dict[int, list[Tensor]] = {}
        self._stages: dict[tuple[int, Plane], Tensor] = {}
        self._owned: dict[str, Tensor] = {}
        self._claims: dict[int, int] = {}

    def take(self, floats: int) -> Tensor:
        """Memory of so many floats, with whatever it held."""
        free = self._free.get(floats)
        return free.pop() if free else torch.from_numpy(buffer(floats))

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
                self._free.setdefault(floats.numel(), []).append(floats)

    def release_all(self) -> None:
        """No name is read any more."""
        for name in list(self._owned):
            self.release(name)

    def stage(self, channels: int, plane: Plane) -> Tensor:
        """Memory that is the same at every call, with a margin that stays zero as long as nobody writes to it."""
        found = self._stages.get((channels, plane))
        if found is None:
            found = self._stages[channels, plane] = torch.from_numpy(buffer(channels * plane.size // 4))
        return found
