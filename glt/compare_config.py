"""What a user may set of `glt compare`, and the settings of each search that follow from it; no heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from common.runs.errors import UsageError
from common.runs.options import did_you_mean
from glt.config import Experiment, Find, preset
from glt.methods import METHODS

__all__ = ["PUBLISHED_RUNGS", "RANDOM_EDGES", "Compare", "as_find", "check_methods", "filled", "searches"]

PUBLISHED_RUNGS = (4, 8, 12, 16, 20)
RANDOM_EDGES = "-random-edges"
"""What follows a method's name in the label of its run on random edges."""


@dataclass(frozen=True)
class Compare(Experiment):
    """Compare search methods on the same data, seeds, densities and training, beside their controls."""

    methods: list[str] = field(default_factory=lambda: ["default", "ugs", "teddy", "random"])
    """Search methods, any that find has; they share dense networks, seeds, densities and training."""
    random_edges: bool = True
    """Also run every method on random edges, under its own search and training: the credit of its edges is what they
    add to that."""
    rungs: list[int] | None = field(default=None, kw_only=True)
    """Rounds whose tickets are trained and checked; those of 4, 8, 12, 16, 20 that there are, and the last, if not
    given."""
    jobs: int | None = field(default=None, kw_only=True)
    """Searches that run at once, each in a process; as many as cores if not given."""


def check_methods(methods: list[str]) -> None:
    """Refuse a list of methods that names one that there is not, or one twice, or none.

    Raises:
        UsageError: naming what was found and what there is.
    """
    known = ", ".join(METHODS)
    if not methods:
        raise UsageError(f"--methods names none; give at least one of {known}")
    for number, method in enumerate(methods):
        if method not in METHODS:
            raise UsageError(f"--methods: unknown method {method!r}.{did_you_mean(method, METHODS)} Known: {known}")
        if method in methods[:number]:
            raise UsageError(f"--methods names {method} twice; found {', '.join(methods)}. Name each once")


def filled(config: Compare) -> Compare:
    """Fill every None: as published (see `glt.config.preset`), but without distillation, and the rungs.

    >>> filled(Compare(rounds=6)).rungs, filled(Compare("cora")).rungs
    ([4, 6], [4, 8, 12, 16, 20])
    >>> filled(Compare(methods=["teddy"])).training.distil
    0.0
    """
    whole = preset(as_find(config, "random"))
    distil = config.training.distil or 0.0
    rounds = whole.rounds or 0
    rungs = (
        sorted({k for k in PUBLISHED_RUNGS if k < rounds} | {rounds})
        if config.rungs is None
        else sorted(set(config.rungs))
    )
    shared = {field.name: getattr(whole, field.name) for field in fields(Experiment)}
    shared |= {"training": replace(whole.training, distil=distil), "rungs": rungs}
    return Compare(**shared, methods=config.methods, random_edges=config.random_edges)


def as_find(config: Compare, method: str, edges: Literal["chosen", "random"] = "chosen") -> Find:
    """The settings of one search of a comparison."""
    shared = {field.name: getattr(config, field.name) for field in fields(Experiment)}
    return Find(**shared, method=method, edges=edges)


def searches(config: Compare) -> dict[str, Find]:
    """Label to the settings of every search, in the order in which they are named.

    >>> list(searches(Compare(methods=["ugs", "random"])))
    ['ugs', 'ugs-random-edges', 'random', 'random-random-edges']
    """
    found = {}
    for method in config.methods:
        found[method] = as_find(config, method)
        if config.random_edges:
            found[method + RANDOM_EDGES] = as_find(config, method, "random")
    return found
