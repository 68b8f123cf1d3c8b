"""A network of the suite with torch-geometric's layers in place of its own: the rival that `glt speed` times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from glt.convs import GATConv, GCNConv, GENConv, GINConv, SAGEConv, SGConv
from glt.models import GraphModel

__all__ = ["pyg_network"]


def pyg_network(model: GraphModel) -> nn.Module:
    """The same network of torch-geometric's layers, called with (N, F) features and (2, E) edges.

    Its graph convolutions normalise once and keep that.

    Args:
        model: a network of `glt.models` whose degrees count incoming edges, as torch-geometric's do.
    """
    net = deepcopy(model.net)
    for name, ours in list(net.named_modules()):
        make = next((_LAYERS[kind] for kind in type(ours).__mro__ if kind in _LAYERS), None)
        if make is not None:
            theirs = make(ours)
            state = ours.state_dict()
            theirs.load_state_dict({key: state[_RENAMED.get(key, key)] for key in theirs.state_dict()})
            net.set_submodule(name, _Layer(theirs, getattr(ours, "hops", 1)))
    return _Network(net).eval()


class _Layer(nn.Module):
    """Takes what the suite's networks give a layer, with edges in place of an adjacency."""

    def __init__(self, conv: nn.Module, hops: int) -> None:
        super().__init__()
        self.conv, self.hops = conv, hops

    def forward(self, x: Tensor, edges: Tensor | Sequence[Tensor]) -> Tensor:
        found: Tensor = self.conv(x, edges if isinstance(edges, Tensor) else edges[0])
        return found


class _Network(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        hops = sum(layer.hops for layer in self.net.modules() if isinstance(layer, _Layer))
        logits: Tensor = self.net(x, [edge_index] * hops)
        return logits


def _gcn(ours: GCNConv) -> nn.Module:
    from torch_geometric.nn import GCNConv as Theirs

    return Theirs(ours.lin.in_features, ours.lin.out_features, cached=True, bias=ours.bias is not None)


def _sgc(ours: SGConv) -> nn.Module:
    from torch_geometric.nn import SGConv as Theirs

    return Theirs(ours.lin.in_features, ours.lin.out_features, K=ours.hops, bias=ours.bias is not None)


def _gat(ours: GATConv) -> nn.Module:
    from torch_geometric.nn import GATConv as Theirs

    _, heads, width = ours.att_src.shape
    bias = ours.bias is not None
    return Theirs(ours.lin.in_features, width, heads=heads, negative_slope=ours.slope, bias=bias)


def _gin(ours: GINConv) -> nn.Module:
    from torch_geometric.nn import GINConv as Theirs

    return Theirs(deepcopy(ours.nn), float(ours.eps), aggr=ours.aggregation)


def _sage(ours: SAGEConv) -> nn.Module:
    from torch_geometric.nn import SAGEConv as Theirs

    left = ours.lin_l
    return Theirs(left.in_features, left.out_features, ours.aggregation, bias=left.bias is not None)


def _gen(ours: GENConv) -> nn.Module:
    from torch_geometric.nn import GENConv as Theirs

    width, bias = ours.get_parameter("mlp.0.weight").size(1), ours.mlp[0].bias is not None
    return Theirs(width, width, "softmax", t=ours.t, num_layers=1, eps=ours.eps, bias=bias)


_LAYERS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    GCNConv: _gcn,
    SGConv: _sgc,
    GATConv: _gat,
    GINConv: _gin,
    SAGEConv: _sage,
    GENConv: _gen,
}
_RENAMED = {"lin.bias": "bias"}
