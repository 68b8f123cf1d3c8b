"""Random schedules made to fit a budget, as OMS-DPM mutates its own: lighter if too dear, heavier if too cheap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Repair"]


@dataclass(frozen=True)
class Repair:
    """Changes single choices of a schedule at random, until it fits.

    Args:
        prices: (K, M), see `gen_tickets.stepwise._tables.units`.
        allowed: (K, M), which choices may be made; that of the first column always.
        least, most: what a schedule is to cost, in the units of the prices.
        rising: numbers of choices may only fall from noise to image, so that density rises.

    References:
        Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.

    >>> prices = np.array([[2, 1]] * 4)
    >>> repair = Repair(prices, prices > 0, least=6, most=6)
    >>> sorted(repair([0, 0, 0, 0], np.random.default_rng(0))), sorted(repair([1] * 4, np.random.default_rng(0)))
    ([0, 0, 1, 1], [0, 0, 1, 1])
    """

    prices: np.ndarray
    allowed: np.ndarray
    least: int
    most: int
    rising: bool = False

    def __call__(self, assignment: Sequence[int], rng: np.random.Generator) -> tuple[int, ...] | None:
        """A schedule that costs `most` at most, and `least` unless no single change gets there; None if none is found.

        Args:
            assignment: (K,), what to begin with.
            rng: who decides between changes.
        """
        chosen, rows = self._permitted(assignment, rng), np.arange(len(self.prices))
        cost = self.cost(chosen)
        while not self.least <= cost <= self.most:
            change = self.prices - self.prices[rows, chosen][:, None]
            better = change < 0 if cost > self.most else (change > 0) & (change <= self.most - cost)
            moves = np.argwhere(better & self.allowed & self._between(chosen))
            if not len(moves):
                break
            place, choice = moves[rng.integers(len(moves))]
            cost += int(change[place, choice])
            chosen[place] = choice
        return tuple(chosen.tolist()) if cost <= self.most else None

    def changed(self, assignment: Sequence[int], rng: np.random.Generator) -> list[int]:
        """With any choice that may stand there in one interval, perhaps the same."""
        place = int(rng.integers(len(assignment)))
        options = np.flatnonzero(self.allowed[place] & self._between(np.array(assignment))[place])
        return [*assignment[:place], int(rng.choice(options)) if len(options) else assignment[place],
                *assignment[place + 1 :]]  # fmt: skip

    @property
    def cheapest(self) -> float:
        """Cost of the cheapest choices that are allowed, as a share of the dense network's; order is not looked at."""
        return self.share(np.where(self.allowed, self.prices, self.prices.max() + 1).argmin(axis=1).tolist())

    def cost(self, assignment: Sequence[int] | np.ndarray) -> int:
        """Of a schedule, in the units of the prices."""
        return int(self.prices[np.arange(len(self.prices)), assignment].sum())

    def share(self, assignment: Sequence[int]) -> float:
        """Cost of a schedule as a share of the dense network's."""
        return self.cost(assignment) / int(self.prices[:, 0].sum())

    def _permitted(self, assignment: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Put in order, if there is one; what is not allowed then gives way to anything that is."""
        chosen, last = np.array(assignment, np.int64), self.prices.shape[1]
        chosen = -np.sort(-chosen) if self.rising else chosen
        for place in range(len(chosen)):
            options = np.flatnonzero(self.allowed[place, :last])
            if chosen[place] not in options:
                chosen[place] = rng.choice(options)
            last = int(chosen[place]) + 1 if self.rising else last
        return chosen

    def _between(self, chosen: np.ndarray) -> np.ndarray:
        """(K, M), which choices lie between those of the neighbours, if they must."""
        numbers = np.arange(self.prices.shape[1])
        if not self.rising:
            return np.ones(self.prices.shape, bool)
        above, below = np.append(len(numbers), chosen[:-1]), np.append(chosen[1:], 0)
        return (numbers <= above[:, None]) & (numbers >= below[:, None])
