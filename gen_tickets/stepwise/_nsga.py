"""NSGA-II of optuna over schedules: children are made to fit the budget, and none is judged twice.

The first generation comes from the sampler too: since optuna 5 a trial that is enqueued belongs to no generation, and
would have no children.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from common.runs.errors import UsageError
from gen_tickets._intervals import refuse
from gen_tickets.stepwise._repair import Repair

if TYPE_CHECKING:
    from gen_tickets.stepwise.refine import Settings

__all__ = ["Search", "judged", "load_optuna"]

Assignment = tuple[int, ...]
_TRIES = 50


class Search:
    """What was seen so far, in order, and how a new schedule comes to be."""

    def __init__(
        self,
        repair: Repair,
        evaluate: Callable[[Assignment], float],
        known: dict[Assignment, float],
        settings: Settings,
    ) -> None:
        self.repair, self.evaluate, self.known, self.settings = repair, evaluate, known, settings
        self.rng = np.random.default_rng(settings.seed)
        self.seen: dict[Assignment, float] = {}
        self.waiting: list[Assignment] = []

    def run(self, seeds: Sequence[Assignment]) -> None:
        """Ask, judge and tell until there were enough schedules, or a generation brings no new one."""
        optuna, (count, choices) = load_optuna(), self.repair.prices.shape
        self.waiting = self.first(seeds)
        whole = optuna.distributions.IntDistribution(0, choices - 1)
        space = {f"interval-{place}": whole for place in range(count)}
        with _quiet(optuna):
            study = optuna.create_study(directions=["minimize"] * 2, sampler=_sampler(optuna, self, space))
            idle = 0
            while len(self.seen) < self.settings.trials and idle < self.settings.population:
                trial = study.ask(space)
                one = tuple(trial.params[name] for name in space)
                idle = idle + 1 if one in self.seen else 0
                study.tell(trial, [self.repair.share(one), self.damage(one)])

    def first(self, seeds: Sequence[Assignment]) -> list[Assignment]:
        """The first generation: seeds, and their neighbours for want of more."""
        size = self.settings.population
        even = np.linspace(0, len(seeds) - 1, min(len(seeds), size)).round().astype(int)
        made = dict.fromkeys(self.repair(seeds[number], self.rng) for number in even)
        found = [one for one in made if one is not None]
        if not found:
            (low, high), least = self.settings.within, self.repair.cheapest
            refuse(f"no schedule that costs {low:g} to {high:g} of the dense network",
                   f"bounds that some keep; the cheapest choices of all intervals cost {least:.4g}", "Widen them."
                   )  # fmt: skip
        for _ in range(_TRIES * size):
            if len(found) >= size:
                break
            near = self.repair(self.repair.changed(found[self.rng.integers(len(found))], self.rng), self.rng)
            if near is not None and near not in found:
                found.append(near)
        return found

    def child(self, genes: Sequence[int | None]) -> Assignment:
        """A new schedule that fits, made of genes, chance where there is none; an old one for want of a new one."""
        drawn = [self.choice(place) if gene is None else gene for place, gene in enumerate(genes)]
        last = next(iter(self.seen))
        for _ in range(_TRIES):
            fits = self.repair(drawn, self.rng)
            if fits is not None and fits not in self.seen:
                return fits
            last = fits or last
            drawn = self.repair.changed(fits or drawn, self.rng)
        return last

    def choice(self, place: int) -> int:
        """Any that is allowed in an interval."""
        return int(self.rng.choice(np.flatnonzero(self.repair.allowed[place])))

    def damage(self, one: Assignment) -> float:
        """Of a schedule; it is asked for where it is not known."""
        if one not in self.seen:
            self.seen[one] = self.known[one] if one in self.known else judged(one, self.evaluate(one))
        return self.seen[one]


def judged(one: Assignment, damage: float) -> float:
    """The damage of a schedule; raises a `ScheduleError` where it is none."""
    if math.isnan(damage) or damage == -math.inf:
        refuse(f"a damage of {damage} by the schedule {one}", "a number, or inf", "Look at its images.")
    return float(damage)


def _sampler(optuna: ModuleType, search: Search, space: Mapping[str, Any]) -> Any:
    """NSGA-II that begins with what is waiting, and whose children are made to fit and to be new."""

    class Repairing(optuna.samplers.NSGAIISampler):  # type: ignore[misc, name-defined]
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002
            return dict(space)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, int]:
            genes = super().sample_relative(study, trial, search_space)  # none for the first generation
            one = search.waiting.pop(0) if search.waiting else search.child([genes.get(name) for name in space])
            return dict(zip(space, one, strict=True))

    return Repairing(population_size=search.settings.population, seed=search.settings.seed)


def load_optuna() -> ModuleType:
    """The module, which an extra installs; raises a UsageError without it."""
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "found no optuna; expected it, for it refines schedules. Run pip install 'lottery-tickets[sweep]', or go "
            "without refinement."
        ) from None
    return optuna


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
