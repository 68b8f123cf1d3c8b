"""`glt compare`: several search methods on the same data, seeds, densities and training, beside their controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.runs.errors import DivergedError
from common.runs.manifest import hardware
from common.runs.progress import Console
from common.runs.session import peak_mb, worked
from common.runs.store import Run
from common.runs.words import plural
from glt._measured import THREADS, Measured, measured
from glt._runs import bound, identity, opened, opening, seeds_of, watched
from glt._settings import check, check_counts
from glt.compare_config import Compare, as_find, check_methods, filled, searches
from glt.compare_report import in_lines, write_report
from glt.comparison import Row, summarise, verdict, worth
from glt.config import Find, Network, preset
from glt.data import canonical, load
from glt.graph import Graph
from glt.methods import METHODS
from glt.seeds import climb_searches, key, rungs
from glt.task_settings import metric_of

__all__ = ["run"]

_COSTS = 2
"""What is kept of the cost of a rung; runs that kept something else are not continued."""


def run(config: Compare, console: Console) -> dict[str, Any]:
    """Climb the ladders of all methods, from dense networks that they share, and say what each is worth and costs.

    Returns:
        `dataset`, `model`, `metric`; `dense` and `no_edges`; `methods`, name to a list of rungs; `diverged`, name of a
        search to what happened; `inference`, how it was timed; `seconds`, `peak_rss_mb`, `report`. `docs/cli.md` has
        what is in them. The same is in `comparison.json` of the run folder.

    Raises:
        UsageError: a method is unknown or named twice, a setting is out of its range, or keeps nothing of these data.
        MissingData: the data set is not at hand.
        ValueError: it is damaged, or does not go with the task.
        DivergedError: a dense network diverged, or all methods; finished rungs are kept.
        RunFolderError: the run folder cannot be written, or a file in it is damaged.
        TicketError: a rung's ticket is damaged.
    """
    check_methods(config.methods)
    config = filled(replace(config, dataset=canonical(config.dataset)))
    for method in config.methods:
        check(as_find(config, method))
    graph = load(config.dataset, config.data_root)
    for method in config.methods:
        check_counts(as_find(config, method), graph)
    known = {label: bound(find, graph) for label, find in searches(config).items()}
    with opened(config, {**_identity(config), "data": graph.sha256}, graph) as store:
        console.line(opening(graph, store, _what(config)))
        labels = [("", 0), *((label, rung) for label, find in known.items() for rung in rungs(find))]
        wanted = {key(seed, rung, label) for seed in seeds_of(config) for label, rung in labels}
        with watched(store, len(wanted | set(store.finished())), console) as watch:
            diverged = climb_searches(known, store.folder, watch)
        for why in diverged.values():
            console.warning(why)
        return _conclude(config, graph, store, console, diverged)


def _identity(config: Compare) -> dict[str, Any]:
    """What all searches of a run folder share, so that more methods, seeds and rungs go into the same one.

    Settings of a method count where they are not as published.
    """
    usual = preset(Find(config.dataset, model=config.model, network=Network(depth=config.network.depth)))
    asked = ("methods", "random_edges", "seeds", "first_seed", "rungs")
    own = {name for name in METHODS if hasattr(usual, name) and getattr(usual, name) == getattr(config, name)}
    every = identity(replace(config, methods=list(METHODS)), "compare")
    return {name: value for name, value in every.items() if name not in (*asked, *own)} | {"costs": _COSTS}


def _what(config: Compare) -> str:
    also = ", each also on random edges" if config.random_edges else ""
    return (
        f"{', '.join(config.methods)}{also}; rounds {', '.join(map(str, sorted(config.rungs or [])))} of "
        f"{config.rounds} to {config.edges_density:.1%} of edges and {config.weights_density:.1%} of weights, "
        f"{plural(config.seeds, 'seed')}"
    )


def _conclude(
    config: Compare, graph: Graph, store: Run, console: Console, diverged: Mapping[str, str]
) -> dict[str, Any]:
    metric, asked = metric_of(config.task), config
    config = replace(config, methods=[name for name in config.methods if name not in diverged])
    if not config.methods:
        raise DivergedError(next(iter(diverged.values())))
    summary, costs, seconds = summarise(config, store, metric), measured(config, graph, store), worked(store)
    report = write_report(asked, graph, store, summary, costs, seconds, diverged)
    for line in in_lines(summary, costs):
        console.line(line)
    for line in filter(None, (verdict(summary), worth(summary))):
        console.line(line)
    console.line(f"report: {report}")
    result = {
        "dataset": graph.name,
        "model": config.model,
        "metric": metric,
        "dense": {
            "accuracy": summary.dense.numbers(),
            "macs": costs["dense", 0].macs,
            "train_seconds": summary.train.numbers(),
            "peak_rss_mb": round(summary.peak_mb, 1),
        },
        "no_edges": {"accuracy": summary.no_edges.numbers()},
        "methods": {
            name: [_numbers(row, costs[name, row.level.number], config, store) for row in rows]
            for name, rows in summary.methods.items()
        },
        "diverged": dict(diverged),
        "inference": {"threads": THREADS, "hardware": hardware()},
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(peak_mb(store), 1),
        "report": str(report),
    }
    store.write_json("comparison.json", result)
    return result


def _numbers(row: Row, cost: Measured, config: Compare, store: Run) -> dict[str, Any]:
    """A rung as plain data."""
    level = row.level
    counts = {group: {**count, "removed": count["total"] - count["kept"]} for group, count in level.counts.items()}
    return {
        "round": level.number,
        **counts,
        "accuracy": {name: one.numbers() for name, one in level.accuracy.items() if name != "dense"},
        "winning": level.winning,
        "versus_edges": row.versus_edges.numbers(),
        "credit": None if row.credit is None else row.credit.numbers(),
        "macs": cost.macs,
        "inference": cost.inference,
        "search_seconds": row.search.numbers(),
        "train_seconds": row.train.numbers(),
        "search_mb": round(row.search_mb, 1),
        "peak_rss_mb": round(row.peak_mb, 1),
        "found": {name: one.numbers() for name, one in row.found.items()},
        "ticket": str(store.folder / "rounds" / key(config.first_seed, level.number, row.method)),
    }
