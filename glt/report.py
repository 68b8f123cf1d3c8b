"""The report of a run of `glt find`: one HTML file with curve, layers, graph, table, command and citations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from common.runs.plots import Rung, density_curve, graph_drawing, layer_densities
from common.runs.report import Count, Figure, Report, render
from common.runs.store import Run
from common.runs.words import bars, plural
from common.runs.words import command_line as repeat
from common.ticket import Ticket
from glt.config import Experiment, Find, Network, preset
from glt.data import Graph, GraphSet
from glt.edges import Edges
from glt.models import EDGES
from glt.summary import Level, Summary
from glt.task_settings import Task, metric_of, units_of
from glt.tasks import message_edges

__all__ = ["command_line", "curve", "definitions", "usual", "write_report"]

_Settings = TypeVar("_Settings", bound=Experiment)

_NAMES = {"ticket": "ticket", "random": "random ticket", "reinit": "re-initialised", "edges": "random edges"}
_MEASURED = (
    "Densities are shares kept. A ticket wins if its mean {metric} is at least the dense mean minus one standard "
    "deviation. The {metric} is that of test {units} at the epoch of best validation {metric}, a mean over seeds with "
    "a 95 % t interval; no test label takes part in any choice."
)
_CONTROLS = (
    "Random tickets keep as many entries of every tensor at random places, from the same initial weights; "
    "re-initialised tickets keep the ticket's edges and weights with freshly drawn initial values; random edges are as "
    "many at random places, with the ticket's weights."
)


def definitions(task: Task) -> list[str]:
    """What the words of a report mean, for a task."""
    first = _MEASURED.format(metric=metric_of(task), units=units_of(task))
    links = (
        f"Held-out edges, {task.val_links:.0%} for validation and {task.test_links:.0%} for the test, pass no messages "
        "and are not counted; AUC tells them from as many pairs of nodes that are no edge."
    )
    return [first, *([links] if task.kind == "links" else []), _CONTROLS]


def write_report(config: Find, graph: Graph, store: Run, summary: Summary, ticket: Ticket, seconds: float) -> Path:
    """Write `report.html` into the run folder and return its path."""
    final = summary.rungs[-1]
    verdict = summary.verdict.split(": ", 1)[1]
    report = Report(
        title=f"{config.method.upper()} on {graph.name}, {config.model.upper()} of depth {config.network.depth}",
        verdict=verdict,
        winning=final.winning,
        counts=[Count(group, int(c["kept"]), int(c["total"])) for group, c in final.counts.items()],
        summary=[*definitions(config.task), f"{plural(config.seeds, 'seed')}, {seconds:.0f} seconds of work."],
        columns=["round", "edges kept", "weights kept", *(_NAMES[n] for n in _series(final)), "wins"],
        rows=[_dense_row(summary, len(_series(final))), *(_row(level) for level in summary.rungs)],
        figures=[*_figures(config, summary), *_drawing(graph, config, ticket)],
        command=command_line(config),
        settings=dataclasses.asdict(config),
        references=ticket.references,
        provenance=store.manifest,
    )
    return store.write_text("report.html", render(report))


def command_line(config: Find) -> str:
    """The words that repeat a run: the data set, then every setting that differs from its default."""
    return repeat("glt find", config, usual(config, preset), positional=("dataset",))


def usual(config: _Settings, fill: Callable[[_Settings], _Settings]) -> _Settings:
    """Settings that need not be said: those that follow from the data set, the rounds and the depth, which are said.

    Args:
        config: of `glt find` or `glt compare`.
        fill: fills every None of such settings.
    """
    kind, depth = type(config), Network(depth=config.network.depth)
    plain, found = fill(kind(config.dataset)), fill(kind(config.dataset, rounds=config.rounds, network=depth))
    return dataclasses.replace(found, network=plain.network, rounds=plain.rounds)


def _series(level: Level) -> list[str]:
    return [name for name in _NAMES if name in level.accuracy]


def _dense_row(summary: Summary, series: int) -> list[str]:
    return ["0", "100%", "100%", f"{summary.dense:.1%}", *[""] * (series - 1), "dense"]


def _row(level: Level) -> list[str]:
    kept = [f"{c['density']:.1%} ({c['kept']:,} of {c['total']:,})" for c in level.counts.values()]
    return [
        str(level.number),
        *kept,
        *(f"{level.accuracy[name]:.1%}" for name in _series(level)),
        "yes" if level.winning else "no",
    ]


def curve(summary: Summary, metric: str = "accuracy") -> str:
    """What is measured of ticket and controls, rung by rung, with 95 % intervals, as an `<svg>` element."""
    rungs = [
        Rung(
            level.counts["weights"]["density"],
            {name: level.accuracy[name] for name in _series(level)},
            label=f"{_percent(level.counts['edges']['density'])}\n{_percent(level.counts['weights']['density'])}",
        )
        for level in summary.rungs
    ]
    return density_curve(rungs, dense=summary.dense, metric=f"test {metric}")


def _figures(config: Find, summary: Summary) -> list[Figure]:
    metric = metric_of(config.task)
    layers = layer_densities({str(level.number): level.layers for level in summary.rungs})
    return [
        Figure(
            f"{metric[0].upper()}{metric[1:]} against density",
            f"Test {metric} round by round; each tick gives the share of edges and, below it, of weights kept. "
            f"{bars(config.seeds)}",
            curve(summary, metric),
        ),
        Figure("What every tensor keeps", "Per cent of entries kept, by tensor and round, mean over seeds.", layers),
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _drawing(graph: Graph, config: Find, ticket: Ticket) -> list[Figure]:
    edges = Edges(message_edges(graph, config.task), graph.x.size(0), symmetric=None if config.symmetric else False)
    if edges.edge_index.size(1) == 0:
        return []
    mask = ticket.masks[EDGES]
    kept = mask.reshape(-1, mask.size(-1)).any(0).numpy()  # in any layer, where each has edges of its own
    labels = graph.y[graph.batch] if isinstance(graph, GraphSet) else graph.y
    drawn = graph_drawing(edges.edge_index.numpy(), kept, labels=labels.numpy(), max_nodes=300)
    text = "Kept and pruned edges of the kept ticket; node colours are labels. A large graph shows a neighbourhood."
    if mask.dim() > 1:
        text += " An edge is drawn as kept if any layer keeps it."
    return [Figure("The graph", text, drawn)]
