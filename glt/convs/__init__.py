r"""Layers in which a pruned edge is absent, as if it had never been in `edge_index`.

The published lineage multiplies masks into attention logits or keeps masked edges in a mean's denominator, so that its
pruned edges still act. Here an edge whose value is zero passes no message, counts in no degree, competes in no maximum
and has no share of any softmax. Self-loops are what a layer adds, with weight one; no mask reaches them. Parameter
names follow torch-geometric's layers, so weights move between the two.

**Soft edge weights.** A weight $w$ in (0, 1] is how much of an edge is there. Every operator is continuous in it,
differentiable almost everywhere, equal to the full graph's where the weights are 1 and to the pruned graph's where they
are 0:

- sum: $\sum_i w_i x_i$, so every layer built on it (GCN with the degrees $1 + \sum_i w_i$, GIN, SGC);
- mean: $\sum_i w_i x_i / \max(1, \sum_i w_i)$;
- max: the expected maximum, were every edge there with probability $w_i$ on its own;
- softmax, attention: $w_i$ multiplies $\exp$ of the logit in numerator and denominator; without a self-loop the average
  fades with $\min(1, \sum_i w_i)$, as the mean does.

A mask that training has pushed below zero keeps its sign in sums and means, and is an absent edge for the others.
"""

from __future__ import annotations

from glt.convs.aggregation import Aggregation, aggregate
from glt.convs.gat import GATConv
from glt.convs.gcn import GCNConv, SGConv
from glt.convs.gen import GENConv
from glt.convs.gin import GINConv
from glt.convs.sage import SAGEConv
from glt.convs.softmax import edge_softmax

__all__ = [
    "Aggregation",
    "GATConv",
    "GCNConv",
    "GENConv",
    "GINConv",
    "SAGEConv",
    "SGConv",
    "aggregate",
    "edge_softmax",
]
