"""The processes of one inference: who computes which rows, and how each gets the rows that it reads.

Any launcher will do that sets the environment of `torch.distributed`, such as torchrun. Every process knows the whole
graph and makes its own rows of the matrix. After a layer each sends the others the rows that they read, or all of its
rows where they read nearly all, which saves the picking.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.runs.errors import UsageError
from glt._rows import Held, Store

__all__ = ["ALONE", "Exchange", "Group", "group", "started"]

_NEARLY = 0.8  # of a process's rows
_MESSAGE = 8 << 20  # bytes


class Group:
    """Some processes, this one among them.

    Args:
        rank: the number of this process, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def gather(self, value: Any) -> list[Any]:
        """What every process has, in order; small things only."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(found, value)
        return found

    def together(self, error: UsageError | None) -> None:
        """Raise, in every process, the first error that one has.

        Raises:
            UsageError: there is one.
        """
        texts = [text for text in self.gather(None if error is None else str(error)) if text is not None]
        if texts:
            raise UsageError(max(texts, key=len) if error is None else str(error))

    def swap(self, to: int, sent: Tensor | None, source: int, received: Tensor | None) -> None:
        """Send to one process and receive from one; None is nothing."""
        waiting = [] if sent is None else [torch.distributed.isend(sent, to)]
        waiting += [] if received is None else [torch.distributed.irecv(received, source)]
        for work in waiting:
            if work is not None:
                work.wait()

    def to_first(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """In the first process, the int64 numbers of all processes in order and in parts; in the others nothing."""
        step, counts = _MESSAGE // 8, self.gather(len(numbers))
        for rank, count in enumerate(counts):
            for start in range(0, count, step):
                part = torch.empty(min(step, count - start), dtype=torch.int64)
                if rank == self.rank:
                    part = torch.from_numpy(numbers[start : start + step])
                if rank > 0 and self.rank in (0, rank):
                    self.swap(0, part if rank == self.rank else None, rank, part if self.rank == 0 else None)
                if self.rank == 0:
                    yield part.numpy()

    def partners(self) -> Iterator[tuple[int, int]]:
        """In turn, whom to send to and whom to receive from."""
        for step in range(1, self.size):
            yield (self.rank + step) % self.size, (self.rank - step) % self.size


ALONE = Group()


def started() -> bool:
    """Whether this is one of several processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size() > 1
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def group() -> Iterator[Group]:
    """The processes that the environment names; this one alone without them.

    >>> with group() as found:
    ...     found.rank, found.size
    (0, 1)
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        yield Group(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return
    if not started():
        yield ALONE
        return
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))
    try:
        yield Group(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


class Exchange:
    """Who needs which rows of whom; made once, used after every layer.

    Args:
        group: the processes.
        ranges: the rows that each computes, in order.
        seen: (N,) which nodes this process reads.

    Attributes:
        nodes: those that this process holds after an exchange, in order; its own are among them.
        sent: rows that it sends a layer.
    """

    def __init__(self, group: Group, ranges: list[range], seen: np.ndarray) -> None:
        self._group, self._own = group, ranges[group.rank]
        lists: list[np.ndarray | None] = []
        for rank, rows in enumerate(ranges):
            wanted = np.flatnonzero(seen[rows.start : rows.stop])
            lists.append(None if rank == group.rank or len(wanted) >= _NEARLY * len(rows) else wanted)
        chosen = zip(ranges, lists, strict=True)
        self.nodes = np.concatenate([rows.start + (np.arange(len(rows)) if w is None else w) for rows, w in chosen])
        counts = [len(rows) if wanted is None else len(wanted) for rows, wanted in zip(ranges, lists, strict=True)]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        self._given = self._told(lists, group.gather([None if w is None else len(w) for w in lists]))
        self.sent = sum(len(self._own) if given is None else len(given) for given in self._given.values())

    def _told(self, lists: list[np.ndarray | None], lengths: list[list[int | None]]) -> dict[int, np.ndarray | None]:
        """What the others want of this process: which of its rows, or None for all."""
        given: dict[int, np.ndarray | None] = {}
        for to, source in self._group.partners():
            length, mine = lengths[source][self._group.rank], lists[to]
            received = torch.empty(length or 0, dtype=torch.int64)
            sent = None if mine is None or not len(mine) else torch.from_numpy(mine)
            self._group.swap(to, sent, source, received if length else None)
            given[source] = None if length is None else received.numpy()
        return given

    @property
    def own(self) -> slice:
        """Where this process's rows stand among `nodes`."""
        start = self._starts[self._group.rank]
        return slice(start, start + len(self._own))

    def __call__(self, out: Store) -> None:
        """Fill `out`, whose rows are `nodes` and which holds this process's own, with those of the others."""
        step = max(1, _MESSAGE // (4 * out.shape[1]))
        for to, source in self._group.partners():
            given = self._given[to]
            sends = len(self._own) if given is None else len(given)
            first, last = self._starts[source], self._starts[source + 1]
            for start in range(0, max(sends, last - first), step):
                sent = self._part(out, given, start, min(start + step, sends))
                count = max(0, min(step, last - first - start))
                with _place(out, first + start, count) as received:
                    self._group.swap(to, sent, source, torch.from_numpy(received) if count else None)

    def _part(self, out: Store, given: np.ndarray | None, start: int, stop: int) -> Tensor | None:
        """Some of the rows that another is given: all of this process's own, or those."""
        if start >= stop:
            return None
        first = self.own.start
        found = np.empty((stop - start, out.shape[1]), np.float32)
        rows = slice(first + start, first + stop) if given is None else first + given[start:stop]
        out.load(found, rows, slice(0, out.shape[1]))
        return torch.from_numpy(found)


@contextmanager
def _place(out: Store, start: int, count: int) -> Iterator[np.ndarray]:
    """Memory to receive some rows in, which then are where they belong."""
    if isinstance(out, Held):
        yield out.array[start : start + count]
        return
    received = np.empty((count, out.shape[1]), np.float32)
    yield received
    out.write(start, received)
