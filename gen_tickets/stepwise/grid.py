"""The stretches between which a search may choose: a sampler's steps in groups, with bounds in log-SNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gen_tickets._intervals import levels_at, refuse

__all__ = ["Grid", "grid"]


@dataclass(frozen=True)
class Grid:
    """K groups of a sampler's steps, from noise to image.

    Attributes:
        bounds: K - 1 log-SNRs between them, rising, midway between the steps on either side.
        counts: steps in each of the K.
        levels: log-SNR of every step.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    levels: tuple[float, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of the first step of each group."""
        return tuple(int(n) for n in np.cumsum([0, *self.counts[:-1]]))


def grid(solver: Any, levels: np.ndarray, intervals: int, by: Literal["steps", "log-snr"] = "steps") -> Grid:
    """Group the steps of a sampler.

    Args:
        solver: a scheduler of diffusers at its steps.
        levels: log-SNR of every training timestep, (T,), see `gen_tickets.scheduled.log_snr`.
        intervals: how many groups; with `log-snr`, groups that no step lies in join the one before.
        by: groups of equal numbers of steps, or of equal width in log-SNR.

    Raises:
        ScheduleError: fewer steps than groups, no group, or see `levels_at`.

    >>> from gen_tickets.draw import Sampler
    >>> from gen_tickets.scheduled import log_snr
    >>> grid(Sampler("ddim", 50).solver(), log_snr(), 4).counts
    (13, 12, 13, 12)
    """
    at = levels_at(solver, levels)
    if not 1 <= intervals <= len(at):
        refuse(f"{intervals} intervals", f"1 to {len(at)}, the steps", "Ask for fewer, or take more steps.")
    if by == "steps":
        numbers = np.floor(np.arange(len(at)) * intervals / len(at)).astype(int)
    else:
        finite = at[np.isfinite(at)]
        edges = np.linspace(finite[0], finite[-1], intervals + 1)[1:-1]
        numbers = np.searchsorted(edges, at, side="right")
    counts = [int(n) for n in np.unique(numbers, return_counts=True)[1]]
    return Grid(_bounds(at, counts), tuple(counts), tuple(at.tolist()))


def _bounds(at: np.ndarray, counts: Sequence[int]) -> tuple[float, ...]:
    ends = np.cumsum(counts)[:-1]
    return tuple(float(low + high) / 2 if np.isfinite(low) else float(high) - 1 for low, high in
                 ((at[end - 1], at[end]) for end in ends))  # fmt: skip
