"""Intervals of log-SNR, and when they make a schedule."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

__all__ = ["SKIP", "Interval", "ScheduleError", "check", "expanded", "levels_at", "paced", "refuse"]

SKIP = "skip"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")


class ScheduleError(ValueError):
    """A schedule that cannot be made, read or used as it stands; the message says what to do."""


@dataclass(frozen=True)
class Interval:
    """A stretch of denoising and who does it.

    Attributes:
        log_snr_from: where it begins, inclusive; None is the noisiest end.
        log_snr_to: where it ends, exclusive; None is the cleanest end.
        ticket: a network of the schedule, or `skip`.
        every: the network is called at every so many-th step, counted from the beginning of the sampling; in between
            the last prediction counts again.
    """

    log_snr_from: float | None
    log_snr_to: float | None
    ticket: str
    every: int = 1

    @property
    def label(self) -> str:
        """Who does it and how often, as in `dense/2`; see `paced`."""
        return self.ticket if self.every == 1 else f"{self.ticket}/{self.every}"


def paced(label: str) -> tuple[str, int]:
    """A network, and at every how many-th step it is called.

    >>> paced("dense/2"), paced("kept-10")
    (('dense', 2), ('kept-10', 1))
    """
    ticket, _, every = label.partition("/")
    return ticket, int(every or 1)


def expanded(stretches: Iterable[tuple[str, int]]) -> list[str]:
    """Who takes each step: a network, or `skip` where the last prediction counts again.

    Args:
        stretches: labels, see `paced`, and numbers of steps, from the first step of a sampling on.

    >>> expanded([("dense/2", 3), ("small/2", 2), ("small", 1)])
    ['dense', 'skip', 'dense', 'skip', 'small', 'small']
    """
    labels = [label for label, count in stretches for _ in range(count)]
    who = (paced(label) for label in labels)
    return [SKIP if step % every else ticket for step, (ticket, every) in enumerate(who)]


def levels_at(solver: Any, levels: np.ndarray) -> np.ndarray:
    """Log-SNR at every step of a sampling, rising.

    Args:
        solver: a scheduler of diffusers at its steps.
        levels: log-SNR of every training timestep, (T,), see `gen_tickets.scheduled.log_snr`.

    Raises:
        ScheduleError: it calls the network more than once at a step.
    """
    at = np.interp(np.asarray(solver.timesteps, float), np.arange(len(levels)), levels)
    if (np.diff(at) <= 0).any() or getattr(solver, "order", 1) != 1:
        refuse("a sampler that does not go from noise to image at every step", "one call of the network a step",
               "Choose another scheduler, such as ddim.")  # fmt: skip
    return at


def check(intervals: Sequence[Interval], members: Collection[str]) -> None:
    """Raise where intervals leave a gap, overlap, leave an end out, name nobody, or begin with `skip`."""
    if not intervals or intervals[0].log_snr_from is not None or intervals[-1].log_snr_to is not None:
        ends = "no interval" if not intervals else f"{intervals[0].log_snr_from} to {intervals[-1].log_snr_to}"
        refuse(ends, "intervals from null, the noisiest end, to null, the cleanest", "Open both ends.")
    for bound in (bound for one in intervals for bound in (one.log_snr_from, one.log_snr_to)):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            refuse(f"a bound {bound!r}", "a number, or null for an open end", "Correct it.")
    for name in members:
        if name == SKIP or not _NAME.fullmatch(name):
            refuse(f"a network called {name!r}", "letters, digits and . _ = + -, and not skip", "Rename it.")
    for left, right in pairwise(intervals):
        end, begin = left.log_snr_to, right.log_snr_from
        if end is None or begin is None or end != begin:
            what = "an overlap" if None in (end, begin) or float(end or 0) > float(begin or 0) else "a gap"
            refuse(
                f"{what} between {end} and {begin}", "every interval to begin where the one before ends", "Join them."
            )
    for interval in intervals:
        begin, end = interval.log_snr_from, interval.log_snr_to
        if begin is not None and end is not None and not begin < end:
            refuse(
                f"an interval from {begin} to {end}", "log-SNRs that rise", "Order the intervals from noise to image."
            )
        if interval.ticket != SKIP and interval.ticket not in members:
            known = ", ".join([*members, SKIP])
            refuse(f"a network {interval.ticket!r}", f"one of {known}", "Correct the name, or add the network.")
        if isinstance(interval.every, bool) or not isinstance(interval.every, int) or interval.every < 1:
            refuse(f"every: {interval.every!r}", "a whole number from 1 on", "Correct it.")
    if intervals[0].ticket == SKIP:
        refuse("skip at the beginning", "a network", "There is no earlier prediction to go on with; choose one.")


def refuse(found: str, expected: str, todo: str) -> NoReturn:
    """Raise a `ScheduleError` that says what was found, what was expected and what to do."""
    raise ScheduleError(f"found {found}; expected {expected}. {todo}")
