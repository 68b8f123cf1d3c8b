"""Deep networks whose layers add to what they read: ResGCN and DeeperGCN."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from glt.adjacency import Adjacency
from glt.convs import GCNConv, GENConv
from glt.convs.parts import dropout, linear, own
from glt.features import Features
from glt.models.stack import Layered, Norm, check, norms

__all__ = ["DeeperGCN", "ResGCN"]


class _Residual(Layered):
    """Encoder, residual blocks of equal width, decoder."""

    def __init__(
        self,
        convs: Iterable[nn.Module],
        widths: tuple[int, int, int],
        *,
        depth: int,
        dropout: float,
        norm: Norm,
        bias: bool,
    ) -> None:
        super().__init__()
        in_channels, hidden, out_channels = widths
        check(depth=depth, hidden=hidden, dropout=dropout)
        self.encoder = nn.Linear(in_channels, hidden, bias=bias)
        self.convs = nn.ModuleList(convs)
        self.norms = norms(norm, [hidden] * depth)
        self.decoder = nn.Linear(hidden, out_channels, bias=bias)
        self.dropout, self.depth = dropout, depth

    def compute(self, x: Tensor | Features, layers: Sequence[Adjacency]) -> Tensor:
        """Encoder, blocks, decoder."""
        hidden = linear(x, self.encoder.weight, self.encoder.bias)
        logits: Tensor = self.decoder(self.blocks(hidden, layers))
        return logits

    @abstractmethod
    def blocks(self, hidden: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        """What the residual blocks make of the encoded features."""

    def _drop(self, hidden: Tensor) -> Tensor:
        return dropout(hidden, self.dropout, training=self.training)


class ResGCN(_Residual):
    r"""Residual graph convolutions, $h \leftarrow h + \mathrm{drop}(\mathrm{ReLU}(\mathrm{norm}(\mathrm{conv}(h))))$.

    What is carried on is not dropped: published code drops the sum, of which 16 blocks at 0.5 leave nothing, and then
    the network learns nothing either.

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of blocks, at least 1; linear maps before and after them are extra.
        dropout: of what a block adds.
        norm: of every block.
        bias: add them everywhere.
        degree: see `Adjacency.normalised`.

    References:
        Li et al., DeepGCNs: Can GCNs Go as Deep as CNNs?, ICCV 2019.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 2,
        dropout: float = 0.5,
        norm: Norm = "batch",
        bias: bool = False,
        degree: Literal["in", "out"] = "in",
    ) -> None:
        convs = (GCNConv(hidden, hidden, bias=bias, degree=degree) for _ in range(depth))
        widths = (in_channels, hidden, out_channels)
        super().__init__(convs, widths, depth=depth, dropout=dropout, norm=norm, bias=bias)

    def blocks(self, hidden: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        """See the class."""
        for conv, norm, layer in zip(self.convs, self.norms, layers, strict=True):
            hidden = own(layer, hidden) + self._drop(torch.relu(norm(conv(hidden, layer))))
        return hidden


class DeeperGCN(_Residual):
    r"""Pre-activation residual blocks of softmax aggregation ("res+"), as the published UGS uses on ogbn-arxiv.

    $h \leftarrow h + \mathrm{conv}(\mathrm{drop}(\mathrm{ReLU}(\mathrm{norm}(h))))$, where the first block is the
    convolution alone and the last normalisation comes before the readout.

    Shapes:
        - input: features (N, in_channels), dense or `Features`, and an `Adjacency`, or one a layer
        - output: logits (N, out_channels), or (R, out_channels) of R `rows`

    Args:
        in_channels, hidden, out_channels: widths.
        depth: number of blocks, at least 1; linear maps before and after them are extra.
        dropout: before every convolution but the first, and before the readout.
        norm: of every block.
        t: inverse temperature of the aggregation's softmax.
        semi_grad: no gradient through that softmax to its messages.
        bias: add them everywhere.

    References:
        Li et al., DeeperGCN: All You Need to Train Deeper GCNs, 2020.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        depth: int = 2,
        dropout: float = 0.5,
        norm: Norm = "batch",
        t: float = 0.1,
        semi_grad: bool = True,
        bias: bool = False,
    ) -> None:
        convs = (GENConv(hidden, t=t, semi_grad=semi_grad, bias=bias) for _ in range(depth))
        widths = (in_channels, hidden, out_channels)
        super().__init__(convs, widths, depth=depth, dropout=dropout, norm=norm, bias=bias)

    def blocks(self, hidden: Tensor, layers: Sequence[Adjacency]) -> Tensor:
        """See the class."""
        hidden = self.convs[0](hidden, layers[0])
        for norm, conv, layer in zip(self.norms, self.convs[1:], layers[1:], strict=False):
            active = self._drop(torch.relu(norm(hidden)))
            hidden = own(layer, hidden) + conv(active, layer)
        return self._drop(torch.relu(self.norms[-1](hidden)))
