"""Every layer on masked edges equals torch-geometric's on the pruned graph, with the weights copied."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg

from glt.convs import GATConv, GENConv, GINConv, SAGEConv, SGConv
from glt.edges import Edges
from glt.features import Features

NODES, WIDTH = 12, 5

LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "gat": (lambda: GATConv(WIDTH, 4, bias=True), lambda: pyg.GATConv(WIDTH, 4)),
    "gat, 3 heads": (lambda: GATConv(WIDTH, 4, heads=3), lambda: pyg.GATConv(WIDTH, 4, heads=3, bias=False)),
    "gin, narrowing": (lambda: GINConv(WIDTH, 4, eps=0.3), lambda: pyg.GINConv(mlp(WIDTH, 4, bias=False), eps=0.3)),
    "gin, widening": (lambda: GINConv(WIDTH, 7, bias=True), lambda: pyg.GINConv(mlp(WIDTH, 7))),
    "gin, two maps": (lambda: GINConv(WIDTH, 4, hidden=3, bias=True), lambda: pyg.GINConv(mlp(WIDTH, 3, 4))),
    "gin, mean": (lambda: GINConv(WIDTH, 4, aggregation="mean", bias=True),
                  lambda: pyg.GINConv(mlp(WIDTH, 4), aggr="mean")),
    "gin, max": (lambda: GINConv(WIDTH, 4, aggregation="max", bias=True),
                 lambda: pyg.GINConv(mlp(WIDTH, 4), aggr="max")),
    "sage": (lambda: SAGEConv(WIDTH, 4, bias=True), lambda: pyg.SAGEConv(WIDTH, 4)),
    "sage, widening": (lambda: SAGEConv(WIDTH, 7, bias=True), lambda: pyg.SAGEConv(WIDTH, 7)),
    "sage, max": (lambda: SAGEConv(WIDTH, 4, aggregation="max"), lambda: pyg.SAGEConv(WIDTH, 4, "max", bias=False)),
    "sage, sum": (lambda: SAGEConv(WIDTH, 4, aggregation="sum"), lambda: pyg.SAGEConv(WIDTH, 4, "sum", bias=False)),
    "sgc": (lambda: SGConv(WIDTH, 4, hops=3, bias=True), lambda: pyg.SGConv(WIDTH, 4, K=3)),
    "sgc, widening": (lambda: SGConv(WIDTH, 7, hops=2), lambda: pyg.SGConv(WIDTH, 7, K=2, bias=False)),
    "gen": (lambda: GENConv(WIDTH), lambda: pyg.GENConv(WIDTH, WIDTH, num_layers=1)),
    "gen, cold": (lambda: GENConv(WIDTH, t=200.0, bias=True),
                  lambda: pyg.GENConv(WIDTH, WIDTH, t=200.0, num_layers=1, bias=True)),
    "gen, semi": (lambda: GENConv(WIDTH, t=0.1, semi_grad=True),
                  lambda: pyg.GENConv(WIDTH, WIDTH, "softmax_sg", t=0.1, num_layers=1)),
}  # fmt: skip
NAMES = {("sgc", "lin.bias"): "bias"}  # where the two differ
every = pytest.mark.parametrize("name", LAYERS)


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    maps = [nn.Linear(i, o, bias=bias) for i, o in pairwise(widths)]
    return nn.Sequential(*[m for one in maps for m in (one, nn.ReLU())][:-1])


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours, theirs = (make() for make in LAYERS[name])
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict({NAMES.get((name, key), key): value for key, value in theirs.state_dict().items()})
    return ours, theirs


def random_edges(symmetric: bool, seed: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """An edge_index on 12 nodes, the last one isolated, and a mask that prunes 40 % of it."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(NODES - 1, (2, 40), generator=generator)
    index = torch.cat([index, index.flip(0)], 1) if symmetric else index
    edges = Edges(index, NODES)
    kept = torch.rand(int(edges.pair.max()) + 1, generator=generator)[edges.pair] > 0.4
    return edges.edge_index, kept


def masked_edges(index: torch.Tensor, kept: torch.Tensor, *, learned: bool) -> Edges:
    edges = Edges(index, NODES)
    with torch.no_grad():
        edges.weight[~kept] = 0
    edges.weight.requires_grad_(learned)
    return edges


@every
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_outputs_and_gradients_are_those_of_the_pruned_graph(name: str, symmetric: bool, learned: bool) -> None:
    ours, theirs = pair(name)
    index, kept = random_edges(symmetric)
    assert 0 < int(kept.sum()) < kept.numel()
    x, upstream = torch.randn(NODES, WIDTH), torch.randn(1)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = ours(mine, masked_edges(index, kept, learned=learned)())
    expected = theirs(other, index[:, kept])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found.square().sum() * upstream).backward()
    (expected.square().sum() * upstream).backward()
    grads = {NAMES.get((name, key), key): parameter for key, parameter in theirs.named_parameters()}
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[key].grad, atol=1e-4, rtol=1e-4)


@every
@pytest.mark.parametrize("learned", [True, False])
def test_a_graph_whose_edges_are_all_masked_is_the_graph_without_edges(name: str, learned: bool) -> None:
    ours, theirs = pair(name)
    index, kept = random_edges(symmetric=False)
    nothing, x = torch.zeros_like(kept), torch.randn(NODES, WIDTH)
    expected = theirs(x, index[:, nothing])
    for edges in (masked_edges(index, nothing, learned=learned), Edges(index[:, nothing], NODES)):
        torch.testing.assert_close(ours(x, edges()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("gen")])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_sparse_features_give_the_same(name: str, share: float) -> None:
    ours, _ = pair(name)
    index, kept = random_edges(symmetric=False)
    x = torch.randn(NODES, WIDTH) * (torch.rand(NODES, WIDTH) < share)
    adjacency = masked_edges(index, kept, learned=False)()
    torch.testing.assert_close(ours(Features(x), adjacency), ours(x, adjacency))


def test_hops_and_adjacencies_must_agree() -> None:
    adjacency = Edges(torch.tensor([[0], [1]]), 2)()
    with pytest.raises(ValueError, match="found 3 adjacencies for 2 hops"):
        SGConv(1, 1, hops=2)(torch.ones(2, 1), [adjacency] * 3)
    with pytest.raises(ValueError, match="hops must be at least 1; found 0"):
        SGConv(1, 1, hops=0)
