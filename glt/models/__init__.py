"""Graph neural networks of any depth, and the module that joins one to its graph.

A `GraphModel` is an ordinary module with two children, so one mask dictionary can name both: `edges.weight` and the
network's `net.convs.0.lin.weight`, ... A network takes features and an `Adjacency`, or one a layer. To add one: a class
whose `forward(x, adjacency, rows)` uses layers of `glt.convs`, its line in `NETWORKS`, and in `glt.presets` the
settings that it has.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from common.runs.errors import UsageError
from glt.config import Network
from glt.convs.parts import dropout
from glt.edges import Edges
from glt.features import Features
from glt.models.convolutional import GAT, GCN, SAGE
from glt.models.readout import GIN, SGC
from glt.models.residual import DeeperGCN, ResGCN
from glt.presets import SETTINGS

__all__ = [
    "EDGES", "GAT", "GCN", "GIN", "NETWORKS", "SAGE", "SGC", "WEIGHTS", "DeeperGCN", "GraphModel", "ResGCN", "dropout",
    "network",
]  # fmt: skip

EDGES, WEIGHTS = "edges.weight", "net.*"
"""What a mask calls the edges, and the pattern of what it calls the network's weights."""

NETWORKS: dict[str, type[nn.Module]] = {
    "gcn": GCN,
    "gat": GAT,
    "gin": GIN,
    "sage": SAGE,
    "sgc": SGC,
    "resgcn": ResGCN,
    "deepergcn": DeeperGCN,
}


def network(
    model: str, in_channels: int, out_channels: int, settings: Network, *, exact_rng: bool = False
) -> nn.Module:
    """The network of a name, its weights drawn afresh.

    Args:
        model: a key of `NETWORKS`.
        in_channels, out_channels: widths of features and logits.
        settings: filled by `glt.config.preset` for this model.
        exact_rng: draw dropout and sum degrees as the published UGS, which is there for gcn alone.

    Raises:
        UsageError: a setting that this model does not have, or lacks, or `exact_rng` for another model than gcn.

    >>> network("sgc", 4, 2, Network())
    SGC(
      (conv): SGConv(
        (lin): Linear(in_features=4, out_features=2, bias=False)
      )
    )
    """
    options: dict[str, Any] = {name: getattr(settings, name) for name in SETTINGS[model]}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value is None and field.name in options:
            raise UsageError(f"network.{field.name} is not set; call glt.config.preset() first")
        if value is not None and field.name not in ("depth", *options):
            raise UsageError(
                f"--network.{field.name} {value} means nothing to --model {model}; expected only "
                f"{', '.join(f'--network.{name}' for name in ('depth', *options))}. Leave it out"
            )
    if exact_rng and model != "gcn":
        raise UsageError(f"--ugs.exact-rng repeats published code that has only gcn; found --model {model}")
    if exact_rng:
        options |= {"degree": "out", "torch_dropout": True}
    widths = [in_channels, *([options.pop("hidden")] if "hidden" in options else []), out_channels]
    return NETWORKS[model](*widths, depth=settings.depth, **options)


class GraphModel(nn.Module):
    """A network joined to its graph: parameters `edges.weight` and `net.*`, forward from features to logits.

    Args:
        net: a network of this module.
        edges: the graph's edges, for all layers (`Edges`) or for each (`LayerEdges`).
    """

    def __init__(self, net: nn.Module, edges: Edges) -> None:
        super().__init__()
        self.edges, self.net = edges, net

    def forward(self, x: Tensor | Features, rows: Tensor | None = None) -> Tensor:
        """Logits of the features (N, F) on the graph as its edge weights stand: (N, classes), or those of `rows`."""
        logits: Tensor = self.net(x, self.edges(), rows)
        return logits
