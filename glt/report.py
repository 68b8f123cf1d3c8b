"""The report of a run of `glt find`: one HTML file with curve, layers, graph, table, command and citations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common.runs.plots import Rung, density_curve, graph_drawing, layer_densities
from common.runs.report import Count, Figure, Report, render
from common.runs.store import Run
from common.runs.words import command_line as repeat
from common.runs.words import plural
from common.ticket import Ticket
from glt.config import Find, preset
from glt.data import Graph
from glt.edges import Edges
from glt.models import EDGES
from glt.summary import Level, Summary

__all__ = ["command_line", "curve", "write_report"]

_NAMES = {"ticket": "ticket", "random": "random ticket", "reinit": "re-initialised", "edges": "random edges"}
_DEFINITIONS = (
    "Densities are shares kept. A ticket wins if its mean accuracy is at least the dense mean minus one standard "
    "deviation. Accuracies are on test nodes at the epoch of best validation accuracy, means over seeds with a 95 % t "
    "interval; no test label takes part in any choice.",
    "Random tickets keep as many entries of every tensor at random places, from the same initial weights; "
    "re-initialised tickets keep the ticket's edges and weights with freshly drawn initial values; random edges are as "
    "many at random places, with the ticket's weights.",
)


def write_report(config: Find, graph: Graph, store: Run, summary: Summary, ticket: Ticket, seconds: float) -> Path:
    """Write `report.html` into the run folder and return its path."""
    final = summary.rungs[-1]
    verdict = summary.verdict.split(": ", 1)[1]
    report = Report(
        title=f"{config.method.upper()} on {graph.name}, {config.model.upper()} of depth {config.network.depth}",
        verdict=verdict,
        winning=final.winning,
        counts=[Count(group, int(c["kept"]), int(c["total"])) for group, c in final.counts.items()],
        summary=[*_DEFINITIONS, f"{plural(config.seeds, 'seed')}, {seconds:.0f} seconds of work."],
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
    usual = preset(Find(config.dataset, rounds=config.rounds))
    words = repeat("glt find", config, usual, positional=("dataset",))
    return words if config.rounds == preset(Find(config.dataset)).rounds else f"{words} --rounds {config.rounds}"


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


def curve(summary: Summary) -> str:
    """Test accuracy of ticket and controls, rung by rung, with 95 % intervals, as an `<svg>` element."""
    rungs = [
        Rung(
            level.counts["weights"]["density"],
            {name: level.accuracy[name] for name in _series(level)},
            label=f"{_percent(level.counts['edges']['density'])}\n{_percent(level.counts['weights']['density'])}",
        )
        for level in summary.rungs
    ]
    return density_curve(rungs, dense=summary.dense, metric="test accuracy")


def _figures(config: Find, summary: Summary) -> list[Figure]:
    layers = layer_densities({str(level.number): level.layers for level in summary.rungs})
    return [
        Figure(
            "Accuracy against density",
            f"Test accuracy round by round; each tick gives the share of edges and, below it, of weights kept. Bands "
            f"and bars are 95 % intervals over {config.seeds} seeds; the grey band is the dense network.",
            curve(summary),
        ),
        Figure("What every tensor keeps", "Per cent of entries kept, by tensor and round, mean over seeds.", layers),
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _drawing(graph: Graph, config: Find, ticket: Ticket) -> list[Figure]:
    edges = Edges(graph.edge_index, graph.x.size(0), symmetric=None if config.symmetric else False)
    if edges.edge_index.size(1) == 0:
        return []
    kept = ticket.masks[EDGES].numpy()
    drawn = graph_drawing(edges.edge_index.numpy(), kept, labels=graph.y.numpy(), max_nodes=300)
    text = "Kept and pruned edges of the kept ticket; node colours are labels. A large graph shows a neighbourhood."
    return [Figure("The graph", text, drawn)]
