"""A pruned edge is absent, as if it had never been in `edge_index`: against torch-geometric on the pruned graph."""

import pytest
import torch
from torch_geometric.nn import GCN as PyGGCN
from torch_geometric.nn import GCNConv as PyGConv
from torch_geometric.nn import SimpleConv

from common.apply import gated, masked
from common.gates import Soft
from common.masks import Masks
from glt.convs import GCNConv, aggregate
from glt.edges import Edges
from glt.features import Features
from glt.models import GCN, GraphModel


def graph(symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """An edge_index on 12 nodes, node 11 isolated, and a mask that prunes 40 % of it."""
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(11, (2, 40), generator=generator)
    index = index[:, index[0] != index[1]]
    if symmetric:
        index = torch.cat([index, index.flip(0)], 1)
    edges = Edges(index, 12)
    kept = torch.rand(int(edges.pair.max()) + 1, generator=generator)[edges.pair] > 0.4
    return edges.edge_index, kept


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("attach", ["masked", "gated"])
def test_gcn_on_masked_edges_equals_pyg_on_the_pruned_graph(symmetric: bool, attach: str) -> None:
    index, kept = graph(symmetric)
    torch.manual_seed(0)
    theirs = PyGGCN(5, 8, num_layers=3, out_channels=4, bias=True).eval()
    net = GCN(5, 8, 4, depth=3, bias=True).eval()
    net.load_state_dict(theirs.state_dict())
    model, x = GraphModel(net, Edges(index, 12)).eval(), torch.randn(12, 5)
    masks = Masks({"edges.weight": kept})
    context = masked(model, masks) if attach == "masked" else gated(model, masks, Soft)
    with context, torch.no_grad():
        ours = model(x)
    expected = theirs(x, index[:, kept])
    torch.testing.assert_close(ours, expected, atol=1e-5 if attach == "masked" else 1e-3, rtol=0)


def test_a_layer_takes_pyg_weights_and_propagates_on_either_side() -> None:
    index, kept = graph(symmetric=False)
    for wide in (3, 9):
        theirs = PyGConv(5, wide)
        ours = GCNConv(5, wide, bias=True)
        ours.load_state_dict(theirs.state_dict())
        edges = Edges(index, 12)
        with torch.no_grad():
            edges.weight[~kept] = 0
        x = torch.randn(12, 5)
        torch.testing.assert_close(ours(x, edges()), theirs(x, index[:, kept]))
        torch.testing.assert_close(ours(Features(x), edges()), theirs(x, index[:, kept]))


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
@pytest.mark.parametrize("constant", [True, False])
def test_every_aggregator_forgets_a_pruned_edge(how: str, constant: bool) -> None:
    index, kept = graph(symmetric=False)
    edges = Edges(index, 12)
    with torch.no_grad():
        edges.weight[~kept] = 0
    edges.weight.requires_grad_(not constant)
    x = torch.randn(12, 3) - 5  # negative, so that a zero message would win a maximum
    ours = aggregate(edges(), x, how)
    torch.testing.assert_close(ours, SimpleConv(aggr=how)(x, index[:, kept]))
    assert ours[11].tolist() == [0.0, 0.0, 0.0]


def test_pruning_every_edge_leaves_the_edgeless_network() -> None:
    index, _ = graph(symmetric=True)
    torch.manual_seed(0)
    net, x = GCN(5, 8, 4).eval(), torch.randn(12, 5)
    model = GraphModel(net, Edges(index, 12))
    with masked(model, Masks({"edges.weight": torch.zeros(index.size(1), dtype=torch.bool)})), torch.no_grad():
        pruned = model(x)
    edgeless = GraphModel(net, Edges(torch.empty(2, 0, dtype=torch.long), 12))
    torch.testing.assert_close(pruned, edgeless(x))


def test_an_unknown_aggregation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'sum', 'mean' or 'max'"):
        aggregate(Edges(torch.tensor([[0], [1]]), 2)(), torch.ones(2, 1), "median")
