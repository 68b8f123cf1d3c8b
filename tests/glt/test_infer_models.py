"""Full-graph inference equals every network, whatever it normalises and aggregates by, on every back-end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from common.masks import Masks, prunable
from glt import _infer_segments
from glt.edges import Edges
from glt.features import Features
from glt.generators import sbm
from glt.infer import Inference
from glt.layer_edges import LayerEdges
from glt.models import EDGES, GIN, NETWORKS, SAGE, DeeperGCN, GraphModel
from glt.presets import SETTINGS
from glt.speed import pyg_network

NODES, FEATURES, CLASSES = 50, 12, 5
every = pytest.mark.parametrize("name", NETWORKS)
backends = pytest.mark.parametrize("backend", ["auto", "scipy", "torch", "numba"])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers from a seed; blocks and samples that a small graph has more than one of."""
    torch.manual_seed(0)
    monkeypatch.setattr(_infer_segments, "_NUMBERS", 128)
    monkeypatch.setattr("glt._infer_backends._ROWS", 32)


def net(name: str, depth: int, *, bias: bool = True, **changes: object) -> nn.Module:
    """A network whose norms and biases are those of a trained one."""
    known = {"hidden": 9, "heads": 3, "norm": "none", "aggregation": "mean"} | changes
    options = {key: known[key] for key in SETTINGS[name] if key in known}
    widths = [FEATURES, *([options.pop("hidden")] if "hidden" in options else []), CLASSES]
    made = NETWORKS[name](*widths, depth=depth, bias=bias, **options).eval()
    for key, tensor in (*made.named_parameters(), *made.named_buffers()):
        if key.endswith("running_var"):
            nn.init.uniform_(tensor, 0.1, 2)
        elif key.endswith(("bias", "running_mean")) or ("norms" in key and tensor.dim() == 1):
            nn.init.normal_(tensor)
        elif tensor.dim() > 1:
            nn.init.normal_(tensor, std=tensor.size(-1) ** -0.5 * 2)  # so that little that is kept still says something
    return made


def edges(*, weighted: bool = True, symmetric: bool = False, layers: int | None = None) -> Edges:
    """A random graph; the last ten nodes have no edge."""
    index = torch.randint(0, NODES - 10, (2, 150))
    index = torch.cat([index, index.flip(0)], 1) if symmetric else index
    weight = torch.rand(index.size(1)) + 0.5 if weighted else None
    return Edges(index, NODES, weight) if layers is None else LayerEdges(index, NODES, layers, weight)


def random_masks(model: GraphModel, density: float = 0.4) -> Masks:
    named = {EDGES: model.edges.weight, **prunable(model, "net.*")}
    named = {name: tensor for name, tensor in named.items() if tensor.dim() > 1 or name == EDGES}
    return Masks({name: torch.rand_like(tensor) < density for name, tensor in named.items()})


@contextmanager
def pruned(model: GraphModel, masks: Masks) -> Iterator[None]:
    before = {name: p.clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
        yield
        for name, p in model.named_parameters():
            p.copy_(before[name])


def check(model: GraphModel, masks: Masks, backend: str = "auto", *, tolerance: float = 1e-5) -> Inference:
    """Equal to the model's own forward, twice, with dense and with sparse features."""
    infer = Inference(model, masks, backend=backend, threads=1)
    dense = torch.randn(NODES, FEATURES)
    for x in (Features(dense * (torch.rand_like(dense) < 0.1)), dense):
        with pruned(model, masks):
            wanted = model(x)
        first, second = infer(x), infer(x)
        assert torch.equal(first, second)
        assert float((first - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))
        assert float(wanted.std(0).max()) > 1e-3  # a constant would be easy to equal
    return infer


@every
@backends
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_equals_the_network(name: str, backend: str, depth: int) -> None:
    for norm in ("none", "batch", "layer"):
        for bias in (True, False):
            model = GraphModel(net(name, depth, norm=norm, bias=bias), edges(symmetric=bias))
            check(model, random_masks(model), backend)


@backends
@pytest.mark.parametrize("name", ["gin", "sage"])
@pytest.mark.parametrize("aggregation", ["sum", "mean", "max"])
def test_every_aggregation(name: str, aggregation: str, backend: str) -> None:
    for weighted in (True, False):
        for hidden in (4, 20):  # the narrower side of a layer is its output, or its input
            model = GraphModel(net(name, 3, aggregation=aggregation, hidden=hidden), edges(weighted=weighted))
            infer = check(model, random_masks(model), backend)
            names = [choice for choice in infer.choices if "maximum" in choice]
            assert len(names) == (3 if aggregation == "max" else 0)
            fast = {"numba"} if backend == "numba" and not weighted else {"torch"}
            assert backend == "auto" or {choice.split()[0] for choice in names} <= fast


@every
@backends
def test_no_edge(name: str, backend: str) -> None:
    made = net(name, 2)
    model = GraphModel(made, edges())
    masks = random_masks(model)
    masks[EDGES] = torch.zeros_like(masks[EDGES])
    check(model, masks, backend)
    edgeless = GraphModel(made, Edges(torch.zeros(2, 0, dtype=torch.long), NODES))
    check(edgeless, random_masks(edgeless), backend)


@every
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_everything_of_one_tensor_pruned(name: str, norm: str, bias: bool) -> None:
    model = GraphModel(net(name, 3, norm=norm, bias=bias), edges())
    for tensor in random_masks(model):
        masks = random_masks(model)
        masks[tensor] = torch.zeros_like(masks[tensor])
        infer = Inference(model, masks, threads=1)
        x = torch.randn(NODES, FEATURES)
        with pruned(model, masks):
            torch.testing.assert_close(infer(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"sgc"}))
def test_dead_units_are_left_out(name: str) -> None:
    """Units that nothing leads to and units that lead nowhere, in every layer alike."""
    model = GraphModel(net(name, 3, bias=False, hidden=8, heads=1), edges(weighted=False))
    masks = Masks.dense(prunable(model, "net.*"))
    for mask in masks.values():
        if mask.dim() == 2 and mask.size(1) == 8:
            mask[:, :3] = False
        if mask.dim() == 2 and mask.size(0) == 8:
            mask[5:] = False
    infer = check(model, masks)
    left = 5 if name == "deepergcn" else 2  # its messages are never quite zero
    assert set(infer.units[1:-1]) == {left}


@every
def test_each_layer_may_have_its_own_edges(name: str) -> None:
    model = GraphModel(net(name, 3, norm="batch"), edges(layers=3))
    infer = check(model, random_masks(model))
    assert len(infer._matrices) == 3


@every
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_torch_geometric_on_the_pruned_graph(name: str, threads: int) -> None:
    graph = sbm(600, features=FEATURES, classes=CLASSES)
    model = GraphModel(net(name, 3, norm="batch"), Edges(graph.edge_index, 600))
    with torch.no_grad():
        for weight in prunable(model.net).values():
            weight.div_(2)  # nothing is pruned from these
    kept = torch.rand(int(model.edges.pair.max()) + 1)[model.edges.pair] < 0.5
    with torch.no_grad():
        wanted = pyg_network(model)(graph.x, model.edges.edge_index[:, kept])
    for backend in ("scipy", "torch", "numba"):
        found = Inference(model, {EDGES: kept}, backend=backend, threads=threads)(graph.x)
        assert float((found - wanted).abs().max()) < 1e-4
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@backends
@pytest.mark.parametrize("name", ["gat", "gin", "sage", "deepergcn"])
def test_weights_below_zero_count_in_sums_and_means_alone(name: str, backend: str) -> None:
    for aggregation in ("sum", "mean", "max") if "aggregation" in SETTINGS[name] else ("sum",):
        model = GraphModel(net(name, 2, aggregation=aggregation), edges())
        with torch.no_grad():
            model.edges.weight[::3] *= -1
        check(model, random_masks(model, 0.7), backend)


@backends
def test_exponents_far_apart(backend: str) -> None:
    model = GraphModel(DeeperGCN(FEATURES, 9, CLASSES, depth=2, t=300.0).eval(), edges())
    check(model, random_masks(model, 0.8), backend, tolerance=1e-4)


@backends
def test_scores_far_apart(backend: str) -> None:
    for factor in (1.0, 4.0, 100.0):
        made = net("gat", 2)
        with torch.no_grad():
            for conv in made.convs:
                conv.att_src.mul_(factor)
                conv.att_dst.mul_(factor)
        model = GraphModel(made, edges())
        check(model, random_masks(model, 0.8), backend, tolerance=1e-5 * max(1, factor / 10))


@backends
def test_layers_with_two_maps_and_an_own_share(backend: str) -> None:
    from glt.convs import GINConv

    for aggregation in ("sum", "max"):
        made = GIN(FEATURES, 9, CLASSES, depth=2, norm="batch", bias=True).eval()
        made.convs[0] = GINConv(FEATURES, 9, hidden=7, aggregation=aggregation, eps=0.3, bias=True)
        model = GraphModel(made, edges())
        check(model, random_masks(model), backend)


def test_what_takes_the_place_of_a_missing_back_end_is_named() -> None:
    gat = GraphModel(net("gat", 2), edges())
    assert "torch attention" in check(gat, Masks(), "scipy").choices
    assert "numba attention" in check(gat, Masks(), "numba").choices
    sage = GraphModel(SAGE(FEATURES, 4, CLASSES, aggregation="max").eval(), edges(weighted=True))
    assert "torch maximum dense" in check(sage, Masks(), "numba").choices


def test_nothing_of_the_callers_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NETWORKS:
        model = GraphModel(net(name, 2, norm="layer"), edges())
        x, before = torch.randn(NODES, FEATURES), {key: value.clone() for key, value in model.state_dict().items()}
        kept = x.clone()
        Inference(model, random_masks(model))(x)
        assert torch.equal(x, kept)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
