"""Networks whose logits are not simply their last layer's output: GIN reads every layer, SGC has but one map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs import Aggregation, GINConv, SGConv
from glt.convs.parts import dropout, own
from glt.features import Features
from glt.models.stack import Layered, Norm, check, norms

__all__ = ["GIN", "SGC"]


class GIN(Layered):
    """Graph isomorphism network: the logits are the mean of a linear readout of every layer (Xu et al., ICLR 2019).

    A layer is one linear map, ReLU and dropout, as in the published UGS.

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of layers, at least 1.
        dropout: after every layer.
        norm: between linear map and ReLU.
        aggregation: of the neighbours: `sum` as in the paper, `mean` as in the published UGS, or `max`.
        bias: add them everywhere.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 2,
        dropout: float = 0.5,
        norm: Norm = "none",
        aggregation: Aggregation = "sum",
        bias: bool = False,
    ) -> None:
        super().__init__()
        check(depth=depth, hidden=hidden, dropout=dropout)
        pairs = pairwise([in_channels, *[hidden] * depth])
        self.convs = nn.ModuleList(GINConv(i, o, aggregation=aggregation, bias=bias) for i, o in pairs)
        self.norms = norms(norm, [hidden] * depth)
        self.heads = nn.ModuleList(nn.Linear(hidden, out_channels, bias=bias) for _ in range(depth))
        self.dropout, self.out_channels, self.depth = dropout, out_channels, depth

    def compute(self, x: Tensor | Features, layers: Sequence[Adjacency]) -> Tensor:
        """The mean of what every layer's head reads."""
        hidden: Tensor | Features = x
        logits: Tensor = cast(nn.Linear, self.heads[0]).weight.new_zeros((hidden.shape[0], self.out_channels))
        for conv, norm, head, layer in zip(self.convs, self.norms, self.heads, layers, strict=True):
            hidden = torch.relu(norm(conv(hidden, layer)))
            hidden = dropout(hidden, self.dropout, training=self.training)
            logits = own(layer, logits) + head(hidden) / len(layers)
        return logits


class SGC(Layered):
    """One linear map of features propagated `depth` times (Wu et al., ICML 2019).

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a hop
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, out_channels: widths.
        depth: number of hops, at least 1.
        bias: add one.
    """

    def __init__(self, in_channels: int, out_channels: int, *, depth: int = 2, bias: bool = False) -> None:
        super().__init__()
        check(depth=depth)
        self.conv = SGConv(in_channels, out_channels, hops=depth, bias=bias)
        self.depth = depth

    def compute(self, x: Tensor | Features, layers: Sequence[Adjacency]) -> Tensor:
        """The map of what the hops bring."""
        logits: Tensor = self.conv(x, layers)
        return logits
