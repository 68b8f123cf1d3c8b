"""Where schedules are measured: the networks in the form of an engine, and what they cost.

Everything that is measured is kept at once under `rounds/STAGE/` of a run, so that a search that is broken off goes on,
and one with another budget or in another space measures only what is new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from torch import nn

from common.runs.progress import Console
from common.runs.store import Run
from common.scoped import threads
from gen_tickets._config_schedule import Schedule
from gen_tickets._intervals import SKIP, expanded, refuse
from gen_tickets.data import Images
from gen_tickets.draw import Sampler
from gen_tickets.engines import channels_last
from gen_tickets.extractors import Extractor
from gen_tickets.schedule import Member, StepSchedule
from gen_tickets.scheduled import Scheduled, log_snr
from gen_tickets.stepwise.costs import cost_table, machine, measure, prepared
from gen_tickets.stepwise.family import DENSE, Family
from gen_tickets.stepwise.grid import grid
from gen_tickets.stepwise.harms import FINAL, LOOK, SWAP, Harms
from gen_tickets.stepwise.tried import Tried

__all__ = ["Bench"]


class Bench:
    """Measures schedules of a family of tickets.

    Args:
        config: settings.
        family: the networks.
        images: real ones: those of the training for damage in data and to train with, the others for scores.
        extractor: of damage in features or data, and of scores.
        store: the run.
        console: where to say how it goes.
        stage: the first part of all keys in the run; another one for another family.
    """

    def __init__(
        self,
        config: Schedule,
        family: Family,
        images: Images,
        extractor: Extractor,
        store: Run,
        console: Console,
        stage: str,
    ) -> None:
        self.config, self.family, self.images, self.extractor = config, family, images, extractor
        self.store, self.console, self.stage = store, console, stage
        self.sampler = Sampler(config.scheduler, config.steps)
        self.levels = log_snr(family.network.scheduler)
        paces = [] if config.monotone else [pace for pace in sorted(set(config.paces)) if pace > 1]
        resting = [f"{name}/{pace}" for pace in paces for name in family.names]
        self.names = [*family.names, *resting, *([SKIP] if config.skip else [])]
        solver = self.sampler.solver(family.network.scheduler)
        self.grid = grid(solver, self.levels, config.intervals, config.grid)
        if (calls := len(solver.timesteps)) != config.steps:
            refuse(f"{calls} calls of the network in {config.steps} steps of {config.scheduler}", "one a step",
                   "Choose other --steps, or another scheduler.")  # fmt: skip

    @cached_property
    def forms(self) -> dict[str, nn.Module]:
        """The networks as they run: tickets by the engine, the dense one in the quicker of its forms."""
        found = self._prepared
        if self.measured[1]["dense"] == "channels-last":
            return {**found, DENSE: channels_last(found[DENSE])}
        return found

    @cached_property
    def _prepared(self) -> dict[str, nn.Module]:
        with threads(self.config.threads):
            return prepared(self.family, self.config.engine, self.config.batch)

    @cached_property
    def measured(self) -> tuple[dict[str, Member], dict[str, Any]]:
        """The members with their costs, and what those depend on; timed once a run and machine."""
        config = self.config

        def timed() -> dict[str, Any]:
            members, about = measure(
                self.family, config.engine, batch=config.batch, threads=config.threads, forms=self._prepared
            )
            return {
                "costs": {n: {"seconds": one.seconds, "macs": one.macs} for n, one in members.items()},
                "about": about,
            }

        known = self.once(f"costs-{machine()}", timed)
        members = {name: Member(**{**asdict(one), **known["costs"][name]}) for name, one in self.family.members.items()}
        return members, dict(known["about"])

    @cached_property
    def calls(self) -> dict[str, float]:
        """What a call of each network costs for one image, in the unit of the settings; `skip` nothing."""
        members = self.measured[0]
        return {name: float(getattr(members[name], self.config.cost)) for name in self.family.names} | {SKIP: 0.0}

    @cached_property
    def costs(self) -> np.ndarray:
        """(K, M) of one image in every interval by every choice."""
        return cost_table(self.measured[0], self.grid, self.names, self.config.cost)

    @cached_property
    def harms(self) -> Harms:
        """What schedules damage."""
        return Harms(self)

    def once(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What is measured under a key, now or before, with the seconds it took."""
        known = self.store.done(f"{self.stage}/{key}")
        if known is None:
            begin = time.perf_counter()
            known = {**measure(), "took": time.perf_counter() - begin}
            self.store.finish(f"{self.stage}/{key}", known)
        return known

    def took(self) -> float:
        """Seconds of all searching in this stage so far, that for other budgets and spaces included."""
        searching = tuple(f"{self.stage}/{what}-" for what in ("costs", SWAP, LOOK, FINAL))
        found = (self.store.done(key) or {} for key in self.store.finished() if key.startswith(searching))
        return float(sum(one.get("took", 0.0) for one in found))

    def tried(self, choices: Sequence[int]) -> Tried:
        """A choice for each interval, or for each step, as who takes each step."""
        counts = self.grid.counts if len(choices) == len(self.grid.counts) else [1] * len(choices)
        names = [self.names[choice] for choice in choices]
        return self._tried(list(zip(names, counts, strict=True)), self.sampler)

    def fewer(self, steps: int) -> Tried:
        """The dense network in fewer steps of the same scheduler."""
        return self._tried([(DENSE, steps)], Sampler(self.sampler.scheduler, steps))

    def thinned(self, calls: int) -> Tried:
        """The dense network at so many of the steps, evenly from the first on, its last prediction used in between."""
        steps = self.sampler.steps
        called = {call * steps // calls for call in range(calls)}
        return self._tried([(DENSE if step in called else SKIP, 1) for step in range(steps)], self.sampler)

    def _tried(self, stretches: Sequence[tuple[str, int]], sampler: Sampler) -> Tried:
        joined = groupby(stretches, key=itemgetter(0))
        runs = tuple((name, sum(count for _, count in some)) for name, some in joined)
        dense = self.calls[DENSE] * self.sampler.steps
        return Tried(runs, sampler, sum(self.calls[name] for name in expanded(runs)) / dense)

    def schedule(self, one: Tried, about: Mapping[str, Any] | None = None) -> StepSchedule:
        """It as a schedule of this family."""
        members, measured = self.measured
        every = grid(one.sampler.solver(self.family.network.scheduler), self.levels, one.sampler.steps).bounds
        ends = np.cumsum([count for _, count in one.runs])[:-1]
        names = [name for name, _ in one.runs]
        return StepSchedule.of([every[end - 1] for end in ends], names, members, measured=measured, about=about or {})

    def denoiser(self, one: Tried) -> Scheduled:
        """It as a denoiser, of the networks as they run."""
        return Scheduled(self.schedule(one), self.forms, self.levels).eval()
