"""More whole numbers than memory holds, sorted and without repetition, by runs on disk."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from glt._rows import Mapped, append, nameless

__all__ = ["SortedKeys", "distinct"]

_SAMPLE = 512  # every so manieth key of a run is remembered


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Sorted, each once; numpy's own function is several times slower on whole numbers.

    >>> distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    found = np.sort(numbers)
    return found[np.concatenate([[True], found[1:] != found[:-1]])] if len(found) else found


class SortedKeys:
    """Takes int64 keys (at least zero) in any order and gives them back sorted, each once.

    Every batch is sorted and written; the runs are then merged range by range, such that no range is longer than asked,
    however the keys are spread.

    Args:
        folder: where the file of runs lies; it has no name.

    >>> keys = SortedKeys(Path("."))
    >>> keys.add(np.array([5, 1, 5])); keys.add(np.array([3, 1]))
    >>> [part.tolist() for part in keys.parts(100)]
    [[1, 3, 5]]
    """

    def __init__(self, folder: Path) -> None:
        self._file = nameless(folder)
        weakref.finalize(self, self._file.close)
        self._ends, self._samples = [0], list[np.ndarray]()

    def add(self, keys: np.ndarray) -> None:
        """Take a batch."""
        run = distinct(keys.astype(np.int64, copy=False))
        if len(run):
            append(self._file, run)
            self._samples.append(run[::_SAMPLE].copy())
            self._ends.append(self._ends[-1] + len(run))

    def parts(self, most: int) -> Iterator[np.ndarray]:
        """The keys in ascending parts of at most about `most` (at least a sample of every run, if that is more)."""
        if not self._samples:
            return
        runs = Mapped(self._file, np.dtype(np.int64), (self._ends[-1],))
        samples = np.sort(np.concatenate(self._samples))
        every = max(1, most // _SAMPLE - len(self._samples))
        edges = distinct(np.append(samples[::every], np.iinfo(np.int64).max))
        spans = list(zip(pairwise(self._ends), self._samples, strict=True))
        for low, high in pairwise(edges.tolist()):
            yield distinct(np.concatenate([_between(runs, span, sample, low, high) for span, sample in spans]))


def _between(runs: Mapped, span: tuple[int, int], sample: np.ndarray, low: int, high: int) -> np.ndarray:
    """The keys of a run from `low` up to, not including, `high`."""
    first = max(0, int(np.searchsorted(sample, low)) - 1) * _SAMPLE
    last = int(np.searchsorted(sample, high)) * _SAMPLE
    keys = runs.read(span[0] + first, min(span[1], span[0] + last))
    return keys[(keys >= low) & (keys < high)]
