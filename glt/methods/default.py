"""What this suite recommends: stars of nodes that agree, joined to those that need it; weights by projection.

Three observations, all with controls in the documentation, make the method. Without distillation random edges are a
strong baseline; what beats them is reach, since a node without edges loses most. In two layers a node hears all that
hang on the same neighbour, so edges go into stars (`glt.stars`). An edge between nodes of one class helps and one
between classes hurts, and the trained dense network, which knows no test label, says which is which. And some nodes
need no edge: those whose prediction is the same when the dense network is run without any.

Edges within stars come first, by agreement times need, then all others by agreement. Weights are those left by one
training under the kept edges with all but the largest zeroed after every step. In all it costs two trainings: the
dense one and that one. Nothing is distilled.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from common.masks import Masks
from glt.methods.search import Choice, Search
from glt.models import EDGES, GraphModel
from glt.stars import stars

__all__ = ["default", "edge_scores"]


def default(search: Search) -> Iterator[Choice]:
    """Stars of agreeing nodes for edges, projection after every step for weights.

    References:
        This suite, 2026; the projection is that of Seo, Yun and Yang, TEDDY, ICLR 2024.
    """
    model = search.trained()
    scores = {EDGES: edge_scores(model, search)}
    for number in range(len(search.densities)):
        kept = search.prune(number, scores, Masks.dense({EDGES: model.edges.weight}))
        masks, metrics = search.project(number, kept)
        yield Choice(masks, about={"projected": dict(metrics)})


def edge_scores(model: GraphModel, search: Search) -> Tensor:
    """Scores (E,) of the edges by the trained dense network: those within stars above all others.

    Args:
        model: the dense network with its trained weights; its edges are as they were afterwards.
        search: settings and task.
    """
    settings, edges = search.config.default, model.edges
    source, target = edges.edge_index
    known = _profiles(model, search)
    with torch.no_grad():
        weight = edges.weight.clone()
        edges.weight.zero_()
        alone = _profiles(model, search)
        edges.weight.copy_(weight)
    agreement = (known[source] * known[target]).sum(1).clamp(min=0.0)
    need = (1 - (alone * known).sum(1) / known.square().sum(1)).clamp(settings.need, 1.0)
    within = stars(edges.edge_index, edges.num_nodes, agreement, need, least=settings.agreement)
    return torch.where(within > 0, 1.0 + within, agreement)


def _profiles(model: GraphModel, search: Search) -> Tensor:
    """What a network thinks of every node, (N, C): probabilities of classes; for links its embedding, of length one."""
    outputs = search.task.node_outputs(model)
    links = search.config.task.kind == "links"
    return functional.normalize(outputs, dim=1) if links else outputs.softmax(1)


default.reference = (  # type: ignore[attr-defined]
    "Stars of agreeing nodes, lottery-tickets, 2026; projection as in Seo, Yun and Yang, TEDDY, ICLR 2024"
)
