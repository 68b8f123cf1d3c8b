"""Inference in blocks equals inference in memory, within whatever budget."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.masks import Masks
from common.runs.errors import UsageError
from glt import _blocks
from glt.blockwise import BlockInference
from glt.data import Graph
from glt.edges import Edges
from glt.generators import rmat, sbm
from glt.infer import Inference
from glt.mapped import open_graph, write_graph
from glt.models import GAT, GCN, GIN, SAGE, SGC, GraphModel, ResGCN

BACKENDS = ("auto", "scipy", "torch", "numba")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers from a seed, and budgets that small graphs can feel."""
    monkeypatch.setattr(_blocks, "_SLACK", 0)
    monkeypatch.setattr(_blocks, "_LEAST", 16)
    torch.manual_seed(0)


def one_way(graph: Graph, features: torch.Tensor | None = None) -> Graph:
    """The same graph without a third of its directed edges."""
    kept = torch.rand(graph.edge_index.size(1)) < 0.67
    x = graph.x if features is None else features
    return Graph(graph.name, x, graph.edge_index[:, kept], graph.y, graph.train, graph.val, graph.test)


def path_of(nodes: int, features: int) -> Graph:
    """Nodes side by side, so that neighbours lie close in memory."""
    ends = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
    y = torch.arange(nodes) % 4
    splits = [torch.arange(nodes) % 3 == part for part in range(3)]
    return Graph("path", torch.randn(nodes, features), torch.cat([ends, ends.flip(0)], 1), y, *splits)


def network(graph: Graph, depth: int, hidden: int = 40, *, bias: bool = True, degree: str = "in") -> GraphModel:
    net = GCN(graph.x.size(1), hidden, graph.classes, depth=depth, bias=bias, degree=degree)
    for conv in net.convs:
        if bias:
            nn.init.normal_(conv.bias)
    return GraphModel(net, Edges(graph.edge_index, graph.x.size(0))).eval()


def random_masks(model: GraphModel, density: float = 0.4) -> Masks:
    return Masks({n: torch.rand_like(p) < density for n, p in model.named_parameters() if not n.endswith("bias")})


def check(
    graph: Graph, model: GraphModel, masks: dict, folder: Path, memory: int | None = None, backend: str = "scipy"
) -> BlockInference:
    """Equal to `Inference`, twice."""
    if not (folder / "graph").exists():
        write_graph(graph, folder / "graph")
    wanted = Inference(model, masks, backend=backend, threads=1)(graph.x)
    disk = open_graph(folder / "graph")
    infer = BlockInference(model.net, disk, masks, memory=memory, folder=folder, backend=backend, threads=1)
    for _ in range(2):
        found, after = torch.full_like(wanted, torch.nan), 0
        for start, block in infer():
            assert (start, torch.is_grad_enabled()) == (after, True)
            assert [path.name for path in folder.iterdir()] == ["graph"]  # temporary files have no names
            found[start : start + len(block)] = block
            after += len(block)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    return infer


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_equals_inference_in_memory(depth: int, backend: str, tmp_path: Path) -> None:
    graph = one_way(sbm(500, features=24, classes=7))
    for bias, degree in ((True, "in"), (False, "out")):
        model = network(graph, depth, bias=bias, degree=degree)
        for memory in (None, 150_000):
            infer = check(graph, model, random_masks(model), tmp_path, memory, backend)
            assert infer.units[-1] == 7
            if backend != "auto":
                assert all(choice.startswith(backend) for choice in infer.choices)


@pytest.mark.parametrize("classes", [7, 30])
def test_hops_without_anything_between(classes: int, tmp_path: Path) -> None:
    graph = one_way(sbm(500, features=24, classes=classes))
    for depth in (1, 3):
        model = GraphModel(SGC(24, classes, depth=depth, bias=True), Edges(graph.edge_index, 500)).eval()
        for memory in (None, 150_000):
            infer = check(graph, model, random_masks(model), tmp_path, memory)
            assert len(infer.sources) in (depth, depth + 1)


LADDER = [(None, ["whole", "held", "held"]), (2_000_000, ["whole", "whole", "whole"]),
          (700_000, ["strips", "strips", "strips"])]  # fmt: skip


@pytest.mark.parametrize(("memory", "sources"), LADDER)
def test_less_memory_means_thriftier_sources(memory: int | None, sources: list[str], tmp_path: Path) -> None:
    graph = rmat(12, degree=6, features=40)
    model = network(graph, 3)
    infer = check(graph, model, random_masks(model), tmp_path, memory)
    assert infer.sources == sources


def test_near_neighbours_are_gathered_by_parts(tmp_path: Path) -> None:
    graph = path_of(3000, 40)
    model = network(graph, 3)
    infer = check(graph, model, random_masks(model, 0.7), tmp_path, 430_000)
    assert infer.sources[0] == "rows"
    assert len(infer._steps[0].parts) > 2


def test_a_layer_before_the_first_propagation(tmp_path: Path) -> None:
    graph = rmat(10, features=200)
    model = network(graph, 2, hidden=16)
    for memory in (None, 600_000):
        assert check(graph, model, random_masks(model), tmp_path, memory).sources[0] == "own"


def test_undirected_edges_count_with_the_mean_of_both_directions(tmp_path: Path) -> None:
    graph = sbm(400, features=20, classes=5)
    model = network(graph, 2)
    masks = random_masks(model)
    infer = check(graph, model, masks, tmp_path, 200_000)
    alive = masks["edges.weight"] | masks["edges.weight"][model.edges.reverse]
    assert infer.edges == int(alive.sum())
    check(graph, model, {}, tmp_path, 200_000)


def test_edge_weights_and_apart_directions(tmp_path: Path) -> None:
    graph = sbm(300, features=20, classes=5)
    disk = write_graph(graph, tmp_path / "graph")
    weight = torch.rand(disk.edges) + 0.5
    for symmetric in (True, False):
        edges = Edges(graph.edge_index, 300, symmetric=symmetric)
        edges.weight.data.copy_(weight)
        model = GraphModel(GCN(20, 16, 5), edges).eval()
        masks = random_masks(model)
        wanted = Inference(model, masks, backend="scipy", threads=1)(graph.x)
        words = {"weight": weight.numpy(), "symmetric": symmetric, "memory": 200_000, "threads": 1}
        found = torch.cat([b.clone() for _, b in BlockInference(model.net, disk, masks, **words)()])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_sparse_features_of_any_type(dtype: torch.dtype, tmp_path: Path) -> None:
    graph = sbm(400, features=60, classes=5)
    few = (torch.rand(400, 60) < 0.05).to(dtype)
    graph = Graph("few", few.float(), graph.edge_index, graph.y, graph.train, graph.val, graph.test)
    path = tmp_path / "few.npz"
    names = ("edge_index", "y", "train", "val", "test")
    np.savez(path, x=few.numpy(), **{name: getattr(graph, name).numpy() for name in names})
    disk = write_graph(str(path), tmp_path / "disk" / "graph")
    assert disk.arrays["x"].dtype == few.numpy().dtype
    model = network(graph, 3)
    for memory in (None, 300_000):
        assert check(graph, model, random_masks(model), tmp_path / "disk", memory).sources[0] == "own"


def test_features_that_nobody_reads_are_not_read(tmp_path: Path) -> None:
    graph = sbm(300, features=40, classes=5)
    model = network(graph, 2)
    masks = random_masks(model)
    masks["net.convs.0.lin.weight"][:, 12:] = False
    for memory in (None, 150_000):
        assert check(graph, model, masks, tmp_path, memory).units[0] <= 12


def test_everything_pruned(tmp_path: Path) -> None:
    graph = sbm(200, features=20, classes=5)
    model = network(graph, 2)
    masks = Masks({name: torch.zeros_like(mask) for name, mask in random_masks(model).items()})
    infer = check(graph, model, masks, tmp_path, 150_000)
    assert (infer.edges, infer.nonzeros) == (0, 200)


def star(nodes: int, features: int) -> Graph:
    """Every node joined to the first."""
    graph = path_of(nodes, features)
    hub = torch.zeros(nodes - 1, dtype=torch.long)
    ends = torch.stack([hub, torch.arange(1, nodes)])
    return Graph("star", graph.x, torch.cat([ends, ends.flip(0)], 1), graph.y, graph.train, graph.val, graph.test)


MAKERS = [lambda: rmat(10, degree=5, features=30), lambda: path_of(1500, 30), lambda: star(1500, 30)]


@pytest.mark.parametrize("make", MAKERS, ids=["rmat", "path", "star"])
def test_an_impossible_budget_names_the_possible_one(make, tmp_path: Path) -> None:
    graph = make()
    model = network(graph, 3)
    masks = random_masks(model)
    with pytest.raises(UsageError, match=r"--memory 1KB is too little: .* need at least \d+KB. Give more") as error:
        check(graph, model, masks, tmp_path, 1000)
    needed = 1000 * int(re.search(r"at least (\d+)KB", str(error.value))[1])
    check(graph, model, masks, tmp_path, needed)
    with pytest.raises(UsageError, match=r"need at least"):
        check(graph, model, masks, tmp_path, int(needed * 0.99) - 1000)


def test_clear_errors(tmp_path: Path) -> None:
    graph = sbm(100, features=8, classes=4)
    disk, net = write_graph(graph, tmp_path / "graph"), GCN(8, 4, 4)
    with pytest.raises(ValueError, match=rf"found 3 numbers for 'edges.weight'; expected {disk.edges}, one an edge"):
        BlockInference(net, disk, {"edges.weight": torch.ones(3)})
    with pytest.raises(ValueError, match=r"for 'net.x'; expected no such parameter"):
        BlockInference(net, disk, {"net.x": torch.ones(1)})
    with pytest.raises(TypeError, match=r"found the network Linear; expected one that inference is made for"):
        BlockInference(nn.Linear(8, 4), disk)
    for net in (SAGE(8, 4, 4), GCN(8, 4, 4, norm="layer"), GAT(8, 4, 4), ResGCN(8, 4, 4), GIN(8, 4, 4)):
        with pytest.raises(TypeError, match=rf"found the network {type(net).__name__}; expected a GCN or an SGC"):
            BlockInference(net, disk)
    with pytest.raises(UsageError, match=r"found the backend 'cuda'"):
        BlockInference(net, disk, backend="cuda")
