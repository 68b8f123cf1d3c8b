"""GraphSAGE layer whose mean divides by the kept degree."""

from __future__ import annotations

from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs.aggregation import Aggregation, aggregate
from glt.convs.parts import linear, own
from glt.features import Features

__all__ = ["SAGEConv"]


class SAGEConv(nn.Module):
    r"""GraphSAGE layer, $x'_j = W_l \,\mathrm{agg}_i\, x_i + W_r x_j + b$ over the live edges.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes
        - output: (N, out)

    Args:
        in_channels, out_channels: F and out.
        aggregation: `mean`, `max` or `sum`; a maximum is taken over the features as they come in.
        bias: add one.

    References:
        Hamilton et al., Inductive Representation Learning on Large Graphs, NeurIPS 2017.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, aggregation: Aggregation = "mean", bias: bool = False
    ) -> None:
        super().__init__()
        self.aggregation: Aggregation = aggregation
        self.lin_l = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_r = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor | Features, adjacency: Adjacency) -> Tensor:
        """Aggregate after the linear map, or before it where that is narrower or the aggregation does not commute."""
        left, right = self.lin_l, self.lin_r.weight
        narrower = isinstance(x, Features) or left.out_features <= left.in_features
        if narrower and self.aggregation != "max":
            out = aggregate(adjacency, linear(x, left.weight), self.aggregation)
            out = out if left.bias is None else out + left.bias
        else:
            out = left(aggregate(adjacency, x.x if isinstance(x, Features) else x, self.aggregation))
        if isinstance(x, Features):
            return out + own(adjacency, x.linear(right))
        return out + linear(own(adjacency, x), right)
