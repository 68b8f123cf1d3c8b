"""What this suite recommends: stars of nodes that agree, joined to those that need it; weights by projection.

Observations, all with controls in the documentation, make the method. Without distillation random edges are a strong
baseline; what beats them is reach, since a node without edges loses most. In two layers a node hears all that hang on
the same neighbour, so edges go into stars (`glt.stars`). An edge between nodes of one class helps and one between
classes hurts, and the trained dense network, which knows no test label, says which is which. And some nodes need no
edge: those whose prediction is the same when the dense network is run without any.

Edges within stars come first, by agreement times need. Of the others, those come next that agree most, if few of them
can stay; if most of them stay, agreement would take away what the dense network learnt from, and those go that have
least influence on what it says (`glt.influence`).

Weights are those left by one training under the kept edges with all but the largest zeroed after every step. In all it
costs two trainings: the dense one and that one. Nothing is distilled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.masks import Masks
from glt.influence import influence
from glt.methods.search import Choice, Search
from glt.models import EDGES, GraphModel
from glt.stars import stars

__all__ = ["Order", "default", "edge_order"]


@dataclass(frozen=True)
class Order:
    """Which edges come first, (E,) each.

    Attributes:
        within: agreement times need of edges within stars, 0 of the others.
        agreement: in [0, 1].
        influence: at least 0; the same in both directions of an undirected edge.
        most: share of the edges outside stars from which on influence decides which of them stay.
    """

    within: Tensor
    agreement: Tensor
    influence: Tensor
    most: float

    def scores(self, density: float) -> Tensor:
        """What to prune by for a share of edges to keep.

        >>> within, agreement = torch.tensor([0.3, 0.0, 0.0]), torch.tensor([0.4, 0.9, 0.2])
        >>> order = Order(within, agreement, torch.tensor([0.0, 1.0, 2.0]), 0.5)
        >>> order.scores(2 / 3).argsort(descending=True).tolist(), order.scores(0.4).argsort(descending=True).tolist()
        ([0, 2, 1], [0, 1, 2])
        """
        starred = self.within > 0
        stay = density * starred.numel() - int(starred.sum())
        rest = self.influence if stay >= self.most * int((~starred).sum()) else self.agreement
        return torch.where(starred, 1.0 + self.within, rest / rest.max().clamp(min=1e-30))


def default(search: Search) -> Iterator[Choice]:
    """Stars of agreeing nodes for edges, projection after every step for weights.

    References:
        This suite, 2026; the projection is that of Seo, Yun and Yang, TEDDY, ICLR 2024.
    """
    model = search.trained()
    order = edge_order(model, search)
    for number, density in enumerate(search.densities):
        scores = {EDGES: order.scores(density[EDGES])}
        kept = search.prune(number, scores, Masks.dense({EDGES: model.edges.weight}))
        masks, metrics = search.project(number, kept)
        yield Choice(masks, about={"projected": dict(metrics)})


def edge_order(model: GraphModel, search: Search) -> Order:
    """The order of the edges by the trained dense network, which is as it was afterwards.

    Args:
        model: the dense network with its trained weights.
        search: settings and task.
    """
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
    within = stars(edges.edge_index, edges.num_nodes, agreement, need, least=settings.agreement)
    logits = search.config.task.kind != "links"
    said = influence(model, search.task, draws=settings.draws, seed=search.seed, classes=logits)
    if edges.symmetric:
        pairs = said.new_zeros(int(edges.pair.max()) + 1).index_add_(0, edges.pair, said)
        said = pairs[edges.pair]
    return Order(within, agreement, said, settings.most)


def _profiles(model: GraphModel, search: Search) -> Tensor:
    """What a network thinks of every node, (N, C): probabilities of classes; for links its embedding, of length one."""
    outputs = search.task.node_outputs(model)
    links = search.config.task.kind == "links"
    return functional.normalize(outputs, dim=1) if links else outputs.softmax(1)


default.reference = (  # type: ignore[attr-defined]
    "Stars of agreeing nodes, lottery-tickets, 2026; projection as in Seo, Yun and Yang, TEDDY, ICLR 2024"
)
