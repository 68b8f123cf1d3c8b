"""What every resumable command does around its rounds: it counts the seconds and says what to do about damage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.runs.store import Run
from common.ticket_file import TicketError

__all__ = ["clock", "remedy", "worked"]


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
