"""Generalised aggregation: a softmax over the live edges in every channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs.parts import own
from glt.convs.softmax import edge_softmax

__all__ = ["GENConv"]

_EXPONENTS = 100.0  # their widest range for which one shift a channel is as exact as one a node


class GENConv(nn.Module):
    r"""Generalised graph convolution, $x'_j = W (x_j + \mathrm{softmax}_i\, m_i) + b$.

    In every channel the softmax is $\sum_i w_{ij} e^{t m_i} m_i / \sum_i w_{ij} e^{t m_i}$ over the live edges, times
    $\min(1, \sum_i w_{ij})$: zero for a node without any. Messages $m = \mathrm{ReLU}(x) + \epsilon$ depend on their
    source alone, so numerator and denominator are one sparse product, in memory linear in edges plus nodes times width.

    Shapes:
        - input: features (N, channels), dense, and an `Adjacency` of N nodes
        - output: (N, channels)

    Args:
        channels: the width, the same before and after, so that blocks can be residual.
        t: inverse temperature; 0 is the mean.
        semi_grad: no gradient through the softmax to its messages ("softmax_sg"); edge weights keep theirs.
        eps: what is added to a message.
        bias: add one.

    References:
        Li et al., DeeperGCN: All You Need to Train Deeper GCNs, 2020.
    """

    def __init__(
        self, channels: int, *, t: float = 1.0, semi_grad: bool = False, eps: float = 1e-7, bias: bool = False
    ) -> None:
        super().__init__()
        self.t, self.semi_grad, self.eps = t, semi_grad, eps
        self.mlp = nn.Sequential(nn.Linear(channels, channels, bias=bias))

    def forward(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """A node and the softmax of its live neighbours, mapped."""
        positive = Adjacency(adjacency.pattern, adjacency.values.clamp(min=0))
        messages = torch.relu(x) + self.eps
        exponents = self.t * (messages.detach() if self.semi_grad else messages)
        low, high = exponents.detach().aminmax(dim=0)
        if bool(((high - low) > _EXPONENTS).any()):
            mean = _by_edge(positive, messages, exponents)
        else:
            mean = _by_node(positive, messages, exponents - (low + high) / 2)
        there = positive.degree("in").clamp(max=1).unsqueeze(1)
        found: Tensor = self.mlp(own(adjacency, x) + there * mean)
        return found


def _by_node(adjacency: Adjacency, messages: Tensor, exponents: Tensor) -> Tensor:
    share = exponents.exp()
    top, total = (adjacency @ torch.cat([share * messages, share], 1)).chunk(2, 1)
    return top / (total + (total == 0))


def _by_edge(adjacency: Adjacency, messages: Tensor, exponents: Tensor) -> Tensor:
    """The same with a shift for each node, where exponents are so far apart that one for all would underflow."""
    pattern = adjacency.pattern
    attention = edge_softmax(adjacency, exponents[pattern.source])
    empty = messages.new_zeros(pattern.size[0], messages.size(1))
    return empty.index_add(0, pattern.target, attention * messages[pattern.source])
