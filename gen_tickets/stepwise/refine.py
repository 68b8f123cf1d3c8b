r"""Schedules judged as a whole: NSGA-II from the front on, because damages of intervals do not quite add up.

A ticket in one interval changes what the next one gets, so that the sum of single swaps ranks schedules well and says
little of their size. Here the sum is only where the search begins: children of good schedules, by crossover and by
changes of single choices, are made to fit the budget as OMS-DPM does, and judged by what is truly drawn with them. Two
objectives, cost and the harm of the whole (its drift, or joint damage), are kept apart, so that nobody has to weigh one
against the other.

References:
    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE Transactions on Evolutionary
        Computation 2002.
    Liu et al., OMS-DPM: Optimizing the Model Schedule for Diffusion Probabilistic Models, ICML 2023.
    Yang et al., Denoising Diffusion Step-aware Models, ICLR 2024.
    Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gen_tickets._intervals import refuse
from gen_tickets.stepwise._nsga import Search, judged
from gen_tickets.stepwise._repair import Repair
from gen_tickets.stepwise._tables import ROUNDING, allowance, units
from gen_tickets.stepwise.solve import Monotone, Point

__all__ = ["Refined", "Settings", "refine"]

Assignment = tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """How far a refinement goes.

    Attributes:
        trials: schedules that are looked at in all, known ones among them.
        population: schedules in a generation.
        within: costs of those schedules, as shares of the dense cost; OMS-DPM takes 0.9 of the budget and the budget.
            The lower one is given up where no single change gets there.
        monotone: see `gen_tickets.stepwise.solve.front`.
        seed: of all chance.
    """

    trials: int = 200
    population: int = 24
    within: tuple[float, float] = (0.0, 1.0)
    monotone: Monotone | None = None
    seed: int = 0


@dataclass(frozen=True)
class Refined:
    """What a refinement has found.

    Attributes:
        points: those that no other beats in cost and harm, by rising cost.
        evaluations: harm of every schedule that was looked at or known, in that order.
    """

    points: list[Point]
    evaluations: dict[Assignment, float]


def refine(
    seeds: Sequence[Sequence[int]],
    costs: np.ndarray,
    evaluate: Callable[[Assignment], float],
    *,
    allowed: np.ndarray | None = None,
    known: Mapping[Assignment, float] | None = None,
    settings: Settings | None = None,
) -> Refined:
    """Look for schedules that are better as a whole than those that a sum of damages has found.

    Args:
        seeds: K numbers of choices each, of a front, of baselines. The first generation is an even choice of those that
            cost what is wanted, if any do, and of their neighbours for want of more.
        costs: (K, M) of one image in each interval, in seconds or MACs; the first column is the dense network's.
        evaluate: harm of a schedule, asked once for each; inf where it is of no use.
        allowed: (K, M), which choices there are, such as `np.isfinite(damage)`; all by default.
        known: harms from before, which are not asked for again. A search that was broken off goes on with them as
            if it had not been.
        settings: see `Settings`.

    Raises:
        ScheduleError: settings, seeds or tables that are none, or no schedule that costs what is wanted.
        UsageError: optuna is not installed.

    >>> damage = np.array([[0.0, 1.0], [0.0, 4.0], [0.0, 2.0]])
    >>> def joint(chosen):  # two tickets one after the other do more harm than their sum
    ...     return float(damage[[0, 1, 2], chosen].sum()) + 5 * (chosen[1:] == (1, 1))
    >>> found = refine([(0, 0, 0), (1, 0, 0)], np.array([[1.0, 0.5]] * 3), joint, settings=Settings(trials=8))
    >>> [(one.assignment, one.damage) for one in found.points]
    [((1, 1, 1), 12.0), ((1, 0, 1), 3.0), ((1, 0, 0), 1.0), ((0, 0, 0), 0.0)]
    """
    chosen = settings or Settings()
    repair = _repair(costs, allowed, chosen)
    before = {_fitting(one, repair): judged(one, harm) for one, harm in (known or {}).items()}
    starts = [_fitting(one, repair) for one in seeds] or [(0,) * len(repair.prices)]
    inside = [one for one in starts if repair.least <= repair.cost(one) <= repair.most]
    search = Search(repair, evaluate, before, chosen)
    search.run(inside or starts)
    every = search.seen | {one: harm for one, harm in before.items() if one not in search.seen}
    return Refined(_unbeaten(every, repair), every)


def _repair(costs: np.ndarray, allowed: np.ndarray | None, settings: Settings) -> Repair:
    prices = units(costs)
    low, high = settings.within
    if settings.trials < 1 or settings.population < 2:
        refuse(f"{settings.trials} trials, {settings.population} in a generation", "1 and 2 or more", "Raise them.")
    if not 0 <= low <= high:
        refuse(f"costs within {low:g} and {high:g}", "a lower bound of 0 or more, and below the upper one",
               "Give shares of the dense cost.")  # fmt: skip
    if settings.monotone not in (None, "rising"):
        refuse(f"monotone={settings.monotone!r}", "None or 'rising'", "Correct it.")
    may = np.ones(prices.shape, bool) if allowed is None else np.asarray(allowed, bool)
    if may.shape != prices.shape or not may[:, 0].all():
        refuse(f"a table of what is allowed of shape {may.shape}", f"shape {prices.shape}, the dense network always",
               "Take np.isfinite of the damages.")  # fmt: skip
    most, dense = allowance(high, prices), int(prices[:, 0].sum())
    return Repair(prices, may, int((low - ROUNDING) * dense), most, settings.monotone == "rising")


def _fitting(one: Sequence[int], repair: Repair) -> Assignment:
    """A schedule as a tuple; raises if it is of other tables."""
    count, choices = repair.prices.shape
    if len(one) != count or not all(0 <= choice < choices for choice in one):
        refuse(f"the schedule {tuple(one)}", f"{count} numbers from 0 to {choices - 1}",
               "Give schedules of the same grid and family.")  # fmt: skip
    return tuple(int(choice) for choice in one)


def _unbeaten(every: Mapping[Assignment, float], repair: Repair) -> list[Point]:
    found: list[Point] = []
    for cost, harm, one in sorted((repair.share(one), harm, one) for one, harm in every.items()):
        if harm < (found[-1].damage if found else np.inf):
            found.append(Point(one, cost, harm))
    return found
