"""What the seeds of a comparison say together: every method's rungs beside their controls, their cost, a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.runs import words
from common.runs.stats import Estimate, Paired, estimate, is_winning, paired
from common.runs.store import Run
from glt._runs import seeds_of
from glt.compare_config import RANDOM_EDGES, Compare
from glt.methods import METHODS
from glt.seeds import key
from glt.summary import Level, kept_of, level_of

__all__ = ["Comparison", "Row", "summarise", "verdict", "worth"]

_SHOWN = ("dense", "random", "reinit", "random_edges")


@dataclass(frozen=True)
class Row:
    """A rung of a method over all seeds.

    Attributes:
        method: its name.
        level: counts, and test accuracy of `dense`, `ticket` and its controls `random`, `reinit` and `edges`, and of
            `random_edges`, the method's own run on random edges, where there is one.
        versus_edges: the ticket against the control `edges`: as many random edges, the ticket's weights.
        credit: the ticket against the method's own run on random edges: what its edges add; None without that run, or
            where it has other counts.
        search: CPU seconds until this rung's edges and weights are chosen, with the training of the dense network
            where the search looks at it, and all rungs before where they follow from each other.
        train: CPU seconds in which the ticket was trained.
        search_mb, peak_mb: the most memory of a process while it searched, and with the training of ticket and
            controls, in MB of 10^6 bytes.
        val: the ticket's validation accuracy.
        found: numbers that the method tells of its search, such as the epoch at which an early bird emerged, over the
            seeds that have them.
    """

    method: str
    level: Level
    versus_edges: Paired
    credit: Paired | None
    search: Estimate
    train: Estimate
    search_mb: float
    peak_mb: float
    val: Estimate
    found: Mapping[str, Estimate]

    @property
    def ticket(self) -> Estimate:
        """The ticket's test accuracy."""
        return self.level.accuracy["ticket"]


@dataclass(frozen=True)
class Comparison:
    """All rungs of all methods.

    Attributes:
        dense, no_edges: test accuracy of the dense network, and of the same network trained without any edge.
        train: CPU seconds of training the dense network.
        peak_mb: the most memory of the process that did.
        methods: name to rungs, densest first.
        metric: what `accuracy` is, where it is something else, such as AUC.
    """

    dense: Estimate
    no_edges: Estimate
    train: Estimate
    peak_mb: float
    methods: Mapping[str, Sequence[Row]]
    metric: str = "accuracy"

    @property
    def rows(self) -> list[Row]:
        """All rungs, method by method."""
        return [row for rows in self.methods.values() for row in rows]

    @property
    def best(self) -> Row | None:
        """The winning rung that keeps least, of several the one of the best validation accuracy; None without one."""
        return max((row for row in self.rows if row.level.winning), key=_sparse_and_good, default=None)


def summarise(config: Compare, store: Run, metric: str = "accuracy") -> Comparison:
    """Read the rungs of a finished comparison.

    Args:
        config: filled by `glt.compare_config.filled`.
        store: the run; all rungs of all methods are finished, but perhaps not those on random edges.
        metric: see `Comparison`.
    """
    found = {
        (label, rung): [done for seed in seeds_of(config) if (done := store.done(key(seed, rung, label)))]
        for label, rung in [("", 0), *((name, rung) for name in _labels(config) for rung in sorted(config.rungs or []))]
    }
    results = found["", 0]
    return Comparison(
        dense=estimate(one["accuracy"]["test"] for one in results),
        no_edges=estimate(one["controls"]["no_edges"]["test"] for one in results),
        train=estimate(one["cpu_seconds"]["train"] for one in results),
        peak_mb=max(one["peak_rss_mb"] for one in results),
        methods={method: _rows(method, found, config) for method in config.methods},
        metric=metric,
    )


def _labels(config: Compare) -> list[str]:
    kinds = ("", RANDOM_EDGES) if config.random_edges else ("",)
    return [method + kind for method in config.methods for kind in kinds]


Results = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]


def _rows(method: str, found: Results, config: Compare) -> list[Row]:
    """The rungs of a method."""
    rungs, dense = sorted(config.rungs or []), found["", 0]
    looks = METHODS[method].dense or bool(config.training.distil)
    rows = []
    for rung in rungs:
        results = found[method, rung]
        search = [
            one["cpu_seconds"]["search"] + (first["cpu_seconds"]["train"] if looks else 0.0)
            for one, first in zip(results, dense, strict=True)
        ]
        level = level_of([dict(one) for one in results], estimate(_tests(dense)))
        own = found.get((method + RANDOM_EDGES, rung), [])
        whole = len(own) == len(results)  # not where they are left out, or one diverged
        fair = whole and [one["counts"] for one in own] == [one["counts"] for one in results]  # not by a joint budget
        if whole:
            level = replace(level, accuracy={**level.accuracy, "random_edges": estimate(_tests(own))})
        rows.append(
            Row(
                method,
                level,
                versus_edges=paired(_tests(results), [one["controls"]["edges"]["test"] for one in results]),
                credit=paired(_tests(results), _tests(own)) if fair else None,
                search=estimate(search),
                train=estimate(one["cpu_seconds"]["train"] for one in results),
                search_mb=max(one["search_mb"] for one in results),
                peak_mb=max(one["peak_rss_mb"] for one in results),
                val=estimate(one["accuracy"]["val"] for one in results),
                found=_told([one.get("found", {}) for one in results]),
            )
        )
    return rows


def _told(found: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Means of numbers over the seeds that have them."""
    numbers = [{name: one for name, one in about.items() if isinstance(one, int | float)} for about in found]
    names = dict.fromkeys(name for one in numbers for name in one)
    return {name: estimate(one[name] for one in numbers if name in one) for name in names}


def _tests(results: Sequence[Mapping[str, Any]]) -> list[float]:
    return [one["accuracy"]["test"] for one in results]


def _sparse_and_good(row: Row) -> tuple[int, float]:
    return row.level.number, row.val.mean


def verdict(found: Comparison) -> str:
    """Which method's ticket wins at the lowest density, and whether its choice of edges made the difference."""
    best = found.best
    if best is None:
        nearest = max(found.rows, key=lambda row: row.ticket.mean)
        return (
            f"Not a winning ticket: no rung of {', '.join(found.methods)} matches the dense network's "
            f"{found.dense.mean:.1%}; the nearest is {nearest.method} in round {nearest.level.number}, "
            f"{kept_of(nearest.level)}, with {nearest.ticket.mean:.1%} test {found.metric}."
        )
    accuracy = best.level.accuracy
    shown = {name.replace("_", " "): one for name, one in accuracy.items() if name in _SHOWN}
    text = words.verdict(
        f"{best.method} in round {best.level.number}, {kept_of(best.level)},",
        f"{best.ticket.mean:.1%} test {found.metric}",
        {name: f"{one.mean:.1%}" for name, one in {**shown, "no edges": found.no_edges}.items()},
        winning=True,
        random_wins=is_winning(accuracy["random"], found.dense),
    )
    if "random_edges" in accuracy and is_winning(accuracy["random_edges"], found.dense):
        text += " On random edges it wins as well, so that its choice of edges did not make the difference."
    return text + _others(found, best)


def worth(found: Comparison) -> str:
    """What the edges of each method add at its last rung to its own run on random edges; nothing without such runs."""
    last = [rows[-1] for rows in found.methods.values()]
    credits = [f"{row.method} {words.points(row.credit)}" for row in last if row.credit is not None]
    if not credits:
        return ""
    return (
        f"Credit of the edges that the methods choose, over random ones in round {last[0].level.number}, in points of "
        f"{found.metric}: {'; '.join(credits)}."
    )


def _others(found: Comparison, best: Row) -> str:
    """The sparsest winners of the methods that are not the best one's."""
    won = {name: [row.level.number for row in rows if row.level.winning] for name, rows in found.methods.items()}
    others = [f"{name} {f'round {max(n)}' if n else 'none'}" for name, n in won.items() if name != best.method]
    return f" The sparsest winners of the others: {', '.join(others)}." if others else ""
