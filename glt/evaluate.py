"""`glt eval`: retrain a saved ticket from its rewound weights, beside its controls, on this machine."""

from __future__ import annotations

import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from common.runs.errors import MissingData, UsageError
from common.runs.manifest import peak_rss_mb
from common.runs.progress import Console
from common.runs.ranges import AT_LEAST_ONE, check_ranges
from common.runs.stats import estimate, is_winning
from common.ticket import Ticket, TicketError
from glt.config import Eval, Find, preset
from glt.data import Graph, load
from glt.models import EDGES, WEIGHTS
from glt.summary import Level, verdict
from glt.task_settings import metric_of
from glt.tasks import Teacher
from glt.trial import build, control_tickets, retrain, task_of, trained_by

__all__ = ["recipe_config", "run"]


def run(config: Eval, console: Console) -> dict[str, Any]:
    """Dense, ticket, random and re-initialised trainings of a saved ticket, `config.seeds` of each.

    The ticket starts from its stored weights every time; dense starts from each seed's own initial weights, and the
    controls are drawn anew for each seed.

    Raises:
        TicketError: the ticket is damaged, or belongs to another graph, other data or another model.
        MissingData: its data set is not at hand.
    """
    if not config.ticket:
        raise UsageError("name the folder of a ticket, as in: glt eval runs/0123456789ab/ticket")
    check_ranges(config, {"seeds": AT_LEAST_ONE})
    started = time.perf_counter()
    ticket = Ticket.load(config.ticket)
    found = recipe_config(ticket, Path(config.ticket))
    graph = _data(config, found)
    own = int(ticket.recipe.get("seed", 0))
    model = build(graph, found, own)
    ticket.verify(model, model.edges.fingerprint())
    _same_data(ticket, graph)
    accuracy: dict[str, list[float]] = {"dense": [], "ticket": [], "random": [], "reinit": [], "edges": []}
    for number, seed in enumerate(range(own, own + config.seeds), 1):
        row = _row(ticket, graph, found, seed)
        for name, value in row.items():
            accuracy[name].append(value)
        console.round(number, config.seeds, {name: f"{value:.1%}" for name, value in row.items()}, what="seed")
    estimates = {name: estimate(values) for name, values in accuracy.items()}
    edges = model.edges.count(ticket.masks[EDGES])
    masks = ticket.masks.only(WEIGHTS)
    counts = {
        "edges": {**edges, "density": edges["kept"] / edges["total"] if edges["total"] else 1.0},
        "weights": {"total": masks.total, "kept": masks.kept, "density": masks.density},
    }
    winning = is_winning(estimates["ticket"], estimates["dense"])
    console.line(verdict(Level(0, counts, estimates, {}, winning), metric=metric_of(found.task)))
    return {
        "ticket": str(config.ticket),
        "dataset": graph.name,
        "method": found.method,
        "model": found.model,
        "metric": metric_of(found.task),
        **counts,
        "accuracy": {name: value.numbers() for name, value in estimates.items()},
        "winning": winning,
        "seconds": round(time.perf_counter() - started, 3),
        "peak_rss_mb": round(peak_rss_mb(), 1),
    }


def recipe_config(ticket: Ticket, folder: Path) -> Find:
    """The settings a ticket of `glt find` was made with, from its recipe.

    Raises:
        TicketError: the ticket was not made by `glt find`.
    """
    stored = ticket.recipe.get("find")
    if not isinstance(stored, dict):
        raise TicketError(
            f"{folder} holds a ticket whose recipe has no settings of `glt find`; evaluate it from Python with "
            "glt.ladder.retrain"
        )
    return preset(_from_dict(Find(), stored))


def _data(config: Eval, found: Find) -> Graph:
    if config.dataset:
        return load(config.dataset, config.data_root)
    try:
        return load(found.dataset, config.data_root)
    except MissingData as error:
        raise MissingData(
            f"{error} The ticket was found on {found.dataset}; if that has moved, name its place by --dataset."
        ) from error


def _same_data(ticket: Ticket, graph: Graph) -> None:
    """Tickets know the sha256 of their data; those of earlier releases only the graph's fingerprint."""
    expected = ticket.recipe["find"].get("data")
    if expected is not None and expected != graph.sha256:
        raise TicketError(
            f"a ticket for other data: found {graph.name} with sha256 {graph.sha256[:12]}..., expected "
            f"{str(expected)[:12]}... The graph is the same, but features, labels or splits differ. Give the data the "
            "ticket was found on (--dataset), or find a new ticket."
        )


def _from_dict(config: Any, values: dict[str, Any]) -> Any:
    known = {}
    for field in fields(config):
        if field.name in values:
            now = getattr(config, field.name)
            value = values[field.name]
            known[field.name] = _from_dict(now, value) if is_dataclass(now) else value
    return replace(config, **known)


def _row(ticket: Ticket, graph: Graph, config: Find, seed: int) -> dict[str, float]:
    task = task_of(graph, config)
    model = build(graph, config, seed)
    dense = trained_by(task, graph, config, seed)(model, 0, config.training.epochs)["test"]
    taught = Teacher(task.outputs(model), config.training.distil) if config.training.distil else None
    rows = {"ticket": ticket, **control_tickets(ticket, graph, config, seed)}
    retrained = {name: retrain(one, graph, config, seed, task, teacher=taught)["test"] for name, one in rows.items()}
    return {"dense": dense, **retrained}
