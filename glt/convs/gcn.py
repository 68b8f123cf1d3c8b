"""Graph convolution, and its stack without anything between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.features import Features

__all__ = ["GCNConv", "SGConv"]


class SGConv(nn.Module):
    r"""Simplified graph convolution, $X' = \hat A^K X W^\top + b$ with $\hat A$ as in `GCNConv`.

    Degrees are those of the live edges, differentiable through the mask.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes, or one a hop
        - output: (N, out)

    Args:
        in_channels, out_channels: F and out.
        hops: K, how often to propagate.
        bias: add one.
        degree: whose degrees normalise, see `Adjacency.normalised`.

    References:
        Wu et al., Simplifying Graph Convolutional Networks, ICML 2019.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hops: int = 2,
        bias: bool = False,
        degree: Literal["in", "out"] = "in",
    ) -> None:
        super().__init__()
        if hops < 1:
            raise ValueError(f"hops must be at least 1; found {hops}")
        self.hops: int = hops
        self.degree: Literal["in", "out"] = degree
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor | Features, adjacency: Adjacency | Sequence[Adjacency]) -> Tensor:
        """Propagate after the linear map, or before it where that is narrower and x is dense."""
        layers = [adjacency] * self.hops if isinstance(adjacency, Adjacency) else adjacency
        if len(layers) != self.hops:
            raise ValueError(f"found {len(layers)} adjacencies for {self.hops} hops; expected one for all or one a hop")
        weight = self.lin.weight
        if isinstance(x, Features):
            out = self._propagate(x.linear(weight), layers)
        elif weight.size(0) <= weight.size(1):
            out = self._propagate(self.lin(x), layers)
        else:
            out = self.lin(self._propagate(x, layers))
        return out if self.bias is None else out + self.bias

    def _propagate(self, x: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        for layer in layers:
            x = layer.normalised(self.degree) @ x
        return x


class GCNConv(SGConv):
    r"""Graph convolution, $X' = D^{-1/2}(A+I)D^{-1/2} X W^\top + b$.

    Degrees are those of the live edges, differentiable through the mask.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency` of N nodes
        - output: (N, out)

    Args:
        in_channels, out_channels: F and out.
        bias: add one; the published UGS has none.
        degree: whose degrees normalise, see `Adjacency.normalised`.

    References:
        Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, ICLR 2017.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, bias: bool = False, degree: Literal["in", "out"] = "in"
    ) -> None:
        super().__init__(in_channels, out_channels, hops=1, bias=bias, degree=degree)
