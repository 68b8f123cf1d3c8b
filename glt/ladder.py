"""The ladder of graph tickets for one seed: rung by rung a sparser ticket, each beside its controls.

`climb` is the whole experiment in a few lines: dense training, then rounds of search, rewinding and retraining by
`common.tickets`, and at every rung the same training for a random ticket of equal counts and for the ticket with fresh
weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from common.masks import prunable
from common.scoped import seeded
from common.scores import Scorer, magnitude
from common.search import Rewind, Train, tickets
from common.structure import Structure
from common.study.controls import random_ticket, reinitialised
from common.ticket import Ticket
from glt.config import Find
from glt.data import Graph
from glt.edges import Edges
from glt.methods import METHODS
from glt.models import GraphModel, network
from glt.tasks import NodeClassification
from glt.training import trainer

__all__ = ["Rung", "build", "climb", "control_tickets", "densities", "edge_groups", "retrain", "trained_by"]

EDGES, WEIGHTS = "edges.weight", "net.*"
_FRESH = 1_000_003  # offset of the seeds that draw fresh weights


@dataclass(frozen=True)
class Rung:
    """One rung: the ticket, its accuracies and those of its controls (`random`, `reinit`)."""

    number: int
    ticket: Ticket
    accuracy: dict[str, float]
    controls: dict[str, dict[str, float]]
    counts: dict[str, dict[str, int]]


def build(graph: Graph, config: Find, seed: int) -> GraphModel:
    """The dense network on the graph, its weights drawn from the seed.

    A graph with one-way edges is pruned edge by edge, whatever `config.symmetric` says.
    """
    edges = Edges(graph.edge_index, graph.x.size(0), symmetric=None if config.symmetric else False)
    with seeded(seed):
        net = _draw(graph, config)
    return GraphModel(net, edges)


def densities(config: Find) -> list[dict[str, float]]:
    """Densities of edges and weights for rounds 0 (dense) to `rounds`, in equal ratios from 1 to the targets.

    >>> densities(Find(rounds=2, edges_density=0.81, weights_density=0.25))[1]
    {'edges.weight': 0.9, 'net.*': 0.5}
    """
    edges, weights, rounds = config.edges_density, config.weights_density, config.rounds
    if edges is None or weights is None or rounds is None:
        raise ValueError("densities and rounds are not set; call glt.config.preset() first")
    return [{EDGES: edges ** (k / rounds), WEIGHTS: weights ** (k / rounds)} for k in range(rounds + 1)]


def edge_groups(edges: Edges) -> dict[str, Tensor]:
    """Which entries of the edge mask share a fate, for controls that draw masks: pairs, or nothing."""
    return {EDGES: edges.pair} if edges.symmetric else {}


def trained_by(task: NodeClassification, graph: Graph, config: Find, seed: int) -> Train:
    """The `Train` of this experiment; with `exact_rng` it first draws and drops weights, as the published code."""
    redraw = (lambda: _draw(graph, config)) if config.ugs.exact_rng else None
    return trainer(task, config.training, seed, draw_first=redraw)


def _draw(graph: Graph, config: Find) -> nn.Module:
    return network(config.model, graph.x.size(1), graph.classes, config.network, exact_rng=config.ugs.exact_rng)


def climb(
    graph: Graph, config: Find, seed: int, *, start: Ticket | None = None, rung: int = 0, device: str = "cpu"
) -> Iterator[Rung]:
    """Rungs of the ladder, from `rung` on.

    Args:
        graph: the data.
        config: filled by `glt.config.preset`.
        seed: of weights, noise and dropout.
        start: the saved ticket of the rung before, to continue with.
        rung: the first rung to yield; 0 is the dense network.
        device: where to compute.
    """
    model = build(graph, config, seed).to(device)
    task = NodeClassification(graph, device, whole=config.ugs.exact_rng)
    train = trained_by(task, graph, config, seed)
    method = _method(config.method)
    params = {EDGES: model.edges.weight, **prunable(model)}
    structure: dict[str, Structure] = {EDGES: model.edges.structure()}
    ladder = densities(config)
    for number in range(rung, len(ladder)):
        score = magnitude if start is None else method(task, start, config.training, config.ugs, seed)
        ticket = next(
            tickets(model, train, [ladder[number]], steps=config.training.epochs, params=params, start=start,
                    structure=structure, rewind=Rewind.initial(), score=score)
        )  # fmt: skip
        ticket = replace(ticket, seeds=[seed], graph=model.edges.fingerprint())
        controls = {} if number == 0 else _controls(ticket, graph, config, seed, task, device)
        counts = {"edges": model.edges.count(ticket.masks[EDGES]), "weights": _weights(ticket)}
        yield Rung(number, ticket, dict(ticket.metrics), controls, counts)
        start = ticket


def retrain(
    ticket: Ticket, graph: Graph, config: Find, seed: int, task: NodeClassification, device: str = "cpu"
) -> dict[str, float]:
    """Train a ticket from its rewound weights and return its metrics; the ticket's counts stay as they are."""
    from common.apply import masked

    model = build(graph, config, seed).to(device)
    ticket.verify(model, model.edges.fingerprint())
    ticket.apply(model)
    with masked(model, ticket.masks):
        return dict(trained_by(task, graph, config, seed)(model, 0, config.training.epochs))


def control_tickets(ticket: Ticket, graph: Graph, config: Find, seed: int) -> dict[str, Ticket]:
    """The two controls of a ticket: a random one of equal counts, and the same masks on freshly drawn weights."""
    model = build(graph, config, seed)  # the seed's own initial weights: a saved ticket forgets the pruned ones
    fresh = build(graph, config, seed + _FRESH)
    return {
        "random": random_ticket(ticket, seed, fresh=model.state_dict(), groups=edge_groups(model.edges)),
        "reinit": reinitialised(ticket, fresh.state_dict()),
    }


def _controls(
    ticket: Ticket, graph: Graph, config: Find, seed: int, task: NodeClassification, device: str
) -> dict[str, dict[str, float]]:
    drawn = control_tickets(ticket, graph, config, seed)
    return {name: retrain(control, graph, config, seed, task, device) for name, control in drawn.items()}


def _weights(ticket: Ticket) -> dict[str, int]:
    masks = ticket.masks.only(WEIGHTS)
    return {"total": masks.total, "kept": masks.kept}


def _method(name: str) -> Callable[..., Scorer]:
    module, _, attribute = METHODS[name].partition(":")
    builder: Callable[..., Scorer] = getattr(importlib.import_module(module), attribute)
    return builder
