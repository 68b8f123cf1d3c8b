"""Graph attention in which a pruned edge has no share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs.parts import dropout, linear, looped, own
from glt.convs.softmax import attend, edge_softmax
from glt.features import Features

__all__ = ["GATConv"]


class GATConv(nn.Module):
    r"""Graph attention, $x'_j = \sum_i \alpha_{ij} W x_i + b$ over the live edges and the self-loop.

    $\alpha_{ij} = w_{ij} e^{l_{ij}} / \sum_k w_{kj} e^{l_{kj}}$ with
    $l_{ij} = \mathrm{LeakyReLU}(a_s \cdot W x_i + a_t \cdot W x_j)$ for each head, and self-loops of weight one that no
    mask reaches. With no edge left, every node keeps $W x_j$.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes
        - output: (N, heads * out), head after head

    Args:
        in_channels, out_channels: F and out, of each head.
        heads: how many.
        bias: add one; the published UGS has none.
        dropout: probability of leaving a share of attention out while training.
        slope: of LeakyReLU below zero.

    References:
        Veličković et al., Graph Attention Networks, ICLR 2018.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 1,
        bias: bool = False,
        dropout: float = 0.0,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.dropout, self.slope = dropout, slope
        self.lin = nn.Linear(in_channels, heads * out_channels, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.bias = nn.Parameter(torch.zeros(heads * out_channels)) if bias else None
        for attention in (self.att_src, self.att_dst):
            nn.init.xavier_uniform_(attention[0])

    def forward(self, x: Tensor | Features, adjacency: Adjacency) -> Tensor:
        """Each head's attention-weighted mean of itself and its live neighbours, side by side."""
        edges = looped(adjacency)
        _, heads, width = self.att_src.shape
        hidden = linear(x, self.lin.weight).view(-1, heads, width)
        to, of = edges.pattern.target, edges.pattern.source
        from_target = own(adjacency, torch.einsum("nhc,hc->nh", hidden, self.att_dst[0]))
        from_source = torch.einsum("nhc,hc->nh", hidden, self.att_src[0])
        logits = nn.functional.leaky_relu(from_source[of] + from_target[to], self.slope)
        attention = dropout(edge_softmax(edges, logits), self.dropout, training=self.training)
        out = attend(edges.pattern, attention, hidden).flatten(1)
        return out if self.bias is None else out + self.bias
