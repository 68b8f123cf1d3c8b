"""Edge weights that differ from layer to layer, still as one named tensor that the mask engine can prune."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.edges import Edges

__all__ = ["LayerEdges"]


class LayerEdges(Edges):
    r"""The edges of a graph with a weight for each edge and layer: `weight` is (depth, E), in the order of `Edges`.

    Called, it gives one `Adjacency` a layer, which every network of `glt.models` takes. Masks, pairs, structure and
    counts are over all layers: an edge is pruned in a layer, and its two directions there share one fate if
    `symmetric`.

    Args:
        edge_index: (2, E) source and target of every edge.
        num_nodes: how many nodes the graph has.
        depth: how many layers.
        weight: (E,) positive edge weights, of every layer; ones if absent.
        symmetric: see `Edges`.

    Raises:
        TypeError, ValueError: see `Edges`; also for a depth below 1.

    >>> edges = LayerEdges(torch.tensor([[0, 1], [1, 0]]), num_nodes=2, depth=3)
    >>> tuple(edges.weight.shape), edges.count(), len(edges())
    ((3, 2), {'total': 3, 'kept': 3}, 3)
    """

    def __init__(
        self,
        edge_index: Tensor,
        num_nodes: int,
        depth: int,
        weight: Tensor | None = None,
        *,
        symmetric: bool | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1; found {depth}")
        super().__init__(edge_index, num_nodes, weight, symmetric=symmetric)
        self.weight = nn.Parameter(self.weight.detach().repeat(depth, 1), requires_grad=False)
        pairs = int(self.pair.max()) + 1 if self.pair.numel() else 0
        self.pair = self.pair + pairs * torch.arange(depth).unsqueeze(1)

    def forward(self) -> list[Adjacency]:  # type: ignore[override]
        """The adjacency of every layer as it stands; see `Edges.forward`."""
        return self.layers()
