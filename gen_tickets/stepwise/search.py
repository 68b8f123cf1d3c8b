"""The search for a schedule within a run folder: costs, damages, front, and a look at the best few as a whole.

Everything that is measured is kept at once under `rounds/STAGE/`, so that a search that is broken off goes on, and one
with another budget measures only what is new.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from common.runs.progress import Console
from common.runs.store import Run
from common.scoped import threads
from gen_tickets._config_schedule import Schedule
from gen_tickets._intervals import SKIP
from gen_tickets.draw import Sampler
from gen_tickets.extractors import Extractor
from gen_tickets.schedule import Member, StepSchedule
from gen_tickets.scheduled import log_snr
from gen_tickets.stepwise.costs import cost_table, measure, prepared
from gen_tickets.stepwise.damage import Damage, table
from gen_tickets.stepwise.family import Family
from gen_tickets.stepwise.grid import Grid, grid
from gen_tickets.stepwise.refine import Settings, refine
from gen_tickets.stepwise.solve import Point, best, front, point
from gen_tickets.stepwise.trajectories import Trajectories

__all__ = ["Found", "Searcher"]

Assignment = tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        names: the choices, `dense` first.
        damage, costs: (K, M) of single swaps.
        front: the best schedules for all budgets, by the sum of damages.
        looked: schedules sampled as a whole to their joint damage.
        chosen: the one for the budget, with its joint damage.
        predicted: of the chosen one, the sum of damages.
        seconds: of search, costs included.
    """

    names: list[str]
    damage: np.ndarray
    costs: np.ndarray
    front: list[Point]
    looked: Mapping[Assignment, float]
    chosen: Point
    predicted: float
    seconds: float


class Searcher:
    """Searches in a family of tickets.

    Args:
        config: settings, all filled in.
        family: the networks.
        extractor: of damage in features.
        store: the run.
        console: where to say how it goes.
        stage: the first part of all keys in the run.
    """

    def __init__(
        self, config: Schedule, family: Family, extractor: Extractor, store: Run, console: Console, stage: str
    ) -> None:
        self.config, self.family, self.extractor = config, family, extractor
        self.store, self.console, self.stage = store, console, stage
        self.sampler = Sampler(config.scheduler, config.steps)
        self.levels = log_snr(family.network.scheduler)
        self.names = [*family.names, *([SKIP] if config.skip else [])]

    @cached_property
    def grid(self) -> Grid:
        """The intervals of the sampler."""
        solver = self.sampler.solver(self.family.network.scheduler)
        return grid(solver, self.levels, self.config.intervals, self.config.grid)

    @cached_property
    def forms(self) -> dict[str, nn.Module]:
        """The networks in the form of the engine."""
        with threads(self.config.threads):
            return prepared(self.family, self.config.engine, self.config.batch)

    @cached_property
    def measured(self) -> tuple[dict[str, Member], dict[str, Any]]:
        """The members with their costs, and what those depend on; timed once a run."""
        key = f"{self.stage}/costs"
        known = self.store.done(key)
        if known is None:
            begin, config = time.perf_counter(), self.config
            members, about = measure(
                self.family, config.engine, batch=config.batch, threads=config.threads, forms=self.forms
            )
            costs = {name: {"seconds": one.seconds, "macs": one.macs} for name, one in members.items()}
            known = {"costs": costs, "about": about, "took": time.perf_counter() - begin}
            self.store.finish(key, known)
        members = {name: Member(**{**asdict(one), **known["costs"][name]}) for name, one in self.family.members.items()}
        return members, dict(known["about"])

    @cached_property
    def damage(self) -> Damage:
        """Dense trajectories from the search's own noise, and what is measured on them."""
        config, network = self.config, self.family.network
        noise = network.noise(config.noises, 0)
        with torch.no_grad():
            walks = Trajectories(network, self.forms, noise, self.sampler, self.grid, batch=config.batch)
        return Damage(walks, config.space, self.extractor)

    def run(self) -> Found:
        """Search, going on with what is there.

        Raises:
            ScheduleError: the budget is below the cheapest schedule.
        """
        config = self.config
        members, about = self.measured
        self._tell(members, about)
        costs = cost_table(members, self.grid, self.names, config.cost)
        cheap = np.where([name == SKIP for name in self.names], [[np.inf]] + [[0.0]] * (len(costs) - 1), costs)
        best([Point((), cheap.min(axis=1).sum() / costs[:, 0].sum(), 0.0)], config.budget)  # before hours of work
        damage = self._table()
        points = front(damage, costs, monotone="rising" if config.monotone else None)
        best(points, config.budget)
        few = {one.assignment: self.joint(one.assignment) for one in self._few(points, damage, costs)}
        if config.refine:
            few |= self._refined(points, costs, np.isfinite(damage), few)
        inside = {one: harm for one, harm in few.items() if point(one, damage, costs).cost <= config.budget}
        chosen = min(inside, key=lambda one: (inside[one], one))
        predicted = point(chosen, damage, costs)
        self.console.line(
            f"{self.stage}: {len(points)} schedules in the front; for {config.budget:.0%}: "
            f"{self.said(chosen)}; damage {inside[chosen]:.4g}, {predicted.damage:.4g} by single swaps"
        )
        best_point = Point(chosen, predicted.cost, inside[chosen])
        return Found(self.names, damage, costs, points, few, best_point, predicted.damage, self._took())

    def joint(self, assignment: Assignment) -> float:
        """Damage of a schedule that is sampled as a whole, or was in this run."""
        key = f"{self.stage}/joint/{'-'.join(map(str, assignment))}"
        known = self.store.done(key)
        if known is None:
            begin = time.perf_counter()
            with threads(self.config.threads):
                harm = self.damage.joint(assignment)
            known = {"damage": harm, "took": time.perf_counter() - begin}
            self.store.finish(key, known)
        return float(known["damage"])

    def schedule(self, assignment: Sequence[int], **about: Any) -> StepSchedule:
        """An assignment as a schedule of this family."""
        members, measured = self.measured
        chosen = [self.names[choice] for choice in assignment]
        return StepSchedule.of(self.grid.bounds, chosen, members, measured=measured, about=about)

    def said(self, assignment: Sequence[int]) -> str:
        """An assignment in words, from noise to image."""
        parts, at = [], 0
        names = [self.names[choice] for choice in assignment]
        while at < len(names):
            end = next((n for n in range(at, len(names)) if names[n] != names[at]), len(names))
            parts.append(f"{sum(self.grid.counts[at:end])} steps of {names[at]}")
            at = end
        return ", ".join(parts)

    def _few(self, points: Sequence[Point], damage: np.ndarray, costs: np.ndarray) -> list[Point]:
        """The dearest schedules of the front that the budget pays, and those that skip nothing.

        Intervals skipped one after the other damage far more than the sum says, so that the front alone is not enough.
        """
        fronts = [points]
        if SKIP in self.names:
            rising: Literal["rising"] | None = "rising" if self.config.monotone else None
            fronts.append(front(damage[:, :-1], costs[:, :-1], monotone=rising))
        payable = [[one for one in some if one.cost <= self.config.budget] for some in fronts]
        return [one for some in payable for one in some[-self.config.looks :]]

    def _table(self) -> np.ndarray:
        """The damage of every swap, each kept as soon as it is measured."""
        shape = len(self.grid.counts), len(self.names)
        keys = {cell: f"{self.stage}/damage-{self.config.space}/{cell[0]:02d}-{cell[1]}" for cell in np.ndindex(shape)}
        known = {cell: self.store.done(key) for cell, key in keys.items()}
        done = {cell: float(one["damage"]) for cell, one in known.items() if one is not None}
        begin = time.perf_counter()

        def tell(interval: int, choice: int, harm: float) -> None:
            nonlocal begin
            now = time.perf_counter()
            self.store.finish(keys[interval, choice], {"damage": harm, "took": now - begin})
            begin = now
            fields = {"interval": interval + 1, "by": self.names[choice], "damage": f"{harm:.4g}"}
            if choice:
                self.console.round(interval * shape[1] + choice, len(keys), fields, what="swap")

        if len(done) == len(keys):
            return np.array([done[cell] for cell in np.ndindex(shape)]).reshape(shape)
        with threads(self.config.threads):
            return table(self.damage, self.names, done, tell)

    def _refined(
        self, points: Sequence[Point], costs: np.ndarray, allowed: np.ndarray, known: Mapping[Assignment, float]
    ) -> Mapping[Assignment, float]:
        """Schedules that NSGA-II looked at."""
        config = self.config
        settings = Settings(
            config.refine, within=(0.8 * config.budget, config.budget), monotone="rising" if config.monotone else None
        )
        seeds = [one.assignment for one in points]
        return refine(seeds, costs, self.joint, allowed=allowed, known=known, settings=settings).evaluations

    def _took(self) -> float:
        """Seconds of all measurements of this stage."""
        found = (self.store.done(key) or {} for key in self.store.finished() if key.startswith(f"{self.stage}/"))
        return float(sum(one.get("took", 0.0) for one in found))

    def _tell(self, members: Mapping[str, Member], about: Mapping[str, Any]) -> None:
        costs = {name: getattr(one, self.config.cost) for name, one in members.items()}
        shares = ", ".join(f"{name} {cost / costs[self.names[0]]:.2f}" for name, cost in costs.items())
        what = f"{self.config.cost} of a call"
        self.console.line(f"{self.stage}: {what}, the dense network's being 1: {shares} (engine {about['engine']})")
