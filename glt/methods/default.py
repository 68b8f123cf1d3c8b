"""What this suite recommends: stars of nodes that agree, joined to those that need it; weights by projection.

Observations, all with controls in the documentation, make the method. Without distillation random edges are a strong
baseline; what beats them is reach, since a node without edges loses most. In two layers a node hears all that hang on
the same neighbour, so edges go into stars (`glt.stars`). An edge between nodes of one class helps and one between
classes hurts, and the trained dense network, which knows no test label, says which is which. And some nodes need no
edge: those whose prediction is the same when the dense network is run without any.

Edges within stars come first, by agreement times need. The others follow by their influence on what the dense network
says (`glt.influence`): those go first that it would not miss.

The dense network is asked as it is served: what training may not see (`--task.inductive`) is judged as it arrives, by a
network that never trained on it.

Weights are those left by one training under the kept edges with all but the largest zeroed after every step. In all it
costs the dense training, that one, and influence: a hundred backward passes. Nothing is distilled.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from common.masks import Masks
from glt.influence import influence
from glt.methods.search import Choice, Search
from glt.models import EDGES, GraphModel
from glt.stars import stars
from glt.tasks import served

__all__ = ["default", "edge_scores"]


def default(search: Search) -> Iterator[Choice]:
    """Stars of agreeing nodes for edges, projection after every step for weights.

    References:
        This suite, 2026; the projection is that of Seo, Yun and Yang, TEDDY, ICLR 2024.
    """
    with search.once():
        model = search.trained()
        scores = {EDGES: edge_scores(model, search)} if search.edges is None else {}
        every = Masks.dense({EDGES: model.edges.weight})
    for number in range(len(search.densities)):
        kept = search.prune(number, scores, every)
        masks, metrics = search.project(number, kept)
        yield Choice(masks, about={"projected": dict(metrics)})


def edge_scores(model: GraphModel, search: Search) -> Tensor:
    """What to prune edges by, (E,): above 1 within stars, at most 1 elsewhere, equal in both directions of a pair.

    Args:
        model: the dense network with its trained weights; it is as it was afterwards.
        search: settings and task.
    """
    within = _within_stars(model, search)
    said = _influence(model, search)
    return torch.where(within > 0, 1.0 + within, said / said.max().clamp(min=1e-30))


def _within_stars(model: GraphModel, search: Search) -> Tensor:
    """Agreement times need of edges within stars, 0 of the others, (E,)."""
    settings, edges = search.config.default, model.edges
    source, target = edges.edge_index
    with torch.no_grad():
        known = _profiles(model, search)
        weight = edges.weight.clone()
        edges.weight.zero_()
        alone = _profiles(model, search)
        edges.weight.copy_(weight)
    agreement = (known[source] * known[target]).sum(1).clamp(min=0.0)
    need = (1 - (alone * known).sum(1) / known.square().sum(1)).clamp(settings.need, 1.0)
    return stars(edges.edge_index, edges.num_nodes, agreement, need, least=settings.agreement)


def _influence(model: GraphModel, search: Search) -> Tensor:
    """Influence of every edge, that of both directions together where they are pruned together, (E,)."""
    edges, logits = model.edges, search.config.task.kind != "links"
    said = influence(model, search.task, draws=search.config.default.draws, seed=search.seed, classes=logits)
    if not edges.symmetric:
        return said
    return said.new_zeros(int(edges.pair.max()) + 1).index_add_(0, edges.pair, said)[edges.pair]


def _profiles(model: GraphModel, search: Search) -> Tensor:
    """What a network thinks of every node, (N, C): probabilities of classes; for links its embedding, of length one."""
    outputs = served(search.task, model)
    links = search.config.task.kind == "links"
    return functional.normalize(outputs, dim=1) if links else outputs.softmax(1)


default.reference = (  # type: ignore[attr-defined]
    "Stars of agreeing nodes, lottery-tickets, 2026; projection as in Seo, Yun and Yang, TEDDY, ICLR 2024"
)
