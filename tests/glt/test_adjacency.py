"""Sparse propagation and its two gradients, against dense matrices and torch-geometric."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glt.adjacency import Adjacency, Pattern, propagate
from glt.features import Features


def random_graph(nodes: int, edges: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(nodes, (2, edges), generator=generator).unique(dim=1)


def dense(pattern: Pattern, values: torch.Tensor) -> torch.Tensor:
    """The matrix M with M[target, source] = value."""
    matrix = values.new_zeros(pattern.size)
    return matrix.index_put((pattern.target, pattern.source), values)


@settings(max_examples=25, deadline=None)
@given(nodes=st.integers(1, 12), edges=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_propagation_and_gradients_equal_the_dense_product(nodes: int, edges: int, seed: int) -> None:
    pattern = Pattern(random_graph(nodes, edges, seed), nodes)
    torch.manual_seed(seed)
    values = torch.randn(pattern.source.numel(), dtype=torch.float64, requires_grad=True)
    x = torch.randn(nodes, 3, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(nodes, 3, dtype=torch.float64)
    ours = torch.autograd.grad((propagate(pattern, values, x) * upstream).sum(), [values, x])
    theirs = torch.autograd.grad(((dense(pattern, values) @ x) * upstream).sum(), [values, x])
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)


def test_gradients_of_gradients_equal_those_of_dense_products() -> None:
    """As scores by curvature take them, such as GraSP."""
    pattern = Pattern(random_graph(9, 30, 0), 9)
    torch.manual_seed(0)
    values, x = torch.randn(pattern.source.numel()).double(), torch.randn(9, 12).double()
    features = Features(torch.where(torch.rand(9, 12) < 0.03, x, 0.0))
    assert features.is_sparse
    weight = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    found = []
    for y in (
        propagate(pattern, values, features.linear(weight)),
        dense(pattern, values) @ (features.x @ weight.T),
    ):
        first = torch.autograd.grad(y.pow(3).sum(), weight, create_graph=True)[0]
        found.append(torch.autograd.grad(first.square().sum(), weight)[0])
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)


def test_a_message_flows_from_source_to_target() -> None:
    pattern = Pattern(torch.tensor([[0], [1]]), 2)
    assert propagate(pattern, torch.tensor([3.0]), torch.tensor([[1.0], [0.0]])).tolist() == [[0.0], [3.0]]


@pytest.mark.parametrize("degree", ["in", "out"])
def test_normalisation_is_differentiable_through_degrees(degree: str) -> None:
    edge_index = random_graph(6, 14, 3)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    pattern = Pattern(edge_index, 6)
    values = torch.rand(edge_index.size(1), dtype=torch.float64, requires_grad=True)

    def ours(v: torch.Tensor) -> torch.Tensor:
        hops = Adjacency(pattern, v).normalised(degree)
        return dense(hops.pattern, hops.values)

    def by_hand(v: torch.Tensor) -> torch.Tensor:
        matrix = dense(pattern, v) + torch.eye(6, dtype=torch.float64)
        scale = matrix.sum(1 if degree == "in" else 0).rsqrt()
        return scale[:, None] * matrix * scale[None, :]

    torch.testing.assert_close(ours(values), by_hand(values))
    weights = torch.randn(6, 6, dtype=torch.float64)
    mine = torch.autograd.grad((ours(values) * weights).sum(), values)
    expected = torch.autograd.grad((by_hand(values) * weights).sum(), values)
    torch.testing.assert_close(mine, expected)


def test_normalisation_equals_torch_geometric() -> None:
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    edge_index = random_graph(9, 30, 5)
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    values = torch.rand(edge_index.size(1)) + 0.1
    hops = Adjacency(Pattern(edge_index, 9), values).normalised("in")
    index, weight = gcn_norm(edge_index, values, num_nodes=9)
    expected = torch.zeros(9, 9).index_put((index[1], index[0]), weight)
    torch.testing.assert_close(dense(hops.pattern, hops.values), expected)


def test_an_unknown_degree_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'in' or 'out'"):
        Adjacency(Pattern(torch.tensor([[0], [1]]), 2), torch.ones(1)).normalised("both")


@pytest.mark.parametrize("share", [0.05, 0.9])
def test_features_multiply_alike_sparse_and_dense(share: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 30) * (torch.rand(20, 30) < share)
    features = Features(x)
    assert features.is_sparse == (share < 0.15)
    weight = torch.randn(4, 30, requires_grad=True)
    upstream = torch.randn(20, 4)
    mine = torch.autograd.grad((features.linear(weight) * upstream).sum(), weight)[0]
    torch.testing.assert_close(features.linear(weight), x @ weight.T)
    torch.testing.assert_close(mine, upstream.T @ x)


def test_rows_of_features_are_forgotten_with_their_index() -> None:
    features = Features(torch.eye(4))
    index = torch.tensor([2, 0])
    assert features.rows(index) is features.rows(index)
    torch.testing.assert_close(features.rows(index).x, torch.eye(4)[index])
    del index
    gc.collect()
    assert len(features._rows) == 0
