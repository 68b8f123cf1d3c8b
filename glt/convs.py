"""Layers in which a pruned edge is absent, as if it had never been in `edge_index`.

The published lineage multiplies masks into attention logits or keeps masked edges in a mean's denominator, so that its
pruned edges still act. Here an edge whose value is zero passes no message, counts in no degree and competes in no
maximum. Parameter names follow torch-geometric's layers, so weights move between the two.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.features import Features

__all__ = ["Aggregation", "GCNConv", "aggregate"]

Aggregation = Literal["sum", "mean", "max"]


def aggregate(adjacency: Adjacency, x: Tensor, how: Aggregation = "sum") -> Tensor:
    r"""Reduce the messages $a_{ij} x_i$ over the live incoming edges of every node.

    Args:
        adjacency: pattern and values; edges of value zero are absent.
        x: (N, D) features of the sources.
        how: `sum`; `mean`, over the live edges; `max`, entry by entry. A node without a live edge gets zeros.

    Returns:
        (N, D).

    >>> from glt.adjacency import Pattern
    >>> star = Adjacency(Pattern(torch.tensor([[0, 1, 2], [2, 2, 0]]), 3), torch.tensor([1.0, 0.0, 1.0]))
    >>> aggregate(star, torch.tensor([[4.0], [9.0], [5.0]]), "mean").tolist()
    [[5.0], [0.0], [4.0]]
    """
    if how == "sum":
        return adjacency @ x
    alive = adjacency.values != 0
    target = adjacency.pattern.target[alive]
    if how == "mean":
        count = torch.bincount(target, minlength=adjacency.pattern.size[0]).clamp(min=1).unsqueeze(1)
        return (adjacency @ x) / count
    if how == "max":
        messages = adjacency.values[alive].unsqueeze(1) * x[adjacency.pattern.source[alive]]
        index = target.unsqueeze(1).expand_as(messages)
        empty = x.new_zeros(adjacency.pattern.size[0], x.size(1))
        return empty.scatter_reduce(0, index, messages, "amax", include_self=False)
    raise ValueError(f"how must be 'sum', 'mean' or 'max'; found {how!r}")


class GCNConv(nn.Module):
    r"""Graph convolution, $X' = D^{-1/2}(A+I)D^{-1/2} X W^\top + b$ (Kipf & Welling, ICLR 2017).

    Degrees are those of the live edges, differentiable through the mask.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes
        - output: (N, out)

    Args:
        in_channels, out_channels: F and out.
        bias: add one; the published UGS has none.
        degree: whose degrees normalise, see `Adjacency.normalised`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, bias: bool = False, degree: Literal["in", "out"] = "in"
    ) -> None:
        super().__init__()
        self.degree = degree
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor | Features, adjacency: Adjacency) -> Tensor:
        """Propagate after the linear map, or before it where that is narrower and x is dense."""
        hops = adjacency.normalised(self.degree)
        weight = self.lin.weight
        if isinstance(x, Features):
            out = hops @ x.linear(weight)
        elif weight.size(0) <= weight.size(1):
            out = hops @ self.lin(x)
        else:
            out = self.lin(hops @ x)
        return out if self.bias is None else out + self.bias
