r"""DGLT, the dual view: a random ticket is made a good one, instead of a good one found (Wang et al., ICLR 2023).

Reimplemented from the paper, not validated against the authors' code, of which none is public. The network starts from
a random ticket: an L2 penalty on all other weights grows while the whole network trains (`common.growing`), so that
what they know moves into the ticket before they are dropped. The ticket keeps the weights that this leaves.

Of the graph's part the paper leaves room for readings. Here the graph becomes sparser in levels, spread over the same
training. A level pools nodes in pairs, those along an edge on whose two ends the network of that moment agrees most,
$p_i \cdot p_j$, then pairs of these pairs, and so on. Edges are condensed until the level's density is met: first those
within a cluster that did not join it, then those that run beside a better one between the same two clusters, then the
others between clusters, and last the edges that join clusters, always those of least agreement first. Survivors take
over the weight of what is condensed (`--dual.aggregate false` leaves all at one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from common.growing import growing
from common.masks import Masks, prunable
from common.scoped import seeded
from common.scores import random as random_scores
from glt.methods._epoch import epoch
from glt.methods._pooling import Pooling, aggregated
from glt.methods.search import Choice, Search
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.training import adam

__all__ = ["dual"]


def dual(search: Search) -> Iterator[Choice]:
    """Random weights, extruded; edges by pooling; `about` tells the largest weight that was still outside.

    References:
        Wang et al., Searching Lottery Tickets in Graph Neural Networks: A Dual Perspective, ICLR 2023.
        Bai et al., Dual Lottery Ticket Hypothesis, ICLR 2022.
    """
    for number in range(len(search.densities)):
        with seeded(search.seed):
            choice = _transform(search, number)
        yield choice


def _transform(search: Search, number: int) -> Choice:
    settings, model = search.config.dual, search.build()
    params = {name: p for name, p in prunable(model).items() if name != EDGES}
    drawn = random_scores(search.seed)(model, params, None)
    masks = search.prune(number, drawn, Masks.dense({EDGES: model.edges.weight, **params}))
    graph = _Graph(search, number, model, masks[EDGES])
    optimizer = adam([{"params": list(model.net.parameters())}], search.config.training)
    levels = [k * settings.epochs // (settings.levels + 1) for k in range(1, settings.levels + 1)]
    step = min(settings.step, settings.ceiling)
    ticket = masks.only(WEIGHTS)
    with growing(model, ticket, step=step, every=settings.every, ceiling=settings.ceiling) as penalty:
        for done in range(settings.epochs):
            for k, start in enumerate(levels, 1):
                if start == done and search.edges is None:
                    graph.level(k / settings.levels)
            epoch(search, model, optimizer)
        about = {"left": penalty.left, "strength": penalty.strength, "clusters": graph.clusters}
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Choice(Masks({**ticket, EDGES: graph.mask}), weights, about)


class _Graph:
    """The graph of a model while it becomes sparser.

    Args:
        search, number: what to keep at last.
        model: its edge weights change in place.
        mask: of the edges, to begin with.
    """

    def __init__(self, search: Search, number: int, model: GraphModel, mask: Tensor) -> None:
        self.search, self.density, self.model, self.mask = search, search.densities[number], model, mask
        self.pooling = Pooling(model.edges, torch.Generator().manual_seed(search.seed))
        self.show()

    @property
    def clusters(self) -> int:
        """How many there are by now."""
        return self.pooling.cluster.unique().numel()

    @torch.no_grad()
    def level(self, share: float) -> None:
        """Pool once more and condense edges down to the density to the power of `share`."""
        agreed = self.search.task.node_outputs(self.model).softmax(1)
        source, target = self.model.edges.edge_index
        ranked = self.pooling.level((agreed[source] * agreed[target]).sum(1), self.mask)
        part = replace(self.search, densities=[{name: d**share for name, d in self.density.items()}])
        self.mask = part.prune(0, {EDGES: ranked}, Masks({EDGES: self.mask}))[EDGES]
        self.show()

    @torch.no_grad()
    def show(self) -> None:
        """Put the edges as they are into the model."""
        edges = self.model.edges
        full = self.search.config.dual.aggregate
        edges.weight.copy_(aggregated(edges.edge_index, edges.num_nodes, self.mask) if full else self.mask.float())


dual.reference = [  # type: ignore[attr-defined]
    "Wang et al., Searching Lottery Tickets in GNNs: A Dual Perspective, ICLR 2023",
    "Bai et al., Dual Lottery Ticket Hypothesis, ICLR 2022",
]
