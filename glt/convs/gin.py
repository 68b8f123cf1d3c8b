"""Graph isomorphism layer whose sum lacks the pruned edges."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs.aggregation import Aggregation, aggregate
from glt.convs.parts import linear, own
from glt.features import Features

__all__ = ["GINConv"]


class GINConv(nn.Module):
    r"""Graph isomorphism layer, $x'_j = f((1 + \epsilon) x_j + \sum_i w_{ij} x_i)$ over the live edges.

    $f$ is `nn`: a linear map, or two with ReLU between. Its first map comes before the sum where that is narrower,
    which changes nothing but the cost.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes
        - output: (N, out)

    Args:
        in_channels, out_channels: F and out.
        hidden: width between two linear maps; one linear map, as in the published UGS, if None.
        aggregation: the paper's `sum`, `mean` as in the published UGS, or `max`.
        eps: how much more a node counts itself.
        bias: add them.

    References:
        Xu et al., How Powerful are Graph Neural Networks?, ICLR 2019.
    """

    eps: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int | None = None,
        aggregation: Aggregation = "sum",
        eps: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.aggregation: Aggregation = aggregation
        maps: list[nn.Module] = [nn.Linear(in_channels, hidden or out_channels, bias=bias)]
        if hidden is not None:
            maps += [nn.ReLU(), nn.Linear(hidden, out_channels, bias=bias)]
        self.nn = nn.Sequential(*maps)
        self.register_buffer("eps", torch.tensor([eps]))

    def forward(self, x: Tensor | Features, adjacency: Adjacency) -> Tensor:
        """The first map before the sum, or after it where that is narrower or the aggregation does not commute."""
        first, later = cast(nn.Linear, self.nn[0]), self.nn[1:]
        narrower = isinstance(x, Features) or first.out_features <= first.in_features
        if narrower and self.aggregation != "max":
            out = self._sum(linear(x, first.weight), adjacency)
            out = out if first.bias is None else out + first.bias
        else:
            out = first(self._sum(x.x if isinstance(x, Features) else x, adjacency))
        found: Tensor = later(out)
        return found

    def _sum(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        return aggregate(adjacency, x, self.aggregation) + (1 + self.eps) * own(adjacency, x)
