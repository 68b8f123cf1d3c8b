"""Rungs over all seeds, and what they say of each method: the data that `gen_tickets.summary` makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.runs.stats import Estimate

__all__ = ["Level", "Summary"]


@dataclass(frozen=True)
class Level:
    """A rung of a method over all seeds.

    Attributes:
        method, round: which.
        kept: how many weights, seed by seed.
        total: of how many.
        quality: label to estimates of `ticket` and, where they were trained for every seed, of `random` and `reinit`.
        layers: tensor to the share it keeps, mean over seeds.
        winners: which of `ticket`, `random`, `reinit` match the dense network in the main score.
    """

    method: str
    round: int
    kept: tuple[int, ...]
    total: int
    quality: Mapping[str, Mapping[str, Estimate]]
    layers: Mapping[str, float]
    winners: tuple[str, ...]

    @property
    def density(self) -> float:
        """The share of the weights that is kept, mean over seeds."""
        return sum(self.kept) / (len(self.kept) * self.total) if self.total else 1.0

    @property
    def counted(self) -> str:
        """How many weights of how many, in words; from the fewest to the most where seeds differ."""
        fewest, most = min(self.kept), max(self.kept)
        return f"{fewest:,}{'' if fewest == most else f' to {most:,}'} of {self.total:,}"

    @property
    def scores(self) -> Mapping[str, Estimate]:
        """The main score of `ticket`, `random` and `reinit`."""
        return next(iter(self.quality.values()))

    @property
    def winning(self) -> bool:
        """Whether the ticket matches the dense network."""
        return "ticket" in self.winners


@dataclass(frozen=True)
class Summary:
    """All rungs of all methods, beside the dense network.

    Attributes:
        label: of the main score; less is better.
        seeds: what the estimates are over, rising.
        quality: label to estimate of the dense network, the main score first.
        methods: name to its rungs, densest first, those that every seed has finished.
        missing: how many rungs of single seeds are still to come, of those that some seed has.
        about: how it was judged.
        warnings: of the judging, each once.
        seconds, cpu_seconds: of work in all rungs.
    """

    label: str
    seeds: tuple[int, ...]
    quality: Mapping[str, Estimate]
    methods: Mapping[str, tuple[Level, ...]]
    missing: int
    about: Mapping[str, Any]
    warnings: tuple[str, ...]
    seconds: float
    cpu_seconds: float

    @property
    def dense(self) -> Estimate:
        """The main score of the dense network."""
        return self.quality[self.label]

    @property
    def levels(self) -> list[Level]:
        """All rungs, method by method."""
        return [level for levels in self.methods.values() for level in levels]

    @property
    def sparsest(self) -> dict[str, Level | None]:
        """Of every method the winning rung of the lowest density; None where none wins."""
        return {name: _sparsest(levels) for name, levels in self.methods.items()}

    @property
    def best(self) -> Level | None:
        """The winning rung of the lowest density of all, and of several with that density the one of the best score."""
        return _sparsest(self.levels)

    @property
    def winning(self) -> bool | None:
        """Whether the last rung of the only method wins, or any rung of several; None if nothing can be said yet."""
        if not self.levels or not math.isfinite(self.dense.mean):
            return None
        return self.levels[-1].winning if len(self.methods) == 1 else self.best is not None


def _sparsest(levels: Sequence[Level]) -> Level | None:
    winners = [level for level in levels if level.winning]
    return min(winners, key=lambda level: (level.density, level.scores["ticket"].mean), default=None)
