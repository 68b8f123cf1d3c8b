"""Stacks of one kind of layer: GCN, GAT, GraphSAGE."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

from glt.convs import Aggregation, GATConv, GCNConv, SAGEConv
from glt.models.stack import Norm, Stack, check

__all__ = ["GAT", "GCN", "SAGE"]


class GCN(Stack):
    """Stack of graph convolutions with ReLU and dropout between them (Kipf & Welling, ICLR 2017).

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of convolutions, at least 1.
        dropout: on every hidden layer.
        norm: between convolution and ReLU; deep networks want `batch`.
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
        norm: Norm = "none",
        bias: bool = False,
        degree: Literal["in", "out"] = "in",
        torch_dropout: bool = False,
    ) -> None:
        check(depth=depth, hidden=hidden, dropout=dropout)
        between = [hidden] * (depth - 1)
        pairs = pairwise([in_channels, *between, out_channels])
        convs = (GCNConv(i, o, bias=bias, degree=degree) for i, o in pairs)
        super().__init__(convs, between, dropout=dropout, norm=norm, torch_dropout=torch_dropout)


class SAGE(Stack):
    """Stack of GraphSAGE layers with ReLU and dropout between them (Hamilton et al., NeurIPS 2017).

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of layers, at least 1.
        dropout: on every hidden layer.
        norm: between layer and ReLU.
        aggregation: of the neighbours: `mean`, `max` or `sum`.
        bias: add one in every layer.
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
        aggregation: Aggregation = "mean",
        bias: bool = False,
    ) -> None:
        check(depth=depth, hidden=hidden, dropout=dropout)
        between = [hidden] * (depth - 1)
        pairs = pairwise([in_channels, *between, out_channels])
        convs = (SAGEConv(i, o, aggregation=aggregation, bias=bias) for i, o in pairs)
        super().__init__(convs, between, dropout=dropout, norm=norm)


class GAT(Stack):
    """Stack of graph attention layers with ELU and dropout between them (Veličković et al., ICLR 2018).

    Hidden layers have their heads side by side, the last layer has one.

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, out_channels: widths.
        hidden: width of each head.
        depth: number of layers, at least 1.
        heads: of every hidden layer.
        dropout: on every hidden layer, and on attention.
        norm: between layer and ELU.
        bias: add one in every layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 2,
        heads: int = 8,
        dropout: float = 0.5,
        norm: Norm = "none",
        bias: bool = False,
    ) -> None:
        check(depth=depth, hidden=hidden, heads=heads, dropout=dropout)
        between = [heads * hidden] * (depth - 1)
        convs = [
            GATConv(i, hidden, heads=heads, bias=bias, dropout=dropout) for i in [in_channels, *between][: depth - 1]
        ]
        last = GATConv([in_channels, *between][-1], out_channels, bias=bias, dropout=dropout)
        super().__init__([*convs, last], between, dropout=dropout, norm=norm, activation=nn.functional.elu)
