"""The search for a schedule: costs, damages, front, and two looks at the best few as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gen_tickets._intervals import SKIP
from gen_tickets.stepwise._tables import ROUNDING
from gen_tickets.stepwise.baselines import by_ticket
from gen_tickets.stepwise.bench import Bench
from gen_tickets.stepwise.damage import Whole
from gen_tickets.stepwise.harms import FINAL
from gen_tickets.stepwise.refine import Settings, refine
from gen_tickets.stepwise.solve import Point, best, front, point

__all__ = ["Found", "search"]

Assignment = tuple[int, ...]

_RISING, _OTHERS = ("small-to-large", "uniform"), ("large-to-small", "interleaved")


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        names: the choices, `dense` first.
        damage, costs: (K, M) of single swaps.
        front: the best schedules for all budgets, by the sum of damages.
        looked: schedules sampled as a whole, and what they do.
        finals: those within the budget that were looked at again, and what they do from more noises.
        chosen: the one of least drift within the budget, with its joint damage.
        predicted: of the chosen one, the sum of damages.
    """

    names: list[str]
    damage: np.ndarray
    costs: np.ndarray
    front: list[Point]
    looked: Mapping[Assignment, Whole]
    finals: Mapping[Assignment, Whole]
    chosen: Point
    predicted: float

    @property
    def whole(self) -> Whole:
        """What the chosen one does, as it was looked at last."""
        return (self.finals or self.looked)[self.chosen.assignment]


def search(bench: Bench) -> Found:
    """Search for the budget of the settings, going on with what is there.

    Raises:
        ScheduleError: the budget is below the cheapest schedule.
    """
    config, costs = bench.config, bench.costs
    _tell(bench)
    best([Point((), _cheapest(bench), 0.0)], config.budget)  # before hours of work
    damage = bench.harms.swaps if config.skip else _called(bench.harms.swaps, costs)
    points = front(damage, costs, monotone=_rising(bench))
    few = {one.assignment: bench.harms.whole(one.assignment) for one in _few(bench, points, damage)}
    if config.refine:
        few |= _refined(bench, points, damage, few)
    inside = {one: did for one, did in few.items() if point(one, damage, costs).cost <= config.budget + ROUNDING}
    finals = _finals(bench, inside)
    last = finals or inside
    chosen = _drifting(last)[0]
    predicted = point(chosen, damage, costs)
    bench.console.line(
        f"{bench.stage}: {len(points)} schedules in the front; for {config.budget:.0%}: {bench.tried(chosen)}; drift "
        f"{last[chosen].drift:.4g}, damage {last[chosen].damage:.4g}, {predicted.damage:.4g} by single swaps"
    )
    whole = Point(chosen, predicted.cost, last[chosen].damage)
    return Found(bench.names, damage, costs, points, few, finals, whole, predicted.damage)


def _finals(bench: Bench, inside: Mapping[Assignment, Whole]) -> dict[Assignment, Whole]:
    """A second look at those that drift least in the first; nothing where one is left.

    Few noises do not tell the best apart, and the best of many owes much to its noises.
    """
    few = _drifting(inside)[: bench.config.finalists]
    return {one: bench.harms.whole(one, FINAL) for one in few} if len(few) > 1 else {}


def _drifting(every: Mapping[Assignment, Whole]) -> list[Assignment]:
    """The one of least drift first."""
    return sorted(every, key=lambda one: (every[one].drift, one))


def _rising(bench: Bench) -> Literal["rising"] | None:
    return "rising" if bench.config.monotone else None


def _cheapest(bench: Bench) -> float:
    """Share of the dense cost of the cheapest schedule; the first interval is never skipped, and no other if rising."""
    costs = bench.costs.copy()
    if not bench.config.skip:
        costs = _called(costs, costs)
    elif SKIP in bench.names:
        costs[slice(None) if bench.config.monotone else 0, -1] = np.inf
    return float(costs.min(axis=1).sum() / costs[:, 0].sum())


def _called(table: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """A table (K, M) without choices that call no network, as where an interval is shorter than the pace."""
    return np.where(costs > 0, table, np.inf)


def _few(bench: Bench, points: Sequence[Point], damage: np.ndarray) -> list[Point]:
    """The dearest schedules of the front that the budget pays, those that skip nothing, one choice everywhere, and
    what anybody would try.

    Damages of intervals do not add up: intervals skipped one after the other damage far more than the sum says, rests
    at an even pace far less. So the front alone is not enough.
    """
    fronts, config = [points], bench.config
    if SKIP in bench.names:
        called = _called(damage, bench.costs)[:, :-1]
        fronts.append(front(called, bench.costs[:, :-1], monotone=_rising(bench)))
    even = [point((choice,) * len(damage), damage, bench.costs) for choice in range(len(bench.names))]
    fronts.append(sorted((one for one in even if np.isfinite(one.damage)), key=lambda one: -one.damage))
    payable = [[one for one in some if one.cost <= config.budget + ROUNDING] for some in fronts]
    usual = by_ticket(bench.costs, config.budget, bench.names)
    labels = _RISING if config.monotone else _RISING + _OTHERS
    mixes = [some[label] for some in usual for label in labels if label in some]
    return [one for some in payable for one in some[-config.looks :]] + [point(m, damage, bench.costs) for m in mixes]


def _refined(
    bench: Bench, points: Sequence[Point], damage: np.ndarray, known: Mapping[Assignment, Whole]
) -> Mapping[Assignment, Whole]:
    """Schedules that NSGA-II looked at, for less drift."""
    config = bench.config
    settings = Settings(config.refine, within=(0.8 * config.budget, config.budget), monotone=_rising(bench))
    seeds = [one.assignment for one in points]
    drifts = {one: whole.drift for one, whole in known.items()}
    whole, allowed = bench.harms.whole, np.isfinite(damage)
    found = refine(seeds, bench.costs, lambda one: whole(one).drift, allowed=allowed, known=drifts, settings=settings)
    return {one: whole(one) for one in found.evaluations}


def _tell(bench: Bench) -> None:
    dense = bench.calls[bench.names[0]]
    shares = ", ".join(f"{name} {cost / dense:.2f}" for name, cost in bench.calls.items() if name != SKIP)
    engine = bench.measured[1]["engine"]
    bench.console.line(
        f"{bench.stage}: {bench.config.cost} of a call, the dense network's being 1: {shares} ({engine})"
    )
