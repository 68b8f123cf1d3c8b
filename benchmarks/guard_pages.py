"""Memory between two pages that nobody may touch, in the place of every buffer of the sparse kernels.

A read or write beyond a buffer that ends at such a page, or before one that begins at it, is a segmentation fault
instead of a wrong number now and then. `install` replaces the allocators of this process: the kernels' own buffers,
stages and outputs, the tables of weights and of offsets, biases, scales, shifts and rows of arguments.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.sparse import memory, summation, team, transfer
from common.sparse.norm import Normalise
from common.sparse.summation import Sum

__all__ = ["Fence", "install"]

_PAGE = mmap.PAGESIZE
_NONE = 0  # PROT_NONE, which the standard library does not name


class Fence:
    """An allocator.

    Attributes:
        end: whether memory ends at a forbidden page; else it begins at one. The other side has a gap to its page where
            the size is no multiple of a page.

    >>> fence = Fence()
    >>> fence.zeros(3, np.float32).ctypes.data % mmap.PAGESIZE == mmap.PAGESIZE - 12
    True
    """

    def __init__(self) -> None:
        self.end = True
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def zeros(self, count: int, kind: Any) -> np.ndarray:
        """Zeroed memory; whole vectors of 64 bytes lie on multiples of 64 bytes, other sizes on those of their type.

        Args:
            count: how many entries.
            kind: numpy's type of an entry.

        Raises:
            OSError: the system has no memory left, or no more regions.
        """
        size = count * np.dtype(kind).itemsize
        room = max(1, -(-size // _PAGE)) * _PAGE
        pages = mmap.mmap(-1, room + 2 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole = np.frombuffer(pages, dtype=np.uint8)
        for page in (0, _PAGE + room):
            if self._protect(whole.ctypes.data + page, _PAGE, _NONE):
                raise OSError(ctypes.get_errno(), "a page cannot be forbidden; expected free regions. Use fewer cases")
        start = _PAGE + (room - size if self.end else 0)
        return whole[start : start + size].view(kind)

    def copy(self, values: np.ndarray) -> np.ndarray:
        """The same array between forbidden pages."""
        found = self.zeros(values.size, values.dtype).reshape(values.shape)
        found[...] = values
        return found

    def tensor(self, values: Tensor) -> Tensor:
        """The same values, contiguous, between forbidden pages."""
        return torch.from_numpy(self.copy(values.numpy()))


class _Numpy:
    """Numpy, but what is made for a kernel lies between forbidden pages."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def stack(self, rows: Any) -> np.ndarray:
        return self._fence.copy(np.stack(rows))

    def array(self, values: Any, dtype: Any = None) -> np.ndarray:
        return self._fence.copy(np.array(values, dtype=dtype))


def install(fence: Fence) -> None:
    """Let the sparse runtime of this process take its memory from a fence, for good."""
    for module in (memory, summation):
        module.buffer = lambda floats: fence.zeros(floats, np.float32)  # type: ignore[attr-defined]
    memory._WASTE = 1  # type: ignore[attr-defined]  # a piece that is larger than wanted ends too late
    team.np = _Numpy(fence)  # type: ignore[assignment]
    plain_taps, plain_offsets, plain_run = summation.taps, transfer._offsets, Sum.run

    def taps(*args: Any, **kwargs: Any) -> Any:
        found = plain_taps(*args, **kwargs)
        return replace(found, pointers=fence.copy(found.pointers), entries=fence.copy(found.entries))

    def run(self: Sum, x: int, y: int, bias: int, *others: Any) -> None:
        count = self._taps.channels * self.lanes
        fenced = fence.copy(np.ctypeslib.as_array((ctypes.c_float * count).from_address(bias)))
        plain_run(self, x, y, fenced.ctypes.data, *others)

    summation.taps = taps  # type: ignore[assignment]
    transfer._offsets = lambda *args: fence.copy(plain_offsets(*args))  # type: ignore[assignment]
    Sum.run = run  # type: ignore[method-assign]
    _after(
        Sum, lambda found: vars(found).update(_inputs=fence.copy(found._inputs), _outputs=fence.copy(found._outputs))
    )
    _after(
        Normalise, lambda found: vars(found).update(_scale=fence.copy(found._scale), _shift=fence.copy(found._shift))
    )


def _after(kind: type, change: Callable[[Any], object]) -> None:
    """Change the instances of a class once they are made."""
    plain: Callable[..., None] = vars(kind)["__init__"]

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        change(self)

    kind.__init__ = made  # type: ignore[misc]
