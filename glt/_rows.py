"""Matrices of float32 rows that need not be in memory: in an array, in a mapped file, or some rows of another.

All have `shape`, `load` and, but for what only reads, `write`. A file is read through a memory map window by window;
what was read is given back to the system at once, so that it counts in no one's resident memory, and stays in the
system's cache as long as there is room.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import numpy as np

__all__ = ["Held", "Mapped", "Rows", "Spilled", "Store", "View", "append", "nameless"]

Index = slice | np.ndarray
"""A range, or sorted whole numbers without repetition."""
WINDOW = 2 << 20
"""Bytes of a file that are read at once."""
_AROUND = 128 << 10


class Rows(Protocol):
    """What can be read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def load(self, out: np.ndarray, rows: Index, columns: slice) -> None:
        """Copy some rows and columns into `out`."""


class Store(Rows, Protocol):
    """What can be written, too."""

    def write(self, start: int, block: np.ndarray, column: int = 0) -> None:
        """Put a block where its first row and column say."""


class Held:
    """Rows in memory.

    >>> held = Held(2, 3)
    >>> held.write(1, np.ones((1, 2), np.float32), column=1)
    >>> held.array[1, 1:].tolist()
    [1.0, 1.0]
    """

    def __init__(self, count: int, width: int) -> None:
        self.shape = (count, width)
        self.array = np.empty((count, width), np.float32)

    def load(self, out: np.ndarray, rows: Index, columns: slice) -> None:
        """See `Rows`."""
        out[:] = self.array[rows, columns]

    def write(self, start: int, block: np.ndarray, column: int = 0) -> None:
        """See `Store`."""
        self.array[start : start + len(block), column : column + block.shape[1]] = block


class Mapped:
    """An array in a file, read only: of numbers (count,) or of rows (count, width).

    Args:
        file: open for reading; the map keeps its own hold on it.
        dtype, shape: of what is in it.
        offset: bytes before the array.
    """

    def __init__(self, file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], offset: int = 0) -> None:
        size = int(np.prod(shape))
        self.dtype, self._offset = dtype, offset
        self.shape = (shape[0], shape[1] if len(shape) > 1 else 1)
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        flat = np.frombuffer(self._map, dtype, size, offset) if self._map else np.zeros(0, dtype)
        self._rows = flat.reshape(self.shape)

    @classmethod
    def npy(cls, path: Path) -> Mapped:
        """The array of an `.npy`, row after row.

        Raises:
            ValueError: it is none.
        """
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(file)
            if fortran and len(shape) > 1:
                raise ValueError(f"{path}: found columns one after the other; expected rows")
            return cls(file, dtype, shape, file.tell())

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """A copy of some numbers of a (count,) array."""
        stop = self.shape[0] if stop is None else stop
        found = np.empty(stop - start, self.dtype)
        for a, b in self._windows(start, stop):
            found[a - start : b - start] = self._rows[a:b, 0]
            self._release(a, b)
        return found

    def load(self, out: np.ndarray, rows: Index, columns: slice | np.ndarray) -> None:
        """See `Rows`."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            for a, b in self._windows(start, stop):
                out[a - start : b - start] = self._rows[a:b, columns]
                self._release(a, b)
            return
        ends = np.arange(self._step, self.shape[0], self._step)
        at = 0
        for number, end in enumerate([*np.searchsorted(rows, ends).tolist(), len(rows)]):
            if end > at:
                a, b = number * self._step, min(self.shape[0], (number + 1) * self._step)
                out[at:end] = self._rows[a:b, columns][rows[at:end] - a]
                self._release(a, b)
            at = end

    @property
    def _step(self) -> int:
        return max(1, WINDOW // (self.dtype.itemsize * self.shape[1]))

    def _windows(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for a in range(start, stop, self._step):
            yield a, min(a + self._step, stop)

    def _release(self, start: int, stop: int) -> None:
        """Give the pages of some rows back, and those around them that the system maps along."""
        if self._map is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        size = self.dtype.itemsize * self.shape[1]
        first = max(0, self._offset + start * size - _AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
        last = min(len(self._map), self._offset + stop * size + _AROUND)
        self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


def nameless(folder: Path) -> IO[bytes]:
    """A file without a name in a folder: gone as soon as it is closed, whatever ends the process."""
    return tempfile.TemporaryFile(dir=folder, prefix=".glt-", buffering=0)


def append(file: IO[bytes], array: np.ndarray) -> None:
    """Write an array where a file stands.

    Raises:
        OSError: there is no room for it.
    """
    rest = np.ascontiguousarray(array).data.cast("B")
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} for a temporary file; find room, or write elsewhere") from error


class Spilled:
    """Rows in a nameless file, some columns of all rows after the other, so that each such strip reads in one go.

    Args:
        folder: where the file lies.
        count, width: rows and columns.
        strip: columns of a strip; the width for plain rows.
    """

    def __init__(self, folder: Path, count: int, width: int, strip: int | None = None) -> None:
        self.shape, self.strip = (count, width), min(width, strip or width)
        self._file = nameless(folder)
        weakref.finalize(self, self._file.close)
        self._file.truncate(4 * count * width)
        self._maps: dict[int, Mapped] = {}

    def load(self, out: np.ndarray, rows: Index, columns: slice) -> None:
        """See `Rows`."""
        start, stop, _ = columns.indices(self.shape[1])
        for first, last, left, right in self._strips(start, stop):
            if first not in self._maps:
                shape = (self.shape[0], last - first)
                self._maps[first] = Mapped(self._file, np.dtype(np.float32), shape, 4 * first * self.shape[0])
            part = slice(left - first, right - first)
            self._maps[first].load(out[:, left - start : right - start], rows, part)

    def write(self, start: int, block: np.ndarray, column: int = 0) -> None:
        """See `Store`; a block covers whole strips."""
        for first, last, left, right in self._strips(column, column + block.shape[1]):
            if (first, last) != (left, right):
                raise ValueError(f"found columns {left} to {right}; expected the strip {first} to {last}")
            self._file.seek(4 * (first * self.shape[0] + start * (last - first)))
            append(self._file, block[:, left - column : right - column])

    def _strips(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """The strips that meet some columns: their ends, and those of what they share."""
        for first in range(start // self.strip * self.strip, stop, self.strip):
            last = min(first + self.strip, self.shape[1])
            yield first, last, max(first, start), min(last, stop)


class View:
    """Some rows and columns of other rows.

    Args:
        base: what it shows.
        rows, columns: which; all if None.
    """

    def __init__(self, base: Mapped, rows: Index | None = None, columns: np.ndarray | None = None) -> None:
        self._base = base
        self._rows = slice(0, base.shape[0]) if rows is None else rows
        self._columns = columns
        count = self._rows.stop - self._rows.start if isinstance(self._rows, slice) else len(self._rows)
        self.shape = (count, base.shape[1] if columns is None else len(columns))

    def load(self, out: np.ndarray, rows: Index, columns: slice) -> None:
        """See `Rows`."""
        mine = self._rows
        if isinstance(mine, np.ndarray):
            rows = mine[rows]
        elif isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            rows = slice(mine.start + start, mine.start + stop)
        else:
            rows = mine.start + rows
        self._base.load(out, rows, columns if self._columns is None else self._columns[columns])
