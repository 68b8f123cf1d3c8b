"""What networks share: which part of the graph each layer sees, normalisation, layers on top of each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from common.runs.errors import UsageError
from glt.adjacency import Adjacency
from glt.convs.parts import dropout, per_layer, read
from glt.features import Features

__all__ = ["Layered", "Norm", "Stack", "check", "norms"]

Norm = Literal["none", "batch", "layer"]


def check(*, dropout: float = 0.0, **sizes: int) -> None:
    """Refuse impossible networks.

    Raises:
        UsageError: a size below 1, or a dropout outside [0, 1).
    """
    if any(size < 1 for size in sizes.values()):
        found = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise UsageError(f"{', '.join(sizes)} must be at least 1; found {found}")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout must lie in [0, 1); found {dropout}")


def norms(how: Norm, widths: Iterable[int]) -> nn.ModuleList:
    """A normalisation layer a width.

    Raises:
        UsageError: another `how`.
    """
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "none": lambda _: nn.Identity(), "batch": nn.BatchNorm1d, "layer": nn.LayerNorm,
    }  # fmt: skip
    if how not in kinds:
        raise UsageError(f"norm must be 'none', 'batch' or 'layer'; found {how!r}")
    return nn.ModuleList(kinds[how](width) for width in widths)


class Layered(nn.Module, ABC):
    """A network of `depth` layers that read the graph, each no more of it than the rows asked for depend on."""

    depth: int

    def forward(
        self, x: Tensor | Features, adjacency: Adjacency | Sequence[Adjacency], rows: Tensor | None = None
    ) -> Tensor:
        """Logits of every node, or of some `rows`, computed on no more of the graph than they see."""
        if rows is not None and self._needs_all():
            return self.forward(x, adjacency)[rows]
        layers = per_layer(adjacency, rows, self.depth)
        return self.compute(read(x, layers[0]), layers)

    @abstractmethod
    def compute(self, x: Tensor | Features, layers: Sequence[Adjacency]) -> Tensor:
        """Logits of the nodes that the last of `layers` writes, from features of those that the first one reads."""

    def _needs_all(self) -> bool:
        """Whether a node's logits depend on which others are computed: while batch normalisation trains."""
        return self.training and any(isinstance(module, nn.BatchNorm1d) for module in self.modules())


class Stack(Layered):
    """Layers of `glt.convs` on top of each other, with normalisation, activation and dropout between them.

    Shapes:
        - input: features (N, F), dense or `Features`, and an `Adjacency`, or one a layer
        - output: (N, width of the last layer), or those of R `rows`

    Args:
        convs: the layers.
        widths: after each layer but the last.
        dropout: after each layer but the last.
        norm: `none`, `batch` (statistics are of all nodes) or `layer`.
        activation: after each layer but the last.
        torch_dropout: draw dropout from torch's own stream.
    """

    def __init__(
        self,
        convs: Iterable[nn.Module],
        widths: Iterable[int],
        *,
        dropout: float = 0.0,
        norm: Norm = "none",
        activation: Callable[[Tensor], Tensor] = torch.relu,
        torch_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(convs), norms(norm, widths)
        self.dropout, self.torch_dropout, self.activation = dropout, torch_dropout, activation
        self.depth = len(self.convs)

    def compute(self, x: Tensor | Features, layers: Sequence[Adjacency]) -> Tensor:
        """The layers, one after the other."""
        hidden: Tensor = self.convs[0](x, layers[0])
        for norm, conv, layer in zip(self.norms, self.convs[1:], layers[1:], strict=True):
            hidden = self.activation(norm(hidden))
            hidden = dropout(hidden, self.dropout, training=self.training, as_torch=self.torch_dropout)
            hidden = conv(hidden, layer)
        return hidden
