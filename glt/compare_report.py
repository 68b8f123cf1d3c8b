"""The report of a run of `glt compare`: one HTML file with verdict, curve, a table a rung, costs and citations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.runs.manifest import hardware
from common.runs.plots import Rung, density_curve
from common.runs.report import Count, Figure, Report, Table, render
from common.runs.stats import Estimate
from common.runs.store import Run
from common.runs.words import aligned, bars, command_line, number, plural, points, share
from common.ticket import Ticket
from glt._measured import THREADS, Measured
from glt._runs import settings_of
from glt.compare_config import RANDOM_EDGES, Compare, filled
from glt.comparison import Comparison, Row, verdict, worth
from glt.graph import Graph
from glt.report import definitions, usual
from glt.seeds import key

__all__ = ["in_lines", "write_report"]

Costs = Mapping[tuple[str, int], Measured]

_CREDIT = (
    f"A method's run on random edges (METHOD{RANDOM_EDGES}) has as many edges at random places, and the method's own "
    "search and training for the rest. The credit of its edges is what they add to that: a difference over the same "
    "seeds in points, with a 95 % t interval and the p of a two-sided paired t-test, not corrected for how many there "
    "are. No p is given where differences have no spread, as with one seed. The ticket against its own weights on "
    "random edges is compared in the same way."
)
_COSTS = (
    "Undirected edges are counted once, and once a layer where a method chooses edges for each. Search is CPU seconds "
    "until edges and weights are chosen: with all rungs before, where these follow from each other, and with the "
    "training of the dense network, where the search looks at it. Training is CPU seconds of the ticket alone. Memory "
    "is the most that a process held while it searched, in MB of 10^6 bytes, Python and its libraries included. MACs "
    "are multiply-adds of one full-graph forward: a kept weight once a node, a kept directed edge or self-loop once a "
    "column of its message; behind the slash, zeros of the features are skipped. Inference is of the first seed's "
    "ticket, as glt infer runs it, and of the dense network in turn with it."
)


def write_report(
    config: Compare,
    graph: Graph,
    store: Run,
    summary: Comparison,
    costs: Costs,
    seconds: float,
    diverged: Mapping[str, str],
) -> Path:
    """Write `report.html` into the run folder and return its path.

    Args:
        config: filled.
        graph: the data.
        store: the run.
        summary: what its seeds say.
        costs: what its tickets cost to run.
        seconds: of work.
        diverged: what happened to searches without scores.
    """
    best, credit = summary.best, _CREDIT if config.random_edges else ""
    lost = [f"{label} has no scores: {why}" for label, why in diverged.items()]
    work = f"{plural(config.seeds, 'seed')}, {seconds:.0f} seconds of work."
    text = verdict(summary).removeprefix("A winning ticket: ").removeprefix("Not a winning ticket: ")
    report = Report(
        title=f"{plural(len(summary.methods), 'method')} on {graph.name}, {config.model.upper()} of depth "
        f"{config.network.depth}",
        verdict=text,
        winning=best is not None,
        counts=[]
        if best is None
        else [Count(g, int(c["kept"]), int(c["total"])) for g, c in best.level.counts.items()],
        summary=[
            *filter(None, (worth(summary), *definitions(config.task), credit, _distilled(config))),
            *lost,
            work,
        ],
        columns=["", *(f"round {row.level.number}" for row in _first(summary))],
        rows=_overview(summary),
        figures=[_curve(summary)],
        tables=[*_rounds(summary), _costs(summary, costs)],
        command=_command(config),
        settings=settings_of(config),
        references=_references(config, summary, store),
        provenance=store.manifest,
    )
    return store.write_text("report.html", render(report))


def in_lines(summary: Comparison, costs: Costs) -> list[str]:
    """The two tables that say most as lines of text: accuracies by method and rung, then counts and costs.

    Args:
        summary: what the seeds of a comparison say.
        costs: what its tickets cost to run.
    """
    head = [f"test {summary.metric}, %", *(f"round {row.level.number}" for row in _first(summary))]
    table = _costs(summary, costs)
    return [*aligned([head, *_overview(summary)]), "", *aligned([table.columns, *table.rows]), ""]


def _command(config: Compare) -> str:
    """The words that repeat a run: the data set, then every setting that differs from its default."""
    return command_line("glt compare", config, usual(config, filled), positional=("dataset",))


def _distilled(config: Compare) -> str:
    if not config.training.distil:
        return "Nothing is distilled, whatever a method's authors did; --training.distil 10 would, for all alike."
    return (
        f"Tickets, controls and the network without edges are all distilled from the dense network with weight "
        f"{config.training.distil:g}. That helps whichever edges are kept: see what the network without edges reaches."
    )


def _first(summary: Comparison) -> Sequence[Row]:
    """The rungs of some method: all have the same rounds."""
    return next(iter(summary.methods.values()))


def _percent(found: Estimate | None) -> str:
    """A share in per cent with its interval, in one line."""
    if found is None:
        return ""
    half = "" if found.ci95 is None else f"\xa0±\xa0{100 * found.ci95:.1f}"
    return f"{100 * found.mean:.1f}{half}"


def _overview(summary: Comparison) -> list[list[str]]:
    """Accuracy of every method at every rung."""
    first = _first(summary)
    kept = [
        [f"{group} kept", *(share(row.level.counts[group]["density"]) for row in first)] for group in _groups(first)
    ]
    same = [
        ["dense", *[_percent(summary.dense)] * len(first)],
        ["no edges", *[_percent(summary.no_edges)] * len(first)],
    ]
    rows = []
    for name, levels in summary.methods.items():
        rows.append([name, *(f"{_percent(row.ticket)}{', wins' if row.level.winning else ''}" for row in levels)])
        if "random_edges" in levels[0].level.accuracy:
            rows.append([name + RANDOM_EDGES, *(_percent(row.level.accuracy.get("random_edges")) for row in levels)])
    return [*kept, *same, *rows]


def _groups(rows: Sequence[Row]) -> list[str]:
    return list(rows[0].level.counts)


def _curve(summary: Comparison) -> Figure:
    rungs = []
    for number_, row in enumerate(_first(summary)):
        series = {name: rows[number_].ticket for name, rows in summary.methods.items()}
        kept = [row.level.counts[group]["density"] for group in ("edges", "weights")]
        rungs.append(Rung(kept[1], {**series, "no edges": summary.no_edges}, label="\n".join(map(share, kept))))
    text = (
        f"Test {summary.metric} of every method's tickets; each tick gives the share of edges and, below it, of "
        f"weights kept. {bars(summary.dense.n, 'Bars')}"
    )
    svg = density_curve(rungs, dense=summary.dense, metric=f"test {summary.metric}")
    return Figure("Methods against density", text, svg)


def _rounds(summary: Comparison) -> list[Table]:
    """A table a rung: every method beside its controls."""
    return [_round(summary, place) for place in range(len(_first(summary)))]


def _round(summary: Comparison, place: int) -> Table:
    rows = [rows[place] for rows in summary.methods.values()]
    level = rows[0].level
    kept = " and ".join(f"{share(c['density'])} of {group}" for group, c in level.counts.items())
    own = any("random_edges" in row.level.accuracy for row in rows)
    head = ["method", "ticket", "wins", *(["own run, random edges", "credit of its edges"] if own else [])]
    head += ["its weights, random edges", "difference", "random ticket", "re-initialised"]
    text = f"{kept} kept. In per cent of test {summary.metric}, differences in points."
    return Table(f"Round {level.number}", text, head, [_cells(row, own) for row in rows])


def _cells(row: Row, credited: bool) -> list[str]:
    found = row.level.accuracy
    own = [_percent(found.get("random_edges")), "" if row.credit is None else points(row.credit)] if credited else []
    against = [_percent(found["edges"]), points(row.versus_edges), _percent(found["random"]), _percent(found["reinit"])]
    return [row.method, _percent(row.ticket), "yes" if row.level.winning else "no", *own, *against]


def _costs(summary: Comparison, costs: Costs) -> Table:
    head = ["method", "round", "edges kept / removed", "weights kept / removed", "search, CPU s", "training, CPU s"]
    head += ["memory, MB", "MACs / zeros skipped", "inference, ms", "of the search"]
    dense = ["", number(summary.train.mean), f"{summary.peak_mb:,.0f}", _macs(costs["dense", 0]), "", ""]
    rows = [["dense", "0", "all", "all", *dense]]
    for row in summary.rows:
        cost = costs[row.method, row.level.number]
        counts = [f"{int(c['kept']):,} / {int(c['total'] - c['kept']):,}" for c in row.level.counts.values()]
        spent = [number(row.search.mean), number(row.train.mean), f"{row.search_mb:,.0f}"]
        rows.append([row.method, str(row.level.number), *counts, *spent, _macs(cost), _inference(cost), _told(row)])
    text = f"{_COSTS} Medians, on {plural(THREADS, 'thread')} of {hardware()}."
    return Table("Counts and costs", text, head, rows)


def _told(row: Row) -> str:
    """What the method says of its search, and of how many seeds where it is not all."""
    seeds = {
        name: "" if one.n == row.ticket.n else f" ({one.n} of {row.ticket.n} seeds)" for name, one in row.found.items()
    }
    return ", ".join(f"{name} {number(one.mean)}{seeds[name]}" for name, one in row.found.items())


def _macs(cost: Measured) -> str:
    return f"{cost.macs['total'] / 1e6:,.1f} M / {cost.macs['sparse_features'] / 1e6:,.1f} M"


def _inference(cost: Measured) -> str:
    if cost.inference is None:
        return "not served"
    own, dense = 1e3 * cost.inference["seconds"], 1e3 * cost.inference["dense_seconds"]
    return f"{number(own)}, dense {number(dense)} ({cost.inference['speedup']:.2f}x)"


def _references(config: Compare, summary: Comparison, store: Run) -> list[str]:
    """Papers of all methods, each once."""
    last = max(config.rungs or [0])
    tickets = (Ticket.load(store.round(key(config.first_seed, last, name))) for name in summary.methods)
    return list(dict.fromkeys(reference for ticket in tickets for reference in ticket.references))
