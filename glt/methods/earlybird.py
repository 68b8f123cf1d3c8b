r"""GEBT, joint early-bird tickets of graph and network (You et al., AAAI 2022).

Reimplemented from the paper, not validated against the authors' code. Every epoch is one Adam step on the weights,
after which all but the largest are zeroed, and one on the adjacency values $a$ of
$CE + \rho\,\overline{(a + u - z)^2}$, followed by the two closed updates of ADMM,
$z = \Pi(a + u)$ and $u \leftarrow u + a - z$, where $\Pi$ keeps the largest values, as many as the ticket's edges. The
ticket is drawn at the first epoch in which both masks have settled (`common.stopping.JointEarlyBird`) and trained
further from its weights of that epoch, on edges of weight one.

Both directions of an edge have one value and one gradient; self-loops are the layers' own and stay. The published code
retrains without the weight mask, which is thus not pruned, reports the last epoch's accuracy, and drops every edge of
negative value; here the mask holds, the best validation epoch counts, and exactly the largest $|a|$ stay. Its ADMM
starts from equal values, whose order is that of the nodes; here they start apart by a little noise.

When a ticket emerges depends on the size of the initial weights: the larger, the later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from common.allocate import prune
from common.masks import Masks, prunable
from common.project import projected
from common.scoped import seeded
from common.stopping import JointEarlyBird
from glt.methods._epoch import epoch
from glt.methods.search import Choice, Search
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.training import adam

__all__ = ["Graph", "earlybird"]

_NOISE = 1e-5


class Graph:
    """The graph's branch: trained adjacency values, and what ADMM keeps beside them.

    Args:
        search: settings and densities.
        number: which of the densities.
        model: its edges are trained from now on.

    Attributes:
        masks: the edges that would be kept now.
    """

    def __init__(self, search: Search, number: int, model: GraphModel) -> None:
        self.search, self.model, self.density = search, model, search.densities[number][EDGES]
        self.values = model.edges.weight.requires_grad_(True)
        noise = (2 * torch.rand_like(self.values) - 1) * _NOISE
        with torch.no_grad():
            self.values.mul_(1 + (noise + noise[model.edges.reverse]) / 2)
        self.optimizer = torch.optim.Adam([self.values], lr=search.config.earlybird.edges_lr)
        self.structure = {EDGES: model.edges.structure()}
        self.dual, self.target = torch.zeros_like(self.values), self.sparse(self.values.detach())

    def kept(self, values: Tensor) -> Masks:
        """The largest values, as many as the density asks for, in whole pairs."""
        return prune({EDGES: values.detach().abs()}, self.density, structure=self.structure)

    def sparse(self, values: Tensor) -> Tensor:
        """The projection onto sparse graphs: the largest values, zero elsewhere."""
        return values * self.kept(values)[EDGES]

    @property
    def masks(self) -> Masks:
        """The edges that would be kept now."""
        return self.kept(self.values)

    def step(self) -> None:
        """One step on the values, then the updates of target and dual."""
        distance = (self.values + self.dual - self.target).square().mean()
        epoch(self.search, self.model, self.optimizer, self.search.config.earlybird.rho * distance)
        values = self.values.detach()
        self.target = self.sparse(values + self.dual)
        self.dual = self.dual + values - self.target


def earlybird(search: Search) -> Iterator[Choice]:
    """The masks and the weights of the epoch in which both have settled, or of the last one; `about` names it.

    References:
        You et al., Early-Bird GCNs: Graph-Network Co-Optimization Towards More Efficient GCN Training and Inference via
        Drawing Early-Bird Lottery Tickets, AAAI 2022.
        Li et al., SGCN: A Graph Sparsifier Based on Graph Convolutional Networks, PAKDD 2020.
    """
    for number in range(len(search.densities)):
        with seeded(search.seed):
            choice = _draw(search, number)
        yield choice


def _draw(search: Search, number: int) -> Choice:
    settings, model = search.config.earlybird, search.build()
    first = model.state_dict()[EDGES].clone()
    edges = Masks.dense({EDGES: first})
    if search.edges is not None:
        edges = search.within(number, edges)
        model = search.start(edges)
    graph = Graph(search, number, model) if search.edges is None else None
    params = {name: p for name, p in prunable(model).items() if name != EDGES}
    optimizer = adam([{"params": list(model.net.parameters())}], search.config.training)
    bird, emerged = JointEarlyBird(settings.window, settings.threshold), None
    with projected(model, search.densities[number][WEIGHTS], params=params) as network:
        for count in range(1, settings.epochs + 1):
            epoch(search, model, optimizer)
            if graph is not None:
                graph.step()
                edges = graph.masks
            masks = Masks({**edges, **network.masks})
            branches = {"network": masks.only(WEIGHTS)} | ({} if graph is None else {"graph": edges})
            if bird.update(branches) and count > settings.after:
                emerged = count
                break
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()} | {EDGES: first}
    distances = {name: d if math.isfinite(d) else None for name, d in bird.distances.items()}
    return Choice(masks, weights, {"emerged": emerged, "epochs": count, "distances": distances})


earlybird.reference = [  # type: ignore[attr-defined]
    "You et al., Early-Bird GCNs, AAAI 2022",
    "Li et al., SGCN: A Graph Sparsifier Based on Graph Convolutional Networks, PAKDD 2020",
]
