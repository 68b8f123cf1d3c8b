"""`glt find`: search, controls, seeds, ticket and report in one command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.runs.progress import Console
from common.runs.session import Watch, clock, peak_mb, remedy, worked
from common.runs.store import Run
from common.ticket import Ticket
from glt._settings import check, check_counts
from glt.config import Find, preset
from glt.data import Graph, canonical, load
from glt.seeds import climb_all, jobs_for, key, rungs
from glt.summary import summarise

__all__ = ["check", "identity", "run"]

_NOT_IDENTITY = ("out", "name", "fresh", "jobs", "json", "quiet", "data_root")


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
    seeds = list(range(config.first_seed, config.first_seed + config.seeds))
    bound, facts = _bound(config, graph), {"name": graph.name, "sha256": graph.sha256}
    with Run.open(
        Path(config.out), identity(bound), name=config.name, fresh=config.fresh, seeds=seeds, data=facts
    ) as store:
        console.line(_opening(config, graph, store))
        total = config.seeds * (1 + len(rungs(config)))
        with remedy(store):
            with clock(store) as tick:
                climb_all(bound, store.folder, Watch(store, total, console, tick, _fields))
            return _conclude(bound, config, graph, store, console)


@dataclasses.dataclass(frozen=True)
class _Bound(Find):
    """Settings and the very data they were opened with, as every rung's ticket carries them."""

    data: str = ""
    """`Graph.sha256` of the data set."""


def _bound(config: Find, graph: Graph) -> _Bound:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return _Bound(**values, data=graph.sha256)


def identity(config: Find) -> dict[str, Any]:
    """What determines the result, and so names a run folder and is in a ticket's recipe.

    Within a run that is, beside the settings, `data`: the sha256 of the data set.
    """
    settings = dataclasses.asdict(config)
    return {"command": "find", **{name: value for name, value in settings.items() if name not in _NOT_IDENTITY}}


def _opening(config: Find, graph: Graph, store: Run) -> str:
    finished = len(store.finished())
    going_on = f", going on after {finished} finished rounds" if finished else ""
    return (
        f"{graph.name}: {graph.x.size(0)} nodes, {graph.edge_index.size(1)} directed edges; {config.method}, "
        f"{config.rounds} rounds to {config.edges_density:.1%} of edges and {config.weights_density:.1%} of weights, "
        f"{config.seeds} seeds, {jobs_for(config)} at a time; in {store.folder}{going_on}"
    )


def _fields(done: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a finished rung."""
    kept = {group: c["kept"] / c["total"] for group, c in done["counts"].items()}
    return {
        "rung": f"{done['round']} of seed {done['seed']}",
        "edges kept": f"{kept['edges']:.1%}",
        "weights kept": f"{kept['weights']:.1%}",
        "test": f"{done['accuracy']['test']:.1%}",
        **{name: f"{control['test']:.1%}" for name, control in done["controls"].items()},
    }


def _conclude(bound: _Bound, config: Find, graph: Graph, store: Run, console: Console) -> dict[str, Any]:
    from glt.report import write_report

    summary = summarise(config, store)
    seconds = worked(store)
    best = Ticket.load(store.folder / "rounds" / key(summary.chosen_seed, rungs(config)[-1]))
    final = summary.rungs[-1]
    accuracy = {name: value.as_dict() for name, value in final.accuracy.items()}
    recipe = {**best.recipe, "find": identity(bound), "seed": summary.chosen_seed}
    ticket = dataclasses.replace(best, recipe=recipe, metrics={"seed": best.metrics, "accuracy": accuracy})
    folder = ticket.save(store.folder / "ticket")
    report = write_report(config, graph, store, summary, ticket, seconds)
    console.line(summary.verdict)
    console.line(f"ticket: {folder}")
    console.line(f"report: {report}")
    return {
        "ticket": str(folder),
        "dataset": graph.name,
        "method": config.method,
        "model": config.model,
        "edges": final.counts["edges"],
        "weights": final.counts["weights"],
        "accuracy": {name: value.numbers() for name, value in final.accuracy.items()},
        "winning": final.winning,
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(peak_mb(store), 1),
        "report": str(report),
    }
