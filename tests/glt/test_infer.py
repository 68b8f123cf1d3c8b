"""Full-graph inference equals the model, whatever was pruned and whichever back-end computes it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from common.masks import Masks
from common.runs.errors import UsageError
from common.ticket import Ticket, TicketError
from glt.edges import Edges
from glt.features import Features
from glt.generators import sbm
from glt.infer import Inference, propagation
from glt.layer_edges import LayerEdges
from glt.models import GCN, GraphModel

BACKENDS = ("auto", "scipy", "torch", "numba")
NODES, FEATURES = 50, 12


def network(depth: int, *, bias: bool = True, degree: str = "in", symmetric: bool | None = None) -> GraphModel:
    """A GCN on a random graph with one-way edges; the last ten nodes have none."""
    edge_index = torch.randint(0, NODES - 10, (2, 150))
    if symmetric:
        edge_index = torch.cat([edge_index, edge_index.flip(0)], 1)
    net = GCN(FEATURES, 9, 5, depth=depth, bias=bias, degree=degree)
    for conv in net.convs:
        if bias:
            nn.init.normal_(conv.bias)
    return GraphModel(net, Edges(edge_index, NODES, torch.rand(edge_index.size(1)) + 0.5)).eval()


def random_masks(model: GraphModel, density: float = 0.3) -> Masks:
    return Masks({n: torch.rand_like(p) < density for n, p in model.named_parameters() if not n.endswith("bias")})


@torch.no_grad()
def expected(model: GraphModel, masks: dict[str, torch.Tensor], x: torch.Tensor | Features) -> torch.Tensor:
    """The model's own forward with the pruned entries zero; the model is left as it was."""
    before = {name: p.clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.mul_(masks.get(name, torch.ones_like(p)))
    logits = model(x)
    for name, p in model.named_parameters():
        p.copy_(before[name])
    return logits


def check(model: GraphModel, masks: dict[str, torch.Tensor], backend: str = "auto", threads: int = 1) -> Inference:
    infer = Inference(model, masks, backend=backend, threads=threads)
    dense = torch.randn(NODES, FEATURES)
    for x in (dense, Features(dense * (torch.rand_like(dense) < 0.1))):
        wanted = expected(model, masks, x)
        first, second = infer(x), infer(x)
        assert torch.equal(first, second)
        assert (first - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))
    return infer


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("degree", ["in", "out"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_equals_the_model(depth: int, bias: bool, degree: str, backend: str) -> None:
    model = network(depth, bias=bias, degree=degree)
    infer = check(model, random_masks(model), backend)
    if backend != "auto":
        assert all(choice.startswith(backend) for choice in infer.choices)


@pytest.mark.parametrize("backend", BACKENDS)
def test_undirected_edges_count_with_the_mean_of_both_directions(backend: str) -> None:
    model = network(2, symmetric=True)
    assert model.edges.symmetric
    check(model, random_masks(model), backend)
    check(model, {}, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["edges.weight", *(f"net.convs.{layer}.lin.weight" for layer in range(3))])
def test_everything_of_one_tensor_pruned(name: str, backend: str) -> None:
    for bias in (True, False):
        model = network(3, bias=bias)
        masks = random_masks(model)
        masks[name] = torch.zeros_like(masks[name])
        infer = check(model, masks, backend)
        if name == "edges.weight":
            assert infer.nonzeros == NODES  # the self-loops
        elif not bias:
            assert 1 in infer.units


@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalisation_becomes_part_of_the_weights(bias: bool) -> None:
    model = network(3, bias=bias)
    model.net.norms = nn.ModuleList(nn.BatchNorm1d(9) for _ in range(2))
    for norm in model.net.norms:
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(norm.running_var, 0.1, 2)
    model.eval()
    check(model, {n: mask for n, mask in random_masks(model).items() if "norms" not in n})
    assert [type(step.op).__name__ for step in Inference(model)._program.steps] == ["Multiply", "Propagate"] * 3


def test_threads_share_the_nodes() -> None:
    graph = sbm(2000, features=FEATURES, classes=5)
    model = GraphModel(GCN(FEATURES, 20, 5, depth=3), Edges(graph.edge_index, 2000)).eval()
    masks = random_masks(model)
    wanted = expected(model, masks, graph.x)
    for backend in BACKENDS:
        found = Inference(model, masks, backend=backend, threads=3)(graph.x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_results_are_the_callers_own() -> None:
    infer = Inference(network(3))
    first = infer(torch.ones(NODES, FEATURES))
    kept = first.clone()
    infer(torch.zeros(NODES, FEATURES))
    assert torch.equal(first, kept)


def test_the_matrix_by_hand() -> None:
    edges = Edges(torch.tensor([[0, 0], [1, 2]]), 3)
    root = 2**-0.5
    matrix = propagation(edges, torch.ones(2))
    assert matrix.indices.dtype == np.int32
    np.testing.assert_allclose(matrix.toarray(), [[1, 0, 0], [root, 0.5, 0], [root, 0, 0.5]], rtol=1e-6)
    one = propagation(edges, torch.tensor([1.0, 0.0]), "out").toarray()
    np.testing.assert_allclose(one, [[0.5, 0, 0], [root, 1, 0], [0, 0, 1]], rtol=1e-6)


def test_clear_errors() -> None:
    model = network(2)
    with pytest.raises(UsageError, match=r"found the backend 'cuda'; expected one of auto, scipy, torch, numba"):
        Inference(model, backend="cuda")
    with pytest.raises(UsageError, match=r"threads must be at least 1; found 0"):
        Inference(model, threads=0)
    with pytest.raises(ValueError, match=r"for 'net.x'; expected no such parameter"):
        Inference(model, {"net.x": torch.ones(1)})
    with pytest.raises(ValueError, match=r"features must be \(50, 12\) float32 on the CPU; found \(50, 11\)"):
        Inference(model)(torch.ones(NODES, 11))
    with pytest.raises(TypeError, match=r"found the network Linear; expected one that inference is made for: GCN, GAT"):
        Inference(GraphModel(nn.Linear(1, 1), model.edges))
    layered = GraphModel(model.net, LayerEdges(model.edges.edge_index, NODES, 3))
    with pytest.raises(ValueError, match=r"found edge weights \(3, \d+\); expected \(E,\), or \(2, E\) for each layer"):
        Inference(layered)
    model.net.norms[0] = nn.GroupNorm(3, 9)
    with pytest.raises(TypeError, match="found GroupNorm between the layers; expected batch normalisation with"):
        Inference(model)
    model.net.norms[0] = nn.BatchNorm1d(9, track_running_stats=False)
    with pytest.raises(TypeError, match="found BatchNorm1d between the layers"):
        Inference(model)
    model.net.norms[0], model.net.activation = nn.Identity(), torch.tanh
    with pytest.raises(TypeError, match=r"found the activation .*tanh.*; expected relu or elu"):
        Inference(model)
    model.net.activation, model.net.convs[0] = torch.relu, nn.Linear(FEATURES, 9)
    with pytest.raises(TypeError, match=r"found the layer Linear; expected one of glt\.convs"):
        Inference(model)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glt._infer_backends.find_spec", lambda name: None)
    model = network(3)
    assert not any(choice.startswith("numba") for choice in check(model, random_masks(model)).choices)
    with pytest.raises(UsageError, match="numba is not installed"):
        Inference(model, backend="numba")
    assert importlib.util.find_spec("scipy")


def test_a_ticket_of_another_graph_is_refused() -> None:
    model, other = network(2), network(2)
    ticket = Ticket(random_masks(model), dict(model.state_dict()), graph=model.edges.fingerprint())
    Inference(model, ticket)
    with pytest.raises(TicketError):
        Inference(other, ticket)
