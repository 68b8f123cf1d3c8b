"""What half an edge means: literal cases, the two ends of the scale, continuity, gradients."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from glt.adjacency import Adjacency, Pattern
from glt.convs import GATConv, GCNConv, GENConv, GINConv, SAGEConv, SGConv, aggregate, edge_softmax
from glt.convs import gen as gen_module

# node 0 hears 1, 2 and 3; node 1 hears 2; nobody is heard by 2 and 3
SOURCE, TARGET = [1, 2, 3, 2], [0, 0, 0, 1]
X = torch.tensor([[0.0], [5.0], [-1.0], [2.0]])

OPERATORS: dict[str, Callable[[], Callable[[Tensor, Adjacency], Tensor]]] = {
    "sum": lambda: lambda x, a: aggregate(a, x, "sum"),
    "mean": lambda: lambda x, a: aggregate(a, x, "mean"),
    "max": lambda: lambda x, a: aggregate(a, x, "max"),
    "gcn": lambda: GCNConv(3, 2),
    "sgc": lambda: SGConv(3, 2, hops=2),
    "gat": lambda: GATConv(3, 2, heads=2),
    "gin": lambda: GINConv(3, 2, hidden=4),
    "sage": lambda: SAGEConv(3, 2),
    "gen": lambda: GENConv(3, t=0.7),
    "gen, cold": lambda: GENConv(3, t=500.0),
}
every = pytest.mark.parametrize("name", OPERATORS)


def operator(name: str) -> Callable[[Tensor, Adjacency], Tensor]:
    torch.manual_seed(1)
    made = OPERATORS[name]()
    return made.double() if isinstance(made, nn.Module) else made


def star(*weights: float) -> Adjacency:
    return Adjacency(Pattern(torch.tensor([SOURCE, TARGET]), 4), torch.tensor(weights))


def random_graph(seed: int, nodes: int = 7) -> tuple[Pattern, Tensor, Tensor]:
    """A directed graph whose last node is isolated, features and weights well inside (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(nodes - 1, (2, 14), generator=generator).unique(dim=1)
    index = index[:, index[0] != index[1]]
    x = torch.randn(nodes, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(index.size(1), generator=generator, dtype=torch.float64) * 0.8 + 0.1
    return Pattern(index, nodes), x, weights


@pytest.mark.parametrize(
    ("how", "weights", "expected"),
    [
        ("sum", (1.0, 1.0, 1.0, 1.0), [6.0, -1.0]),
        ("sum", (0.5, 1.0, 0.0, 1.0), [1.5, -1.0]),
        ("mean", (1.0, 1.0, 1.0, 1.0), [2.0, -1.0]),
        ("mean", (0.5, 1.0, 0.0, 0.5), [1.0, -0.5]),  # 1.5 / 1.5, and half of a neighbour alone
        ("max", (1.0, 1.0, 1.0, 1.0), [5.0, -1.0]),
        ("max", (0.0, 1.0, 1.0, 0.0), [2.0, 0.0]),
        ("max", (0.5, 1.0, 0.5, 0.5), [2.75, -0.5]),  # 5/2 + 2/4 - 1/4
    ],
)
def test_half_an_edge_by_hand(how: str, weights: tuple[float, ...], expected: list[float]) -> None:
    assert aggregate(star(*weights), X, how).squeeze(1).tolist() == pytest.approx([*expected, 0.0, 0.0])


def test_half_an_edge_has_half_the_softmax_mass() -> None:
    logits = torch.log(torch.tensor([[1.0], [2.0], [4.0], [7.0]]))
    found = edge_softmax(star(1.0, 0.5, 0.0, 0.25), logits).squeeze(1)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5, 0.0, 1.0]))


def test_softmax_survives_extreme_and_dead_logits() -> None:
    logits = torch.tensor([[-900.0], [-901.0], [900.0], [3.0]], requires_grad=True)
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0], requires_grad=True)
    found = edge_softmax(Adjacency(star(1, 1, 1, 1).pattern, weights), logits)
    expected = torch.softmax(torch.tensor([-900.0, -901.0]), 0)
    torch.testing.assert_close(found.squeeze(1), torch.cat([expected, torch.zeros(2)]))
    grads = torch.autograd.grad(found[0].sum(), [logits, weights])
    assert all(bool(g.isfinite().all()) for g in grads)
    assert grads[0][2].item() == 0.0


def test_weights_below_zero_are_absent_where_they_would_divide() -> None:
    logits = torch.zeros(4, 1)
    assert edge_softmax(star(1.0, -1.0, -0.5, -1.0), logits).squeeze(1).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert aggregate(star(-1.0, 1.0, 1.0, -1.0), X, "max").squeeze(1).tolist() == [2.0, 0.0, 0.0, 0.0]
    assert aggregate(star(-1.0, 1.0, 1.0, -1.0), X, "mean").squeeze(1).tolist() == [-4.0, 1.0, 0.0, 0.0]


@every
@given(seed=st.integers(0, 10**6))
def test_zero_is_the_pruned_graph_and_one_the_full_one(name: str, seed: int) -> None:
    layer = operator(name)
    pattern, x, weights = random_graph(seed)
    kept = weights > 0.5
    pruned = Pattern(torch.stack([pattern.source, pattern.target])[:, kept], 7)
    expected = layer(x, Adjacency(pruned, torch.ones(int(kept.sum()), dtype=torch.float64)))
    for learned in (True, False):
        values = kept.double().requires_grad_(learned)
        torch.testing.assert_close(layer(x, Adjacency(pattern, values)), expected)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "gen, cold"])  # there 1e-9 can still be much
@given(seed=st.integers(0, 10**6))
def test_an_edge_that_fades_becomes_a_pruned_one(name: str, seed: int) -> None:
    """Also the last edge of a node, where an average that always adds up to one would jump."""
    layer = operator(name)
    pattern, x, weights = random_graph(seed)
    kept = weights > 0.5
    gone, nearly = (torch.where(kept, weights, torch.full_like(weights, rest)) for rest in (0.0, 1e-9))
    torch.testing.assert_close(
        layer(x, Adjacency(pattern, nearly)), layer(x, Adjacency(pattern, gone)), atol=1e-5, rtol=0
    )


@every
@pytest.mark.parametrize("seed", [0, 3])
def test_gradients_of_features_weights_and_edge_weights(name: str, seed: int) -> None:
    layer = operator(name)
    pattern, x, weights = random_graph(seed)
    parameters = dict(layer.named_parameters()) if isinstance(layer, nn.Module) else {}

    def output(x: Tensor, weights: Tensor, *values: Tensor) -> Tensor:
        adjacency = Adjacency(pattern, weights)
        if not isinstance(layer, nn.Module):
            return layer(x, adjacency)
        found: Tensor = torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x, adjacency))
        return found

    inputs = [t.detach().clone().requires_grad_() for t in (x, weights, *parameters.values())]
    assert torch.autograd.gradcheck(output, inputs, eps=1e-6, atol=1e-5)


def test_the_gradient_of_a_pruned_edge_is_what_adding_it_would_do() -> None:
    layer = operator("gat")
    pattern, x, weights = random_graph(5)
    weights[:3] = 0
    values = weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(x, Adjacency(pattern, values)).square().sum(), values)
    with torch.no_grad():
        before = layer(x, Adjacency(pattern, weights)).square().sum()
        for edge in range(3):
            step = weights.clone()
            step[edge] = 1e-6
            change = layer(x, Adjacency(pattern, step)).square().sum() - before
            assert float(slope[edge]) == pytest.approx(float(change) / 1e-6, abs=1e-4)
    assert float(slope[:3].abs().min()) > 1e-3


@pytest.mark.parametrize("semi_grad", [True, False])
def test_one_shift_a_channel_and_one_a_node_agree(semi_grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = GENConv(3, t=3.0, semi_grad=semi_grad).double()
    pattern, x, weights = random_graph(2)
    found = []
    for widest in (100.0, 0.0):
        monkeypatch.setattr(gen_module, "_EXPONENTS", widest)
        inputs = [x.clone().requires_grad_(), weights.clone().requires_grad_()]
        out = layer(inputs[0], Adjacency(pattern, inputs[1]))
        found.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for by_node, by_edge in zip(*found, strict=True):
        torch.testing.assert_close(by_node, by_edge)
