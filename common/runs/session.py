"""What every resumable command does around its rounds: counts seconds, shows what is done, refuses changed data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.runs.manifest import peak_rss_mb
from common.runs.progress import Console
from common.runs.store import Run
from common.ticket_file import TicketError

__all__ = ["Watch", "clock", "peak_mb", "remedy", "same_data", "worked"]


@contextmanager
def clock(store: Run) -> Iterator[Callable[[], None]]:
    """Log the seconds of work as they pass, so that whatever ends a session, most of them are kept."""
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        store.event("worked", seconds=now - last)
        last = now

    try:
        yield tick
    finally:
        tick()


def worked(store: Run) -> float:
    """The seconds of work on a run, those of earlier sessions too."""
    return float(sum(event["seconds"] for event in store.events("worked")))


@contextmanager
def remedy(store: Run) -> Iterator[None]:
    """Say what to do about a damaged ticket of a round of this very run."""
    try:
        yield
    except TicketError as error:
        if str(store.folder / "rounds") not in str(error):
            raise
        raise TicketError(
            f"{error} Or delete the folder of that round, and the same command repeats it and those after it; or start "
            "over (--fresh)."
        ) from error


def peak_mb(store: Run) -> float:
    """The most memory that a process of a run took, in MB of 10^6 bytes: this one or one that logged `memory`."""
    return max([peak_rss_mb(), *(event["peak_rss_mb"] for event in store.events("memory"))])


def same_data(name: str, found: str, expected: str) -> None:
    """Refuse data that are not those a run was opened with.

    Args:
        name: of the data set.
        found, expected: sha256 of the data.

    Raises:
        ValueError: they differ.
    """
    if found != expected:
        raise ValueError(
            f"{name} changed while the run was going on: found sha256 {found[:12]}..., expected {expected[:12]}... "
            "Start over (--fresh) with the data that count."
        )


class Watch:
    """Shows rounds as they are finished, here or in another process; those that are there at first it passes over.

    Args:
        store: the run.
        total: how many rounds there will be.
        console: where to show them.
        tick: of `clock`; is called at every round.
        fields: of a round's result, what to show of it.
    """

    def __init__(
        self,
        store: Run,
        total: int,
        console: Console,
        tick: Callable[[], None],
        fields: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self.store, self.total, self.console, self.tick, self.fields = store, total, console, tick, fields
        self.shown = set(store.finished())

    def __call__(self) -> None:
        """Look what is new."""
        for name in self.store.finished():
            if name not in self.shown:
                self.shown.add(name)
                self.tick()
                self.console.round(len(self.shown), self.total, self.fields(self.store.done(name) or {}))
