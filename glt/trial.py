"""What one seed's trainings have in common: the network, the ladder's densities, training, the controls of a ticket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from common.apply import masked
from common.masks import Masks
from common.scoped import seeded
from common.search import Train
from common.study.controls import random_ticket, reinitialised
from common.ticket import Ticket
from glt.config import Find
from glt.data import Graph
from glt.edges import Edges
from glt.layer_edges import LayerEdges
from glt.methods import METHODS
from glt.models import EDGES, WEIGHTS, GraphModel, network
from glt.tasks import Task, Teacher, make, message_edges, width
from glt.training import trainer

__all__ = [
    "build", "control_tickets", "densities", "edge_groups", "no_edges", "retrain", "task_of", "teacher", "trained_by",
]  # fmt: skip

_FRESH = 1_000_003  # offset of the seeds that draw fresh weights


def build(graph: Graph, config: Find, seed: int) -> GraphModel:
    """The dense network on the graph, its weights drawn from the seed.

    A graph with one-way edges is pruned edge by edge, whatever `config.symmetric` says. For link prediction the graph
    lacks the edges that are held out.
    """
    nodes, symmetric = graph.x.size(0), None if config.symmetric else False
    edge_index = message_edges(graph, config.task)
    layered = METHODS[config.method].layered
    edges = (
        LayerEdges(edge_index, nodes, config.network.depth, symmetric=symmetric)
        if layered
        else Edges(edge_index, nodes, symmetric=symmetric)
    )
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
    """What of the edge mask changes place as one, for controls that draw masks: pairs, or nothing for single entries.

    Where every layer has a mask, an edge or pair moves with its masks in all of them, so that masks that shrink with
    depth are held against such masks. Drawn anew in every layer, as many edges would join more nodes over all layers.
    """
    if edges.weight.dim() > 1:
        single = torch.arange(edges.weight.size(1), device=edges.pair.device)
        return {EDGES: edges.pair[0] if edges.symmetric else single}
    return {EDGES: edges.pair} if edges.symmetric else {}


def trained_by(task: Task, graph: Graph, config: Find, seed: int, teacher: Teacher | None = None) -> Train:
    """The `Train` of this experiment; with `exact_rng` it first draws and drops weights, as the published code."""
    redraw = (lambda: _draw(graph, config)) if config.ugs.exact_rng else None
    return trainer(task, config.training, seed, teacher=teacher, draw_first=redraw)


def _draw(graph: Graph, config: Find) -> nn.Module:
    outputs = width(graph, config.task)
    return network(config.model, graph.x.size(1), outputs, config.network, exact_rng=config.ugs.exact_rng)


def task_of(graph: Graph, config: Find, device: str = "cpu") -> Task:
    """What the network learns, as `config.task` says."""
    return make(graph, config.task, device, whole=config.ugs.exact_rng)


def teacher(graph: Graph, config: Find, task: Task, dense: Ticket) -> Teacher | None:
    """The outputs of the trained dense network, if tickets are distilled from them.

    Args:
        dense: a ticket that keeps everything, with its trained weights.
    """
    if not config.training.distil:
        return None
    seed = dense.seeds[0] if dense.seeds else 0
    model = build(graph, config, seed).to(task.device)
    model.load_state_dict(_fitting(model, dense.trained or {}))
    return Teacher(task.outputs(model), config.training.distil)


def no_edges(ticket: Ticket) -> Ticket:
    """The same network without any edge."""
    masks = Masks({**ticket.masks, EDGES: ticket.masks[EDGES].new_zeros(ticket.masks[EDGES].shape)})
    return replace(ticket, masks=masks, metrics={}, trained=None, parent=ticket.digest)


def retrain(
    ticket: Ticket,
    graph: Graph,
    config: Find,
    seed: int,
    task: Task,
    device: str = "cpu",
    teacher: Teacher | None = None,
) -> dict[str, float]:
    """Train a ticket from its rewound weights and return its metrics; the ticket's counts stay as they are."""
    model = build(graph, config, seed).to(device)
    ticket.verify(model, model.edges.fingerprint())
    ticket.apply(model)
    with masked(model, ticket.masks):
        return dict(trained_by(task, graph, config, seed, teacher)(model, 0, config.training.epochs))


def control_tickets(ticket: Ticket, graph: Graph, config: Find, seed: int) -> dict[str, Ticket]:
    """The controls of a ticket: a random one of equal counts, its masks on fresh weights, its weights on random edges.

    The second is the same masks on freshly drawn weights, the third the same weights with as many random edges.
    """
    model = build(graph, config, seed)  # the seed's own initial weights: a saved ticket forgets the pruned ones
    fresh = build(graph, config, seed + _FRESH)
    initial = model.state_dict()
    drawn = random_ticket(ticket, seed, fresh=initial, groups=edge_groups(model.edges))
    edges = replace(
        drawn,
        masks=Masks({**ticket.masks, EDGES: drawn.masks[EDGES]}),
        weights={**ticket.weights, EDGES: initial[EDGES]},
    )
    return {"random": drawn, "reinit": reinitialised(ticket, fresh.state_dict()), "edges": edges}


def _fitting(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state whose edge weights are those of a model with weights for every layer, or for all."""
    weight = state[EDGES]
    wanted = model.state_dict()[EDGES]
    return {**state, EDGES: weight.expand_as(wanted) if weight.dim() < wanted.dim() else weight}
