"""A few threads that share one computation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Team", "shares"]


class Team:
    """Threads that stay, so that a layer of a fraction of a millisecond can be shared.

    Args:
        threads: how many, the caller's among them.

    Raises:
        ValueError: fewer than one.

    >>> found = []
    >>> Team(2).run([lambda: found.append(1), lambda: found.append(2)])
    >>> sorted(found)
    [1, 2]
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"found {threads} threads; expected at least 1")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run jobs side by side, the last one here, and return when all are done; the first error is raised."""
        if self._pool is None or len(jobs) < 2:
            for job in jobs:
                job()
            return
        others = [self._pool.submit(job) for job in jobs[:-1]]
        jobs[-1]()
        for other in others:
            other.result()


def shares(length: int, parts: int) -> list[tuple[int, int]]:
    """A range cut into at most so many parts of nearly one size, none of them empty.

    >>> shares(5, 2), shares(1, 4)
    ([(0, 2), (2, 5)], [(0, 1)])
    """
    edges = [length * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b]
