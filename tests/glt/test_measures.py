"""Multiply-adds by hand on three nodes and against torch's own counter; inference that is served, and that is not."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glt.config import Find, Network, preset
from glt.data import Graph
from glt.edges import Edges
from glt.features import Features
from glt.layer_edges import LayerEdges
from glt.measures import Macs, macs, times
from glt.models import EDGES, GAT, GCN, GIN, SAGE, SGC, DeeperGCN, GraphModel, ResGCN
from glt.trial import build

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2
X = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0]])  # 4 of 12 are not zero


def on_path(net: torch.nn.Module, edges: Edges | None = None) -> GraphModel:
    return GraphModel(net, edges or Edges(PATH, 3))


@pytest.mark.parametrize(
    ("net", "edges", "weights", "sparse"),
    [
        # 4 edges and 3 loops, times 2 and 3 columns; 3 nodes times 4x2 and 2x3 weights; 4 values times 2 weights
        (GCN(4, 2, 3), 7 * 2 + 7 * 2, 3 * 8 + 3 * 6, 7 * 2 + 7 * 2 + 4 * 2 + 3 * 6),
        # 4 columns before the first map, 5 behind it, where sparse features leave it the only way
        (GCN(4, 5, 3), 7 * 4 + 7 * 3, 3 * 20 + 3 * 15, 7 * 5 + 7 * 3 + 4 * 5 + 3 * 15),
        # two hops of the map's 3 columns; of 5 columns 4 would do
        (SGC(4, 3), 2 * 7 * 3, 3 * 12, 2 * 7 * 3 + 4 * 3),
        (SGC(4, 5), 2 * 7 * 4, 3 * 20, 2 * 7 * 5 + 4 * 5),
        # no loops, two maps a layer
        (SAGE(4, 2, 3), 4 * 2 + 4 * 2, 2 * (3 * 8 + 3 * 6), 4 * 2 + 4 * 2 + 2 * (4 * 2 + 3 * 6)),
        # a maximum takes all 4 columns, and only the node's own map meets the zeros
        (SAGE(4, 2, 3, aggregation="max"), 4 * 4 + 4 * 2, 2 * (3 * 8 + 3 * 6), 16 + 8 + 4 * 2 + 3 * 8 + 2 * 18),
        # 2 heads of width 2 and one of 3; attention has 2 vectors a layer
        (GAT(4, 2, 3, heads=2), 7 * 4 + 7 * 3, 3 * (16 + 8 + 12 + 6), 28 + 21 + 4 * 4 + 3 * (8 + 12 + 6)),
        # two layers of width 2 and a readout of each
        (GIN(4, 2, 3, depth=2), 7 * 2 + 7 * 2, 3 * (8 + 4 + 6 + 6), 14 + 14 + 4 * 2 + 3 * 16),
        # encoder, two blocks, decoder
        (ResGCN(4, 2, 3), 7 * 2 + 7 * 2, 3 * (8 + 4 + 4 + 6), 28 + 4 * 2 + 3 * 14),
        (DeeperGCN(4, 2, 3), 2 * 4 * (2 * 2), 3 * (8 + 4 + 4 + 6), 32 + 4 * 2 + 3 * 14),
    ],
)
def test_dense_networks_by_hand(net: torch.nn.Module, edges: int, weights: int, sparse: int) -> None:
    found = macs(on_path(net), {}, X)
    assert found == Macs(edges, weights, sparse)
    assert found == macs(on_path(net), {}, Features(X))
    assert found.as_dict() == {
        "edges": edges, "weights": weights, "total": edges + weights, "sparse_features": sparse,
    }  # fmt: skip


def test_only_what_masks_keep_counts() -> None:
    masks = {
        EDGES: torch.tensor([True, True, False, False]),  # 0 - 1 alone
        "net.convs.0.lin.weight": torch.tensor([[True, True, False, False], [False, False, True, True]]),
        "net.convs.1.lin.weight": torch.tensor([[True, False], [False, False], [False, True]]),
    }
    # two edges and three loops, times 2 columns, twice; 4 and 2 weights; features 0 and 1 have two values each
    assert macs(on_path(GCN(4, 2, 3)), masks, X) == Macs(20, 3 * 4 + 3 * 2, 20 + (2 + 2) + 3 * 2)


def test_edges_of_every_layer_are_counted_for_themselves() -> None:
    model = on_path(GCN(4, 2, 3), LayerEdges(PATH, 3, 2))
    masks = {EDGES: torch.tensor([[True] * 4, [False] * 4])}
    assert macs(model, masks, X).edges == 7 * 2 + 3 * 2
    hops = on_path(SGC(4, 2), LayerEdges(PATH, 3, 2))
    assert macs(hops, masks, X).edges == 7 * 2 + 3 * 2


def test_a_tied_pair_of_which_one_direction_is_kept_passes_both() -> None:
    one_way = {EDGES: torch.tensor([True, False, False, False])}
    assert macs(on_path(GCN(4, 2, 3)), one_way, X).edges == (2 + 3) * 2 * 2
    apart = on_path(GCN(4, 2, 3), Edges(PATH, 3, symmetric=False))
    assert macs(apart, one_way, X).edges == (1 + 3) * 2 * 2


@pytest.mark.parametrize(
    ("name", "columns"),
    [("gcn", 6 + 8 + 2), ("gin", 6 + 8 + 8), ("sage", 6 + 8 + 2), ("sgc", 3 * 2), ("resgcn", 3 * 8),
     ("deepergcn", 3 * 16), ("gat", 8 * (8 * 8 + 8 * 8) + 2)],
)  # fmt: skip
def test_torch_counts_the_same(name: str, columns: int, graph: Graph) -> None:
    """It counts a product with a sparse matrix as if that were dense; the heads of gat are one of 8 N x 8 N."""
    hidden = None if name == "sgc" else 8
    model = build(graph, preset(Find(model=name, network=Network(depth=3, hidden=hidden))), 0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(graph.x)
    found, nodes = macs(model, {}, graph.x), graph.x.size(0)
    assert counter.get_total_flops() == 2 * (found.weights + nodes**2 * columns)
    if name != "gat":
        loops = 0 if name in ("sage", "deepergcn") else nodes
        assert found.edges == (graph.edge_index.size(1) + loops) * columns


def test_a_network_of_unknown_layers_is_refused() -> None:
    with pytest.raises(TypeError, match=r"found the network Linear; expected one with layers of glt\.convs"):
        macs(on_path(torch.nn.Linear(4, 2)), {}, X)


def test_what_inference_does_not_serve_has_no_time(graph: Graph) -> None:
    edges = Edges(graph.edge_index, graph.x.size(0))
    served = GraphModel(GCN(6, 8, 2), edges).eval()
    masks = {EDGES: edges.pair % 2 == 0}
    unknown = GraphModel(torch.nn.Linear(6, 2), edges).eval()
    found = times({"a": (served, {}), "b": (served, masks), "unknown": (unknown, {})}, Features(graph.x), budget=0.01)
    assert found["unknown"] is None
    for name in ("a", "b"):
        row = found[name]
        assert row is not None
        assert 0 < row["seconds_min"] <= row["seconds"] <= row["seconds_max"]
