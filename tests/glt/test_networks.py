"""All networks alike: trimming, masks, layer-wise edges, permutations, settings, tickets."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from common.apply import gated, masked
from common.gates import Soft
from common.masks import Masks, prunable
from common.runs.errors import UsageError
from glt.config import Find, Network, preset
from glt.data import Graph, load
from glt.edges import Edges
from glt.features import Features
from glt.ladder import climb
from glt.layer_edges import LayerEdges
from glt.models import EDGES, GAT, GCN, NETWORKS, SAGE, GraphModel, ResGCN, network
from glt.presets import SETTINGS
from glt.trial import build

every = pytest.mark.parametrize("model", NETWORKS)
NODES = 60


def settings(model: str, *, depth: int = 3, **changes: object) -> Network:
    small = {"hidden": 5, "heads": 2, "dropout": 0.5, "norm": "batch", "aggregation": "max"} | changes
    return Network(depth=depth, **{name: small[name] for name in SETTINGS[model]})


def net(model: str, *, depth: int = 3, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    made = network(model, 6, 2, settings(model, depth=depth, **changes)).eval()
    for name, buffer in made.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.02, 0.2)
    return made


def same(one: list[Tensor], other: list[Tensor], *, tolerance: float = 1e-5) -> None:
    for mine, expected in zip(one, other, strict=True):
        torch.testing.assert_close(mine, expected, atol=tolerance, rtol=tolerance)


@every
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_rows_alone_equal_rows_of_all(graph: Graph, model: str, depth: int, training: bool) -> None:
    """Also while batch normalisation trains, whose statistics are of all nodes."""
    whole = GraphModel(net(model, depth=depth, dropout=0.0).train(training), Edges(graph.edge_index, NODES))
    whole.edges.weight.requires_grad_()
    rows = torch.tensor([40, 3, 17])
    wanted = list(whole.parameters())
    for x in (graph.x, Features(graph.x * (graph.x > 1.5))):
        some, all_of_them = whole(x, rows), whole(x)[rows]
        torch.testing.assert_close(some, all_of_them, atol=1e-5, rtol=1e-5)
        grads = [torch.autograd.grad(out.square().sum(), wanted, materialize_grads=True) for out in (some, all_of_them)]
        same(*grads, tolerance=1e-4)


@every
def test_all_edges_masked_is_the_same_network_on_the_edgeless_graph(graph: Graph, model: str) -> None:
    pruned = GraphModel(net(model), Edges(graph.edge_index, NODES))
    edgeless = GraphModel(pruned.net, Edges(graph.edge_index[:, :0], NODES))
    nothing = Masks({EDGES: torch.zeros(graph.edge_index.size(1), dtype=torch.bool)})
    for context in (masked(pruned, nothing), gated(pruned, nothing, Soft)):
        with context, torch.no_grad():
            found = pruned(graph.x)
        torch.testing.assert_close(found, edgeless(graph.x), atol=1e-5, rtol=0)


@every
def test_a_mask_on_edges_is_the_pruned_graph(graph: Graph, model: str) -> None:
    edges = Edges(graph.edge_index, NODES)
    kept = edges.pair % 3 > 0
    one = GraphModel(net(model), edges)
    expected = GraphModel(one.net, Edges(edges.edge_index[:, kept], NODES))(graph.x)
    with masked(one, Masks({EDGES: kept})), torch.no_grad():
        torch.testing.assert_close(one(graph.x), expected, atol=1e-5, rtol=1e-5)


@every
@given(seed=st.integers(0, 10**6))
def test_renumbering_the_nodes_renumbers_the_logits(model: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(8, (2, 20), generator=generator)
    x, place = torch.randn(9, 6, generator=generator), torch.randperm(9, generator=generator)
    made = net(model)
    there = torch.empty_like(x)
    there[place] = x
    found = GraphModel(made, Edges(place[index], 9))(there)
    torch.testing.assert_close(found[place], GraphModel(made, Edges(index, 9))(x), atol=1e-4, rtol=1e-4)


@every
@pytest.mark.parametrize("learned", [True, False])
def test_layers_may_have_their_own_edges(graph: Graph, model: str, learned: bool) -> None:
    made, edges = net(model), LayerEdges(graph.edge_index, NODES, 3)
    same_everywhere = GraphModel(made, edges)(graph.x)
    torch.testing.assert_close(same_everywhere, GraphModel(made, Edges(graph.edge_index, NODES))(graph.x))
    with torch.no_grad():
        for layer in range(3):
            edges.weight[layer, edges.pair[0] % 3 == layer] = 0
    edges.weight.requires_grad_(learned)
    each = [Edges(edges.edge_index[:, row != 0], NODES) for row in edges.weight]
    expected = made(graph.x, [one() for one in each])
    torch.testing.assert_close(GraphModel(made, edges)(graph.x), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, same_everywhere, atol=1e-3)
    rows = torch.tensor([50, 7])
    torch.testing.assert_close(GraphModel(made, edges)(graph.x, rows), expected[rows], atol=1e-5, rtol=1e-5)


@every
def test_adjacencies_must_be_one_or_one_a_layer(graph: Graph, model: str) -> None:
    adjacency = Edges(graph.edge_index, NODES)()
    with pytest.raises(ValueError, match="found 2 adjacencies for 3 layers; expected one for all layers or one a"):
        net(model)(graph.x, [adjacency, adjacency])


@every
def test_thirty_two_layers_train(graph: Graph, model: str) -> None:
    deep = GraphModel(net(model, depth=32, dropout=0.2).train(), Edges(graph.edge_index, NODES))
    deep.edges.weight.requires_grad_()
    deep(graph.x).square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in deep.parameters())
    assert float(deep.edges.weight.grad.abs().sum()) > 0


@every
@pytest.mark.parametrize("method", ["ugs", "random"])
def test_the_ladder_climbs_on_every_model(graph: Graph, config: Find, model: str, method: str) -> None:
    config = preset(replace(config, model=model, method=method, network=Network(**changed(model))))
    rungs = list(climb(graph, config, 0))
    ticket = rungs[-1].ticket
    assert rungs[-1].counts["edges"]["kept"] == round(0.64 * rungs[-1].counts["edges"]["total"])
    assert rungs[-1].counts["weights"]["kept"] == round(0.25 * rungs[-1].counts["weights"]["total"])
    initial = build(graph, config, 0)
    assert set(ticket.masks) == {EDGES, *prunable(initial)}
    assert {name for name in ticket.masks if name.startswith("net.")} == {
        f"net.{name}" for name, p in initial.net.named_parameters() if p.dim() >= 2
    }
    for name, mask in ticket.masks.items():
        assert torch.equal(ticket.weights[name][mask], initial.state_dict()[name][mask])
    assert set(rungs[-1].controls) == {"random", "reinit", "edges"}


def changed(model: str) -> dict[str, object]:
    return {"hidden": 8} if "hidden" in SETTINGS[model] else {}


def test_attention_weights_of_all_heads_are_prunable() -> None:
    found = {name: tuple(p.shape) for name, p in prunable(GAT(6, 4, 2, heads=3)).items()}
    assert found == {
        "convs.0.att_src": (1, 3, 4), "convs.0.att_dst": (1, 3, 4), "convs.0.lin.weight": (12, 6),
        "convs.1.att_src": (1, 1, 2), "convs.1.att_dst": (1, 1, 2), "convs.1.lin.weight": (2, 12),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "found", "message"),
    [
        (
            "gcn",
            Network(8, dropout=0.5, norm="none", heads=2),
            "--network.heads 2 means nothing to --model gcn; expected",
        ),
        ("sgc", Network(8), r"--network.hidden 8 means nothing to --model sgc; expected only --network.depth\. Leave"),
        ("gat", Network(8), r"network\.heads is not set; call glt\.config\.preset\(\)"),
    ],
)
def test_settings_that_a_model_does_not_have_are_refused(model: str, found: Network, message: str) -> None:
    if "not set" in message:
        found = replace(found, dropout=0.5, norm="none")
    with pytest.raises(UsageError, match=message):
        network(model, 6, 2, found)


def test_published_code_is_repeated_for_gcn_alone() -> None:
    with pytest.raises(UsageError, match="has only gcn; found --model sgc"):
        network("sgc", 6, 2, Network(), exact_rng=True)


def test_presets_by_model_and_data_set() -> None:
    def filled(dataset: str, model: str) -> Find:
        return preset(Find(dataset, model=model))

    assert filled("cora", "gcn").network == Network(512, 2, 0.5, norm="none")
    assert filled("digits", "gin").network == Network(128, 2, 0.5, norm="none", aggregation="mean")
    assert filled("pubmed", "gat").network == Network(8, 2, 0.5, heads=8, norm="none")
    assert filled("pubmed", "gat").ugs.l1_edges == 1e-2
    assert filled("citeseer", "gin").ugs.l1_weights == 1e-5
    assert filled("cora", "deepergcn").network == Network(128, 2, 0.5, norm="batch")
    assert filled("cora", "sgc").network == Network()
    assert all(preset(filled("cora", model)) == filled("cora", model) for model in NETWORKS)


@pytest.mark.parametrize("kind", [GCN, SAGE, ResGCN])
def test_an_unknown_norm_names_the_known_ones(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="norm must be 'none', 'batch' or 'layer'; found 'group'"):
        kind(6, 5, 2, norm="group")


@pytest.mark.data
def test_gat_on_cora_without_edges_is_gat_on_the_edgeless_graph() -> None:
    cora = load("cora")
    model = build(cora, preset(Find("cora", model="gat")), 0).eval()
    edgeless = GraphModel(model.net, Edges(cora.edge_index[:, :0], cora.x.size(0)))
    nothing = torch.zeros_like(model.edges.weight, dtype=torch.bool)
    x = Features(cora.x)
    with torch.no_grad():
        full, expected = model(x), edgeless(x)
        with masked(model, Masks({EDGES: nothing})):
            torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=0)
    assert float((full - expected).abs().max()) > 1e-2
