"""`glt find`: search, controls, seeds, ticket and report in one command."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.runs.errors import UsageError
from common.runs.manifest import peak_rss_mb
from common.runs.options import did_you_mean
from common.runs.progress import Console
from common.runs.store import Run
from common.ticket import Ticket
from glt.config import Find, preset
from glt.data import Graph, load
from glt.methods import METHODS
from glt.models import NETWORKS
from glt.seeds import climb_all, jobs_for, key
from glt.summary import Summary, summarise

__all__ = ["check", "identity", "run"]

_NOT_IDENTITY = ("out", "name", "fresh", "jobs", "json", "quiet", "data_root")


def run(config: Find, console: Console) -> dict[str, Any]:
    """Find tickets for every seed, check them against their controls, write ticket and report.

    Raises:
        UsageError: a setting is out of its range.
        MissingData: the data set is not at hand.
        RunFolderError: the run folder cannot be written.
    """
    config = preset(config)
    check(config)
    graph = load(config.dataset, config.data_root)
    seeds = list(range(config.first_seed, config.first_seed + config.seeds))
    with Run.open(Path(config.out), identity(config), name=config.name, fresh=config.fresh, seeds=seeds) as store:
        console.line(_opening(config, graph, store))
        started, total = time.perf_counter(), config.seeds * ((config.rounds or 0) + 1)
        shown: set[str] = set(store.finished())
        climb_all(config, store.folder, lambda: _show_new(store, shown, total, console))
        seconds = _spent(store, time.perf_counter() - started)
        return _conclude(config, graph, store, summarise(config, store), seconds, console)


def check(config: Find) -> None:
    """Refuse settings that cannot be met, before any work.

    Raises:
        UsageError: naming the setting, the value found and the range expected.
    """
    for what, value, known in (("method", config.method, METHODS), ("model", config.model, NETWORKS)):
        if value not in known:
            raise UsageError(f"unknown {what} {value!r}.{did_you_mean(value, known)} Known: {', '.join(known)}")
    for name in ("edges_density", "weights_density"):
        value = getattr(config, name)
        if not 0 < value <= 1:
            raise UsageError(f"--{name.replace('_', '-')} is the share to keep and must lie in (0, 1]; found {value}")
    for name in ("rounds", "seeds"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name} must be at least 1; found {getattr(config, name)}")
    if config.training.epochs < 1 or config.ugs.epochs < 1:
        found = f"{config.training.epochs} and {config.ugs.epochs}"
        raise UsageError(f"--training.epochs and --ugs.epochs must be at least 1; found {found}")


def identity(config: Find) -> dict[str, Any]:
    """The settings that determine the result: what a run folder is named by, and a ticket's recipe holds."""
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


def _show_new(store: Run, shown: set[str], total: int, console: Console) -> None:
    for name in store.finished():
        if name in shown:
            continue
        shown.add(name)
        done = store.done(name) or {}
        kept = {group: c["kept"] / c["total"] for group, c in done["counts"].items()}
        fields: Mapping[str, Any] = {
            "rung": f"{done['round']} of seed {done['seed']}",
            "edges kept": f"{kept['edges']:.1%}",
            "weights kept": f"{kept['weights']:.1%}",
            "test": f"{done['accuracy']['test']:.1%}",
            **{name: f"{control['test']:.1%}" for name, control in done["controls"].items()},
        }
        console.round(len(shown), total, fields)


def _spent(store: Run, seconds: float) -> float:
    """Seconds of work on this run, earlier sessions included."""
    store.event("worked", seconds=seconds)
    return float(sum(event["seconds"] for event in store.events("worked")))


def _conclude(
    config: Find, graph: Graph, store: Run, summary: Summary, seconds: float, console: Console
) -> dict[str, Any]:
    from glt.report import write_report

    best = Ticket.load(store.folder / "rounds" / key(summary.chosen_seed, config.rounds or 0))
    final = summary.rungs[-1]
    accuracy = {name: value.as_dict() for name, value in final.accuracy.items()}
    recipe = {**best.recipe, "find": identity(config), "seed": summary.chosen_seed}
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
        "accuracy": {name: {k: v for k, v in value.items() if k != "values"} for name, value in accuracy.items()},
        "winning": final.winning,
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(max([peak_rss_mb(), *(e["peak_rss_mb"] for e in store.events("memory"))]), 1),
        "report": str(report),
    }
