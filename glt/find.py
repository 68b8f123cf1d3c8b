"""`glt find`: search, controls, seeds, ticket and report in one command."""

from __future__ import annotations

import dataclasses
from typing import Any

from common.runs.progress import Console
from common.runs.session import peak_mb, worked
from common.runs.store import Run
from common.runs.words import plural
from common.ticket import Ticket
from glt import masker
from glt._runs import Bound, bound, identity, opened, opening, watched
from glt._settings import check, check_counts
from glt.config import Find, preset
from glt.data import Graph, canonical, load
from glt.seeds import climb_all, jobs_for, key, rungs
from glt.summary import summarise
from glt.task_settings import metric_of

__all__ = ["check", "identity", "run"]


def run(config: Find, console: Console) -> dict[str, Any]:
    """Find tickets for every seed, check them against their controls, write ticket and report.

    Raises:
        UsageError: a setting is out of its range, or keeps nothing of this data set.
        MissingData: the data set is not at hand.
        ValueError: it is damaged, or no graph to classify nodes of.
        RunFolderError: the run folder cannot be written, or a file in it is damaged.
        TicketError: a rung's ticket is damaged.
    """
    config = preset(dataclasses.replace(config, dataset=canonical(config.dataset)))
    check(config)
    graph = load(config.dataset, config.data_root)
    check_counts(config, graph)
    known = bound(config, graph)
    with opened(config, identity(known), graph) as store:
        console.line(opening(graph, store, _what(config)))
        with watched(store, config.seeds * (1 + len(rungs(config))), console) as watch:
            climb_all(known, store.folder, watch)
        return _conclude(known, config, graph, store, console)


def _what(config: Find) -> str:
    return (
        f"{config.method}, {config.rounds} rounds to {config.edges_density:.1%} of edges and "
        f"{config.weights_density:.1%} of weights, {plural(config.seeds, 'seed')}, {jobs_for(config)} at a time"
    )


def _conclude(bound: Bound, config: Find, graph: Graph, store: Run, console: Console) -> dict[str, Any]:
    from glt.report import write_report

    summary, metric = summarise(config, store), metric_of(config.task)
    seconds = worked(store)
    source = store.round(key(summary.chosen_seed, rungs(config)[-1]))
    best = Ticket.load(source)
    final = summary.rungs[-1]
    accuracy = {name: value.as_dict() for name, value in final.accuracy.items()}
    recipe = {**best.recipe, "find": identity(bound), "seed": summary.chosen_seed}
    metrics = {"seed": best.metrics, "metric": metric, "accuracy": accuracy}
    ticket = dataclasses.replace(best, recipe=recipe, metrics=metrics)
    folder = ticket.save(store.folder / "ticket")
    if masker.is_in(source):
        masker.save(masker.load(source), folder)
    report = write_report(config, graph, store, summary, ticket, seconds)
    console.line(summary.verdict)
    console.line(f"ticket: {folder}")
    console.line(f"report: {report}")
    return {
        "ticket": str(folder),
        "dataset": graph.name,
        "method": config.method,
        "model": config.model,
        "metric": metric,
        "edges": final.counts["edges"],
        "weights": final.counts["weights"],
        "accuracy": {name: value.numbers() for name, value in final.accuracy.items()},
        "winning": final.winning,
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(peak_mb(store), 1),
        "report": str(report),
    }
