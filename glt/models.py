"""Graph neural networks of any depth, and the module that joins one to its graph.

A `GraphModel` is an ordinary module with two children, so one mask dictionary can name both: `edges.weight` and the
network's `net.convs.0.lin.weight`, ... To add a network: one class whose `forward(x, adjacency)` uses layers of
`glt.convs`, and its line in `NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs import GCNConv
from glt.edges import Edges
from glt.features import Features

__all__ = ["GCN", "NETWORKS", "GraphModel", "dropout"]


def dropout(x: Tensor, p: float, *, training: bool, as_torch: bool = False) -> Tensor:
    """Dropout that draws uniform numbers, three times faster on CPUs than torch's Bernoulli draw.

    Args:
        x: floats of any shape.
        p: probability of dropping, in [0, 1).
        training: identity when false.
        as_torch: use `torch.nn.functional.dropout`, to follow its random stream exactly.
    """
    if as_torch or not training or p == 0:
        return nn.functional.dropout(x, p, training=training)
    scale = torch.rand_like(x).ge_(p).div_(1 - p)
    return x * scale


class GCN(nn.Module):
    """Stack of graph convolutions with ReLU and dropout between them (Kipf & Welling, ICLR 2017).

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of convolutions, at least 1.
        dropout: on every hidden layer.
        bias: the published UGS has none.
        degree: see `Adjacency.normalised`.
        torch_dropout: draw dropout from torch's own stream.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 2,
        dropout: float = 0.5,
        bias: bool = False,
        degree: Literal["in", "out"] = "in",
        torch_dropout: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1 or hidden < 1:
            raise ValueError(f"depth and hidden must be at least 1; found depth={depth}, hidden={hidden}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); found {dropout}")
        widths = [in_channels, *[hidden] * (depth - 1), out_channels]
        pairs = pairwise(widths)
        self.convs = nn.ModuleList(GCNConv(i, o, bias=bias, degree=degree) for i, o in pairs)
        self.dropout, self.torch_dropout = dropout, torch_dropout

    def forward(self, x: Tensor | Features, adjacency: Adjacency, rows: Tensor | None = None) -> Tensor:
        """Logits of every node, or of some `rows`, computed on no more of the graph than they see."""
        layers = adjacency.layers(rows, len(self.convs))
        if rows is not None:
            sources = adjacency.pattern.receptive_field(rows, len(self.convs))[0][0]
            x = x.rows(sources) if isinstance(x, Features) else x[sources]
        hidden: Tensor = self.convs[0](x, layers[0])
        for conv, layer in zip(self.convs[1:], layers[1:], strict=True):
            hidden = dropout(torch.relu(hidden), self.dropout, training=self.training, as_torch=self.torch_dropout)
            hidden = conv(hidden, layer)
        return hidden


NETWORKS: dict[str, Callable[..., nn.Module]] = {"gcn": GCN}


class GraphModel(nn.Module):
    """A network joined to its graph: parameters `edges.weight` and `net.*`, forward from features to logits.

    Args:
        net: a network of this module.
        edges: the graph's edges.
    """

    def __init__(self, net: nn.Module, edges: Edges) -> None:
        super().__init__()
        self.edges, self.net = edges, net

    def forward(self, x: Tensor | Features, rows: Tensor | None = None) -> Tensor:
        """Logits of the features (N, F) on the graph as its edge weights stand: (N, classes), or those of `rows`."""
        logits: Tensor = self.net(x, self.edges(), rows)
        return logits
