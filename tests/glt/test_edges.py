"""Edges as a named tensor: order, pairs, self-loops, refusals."""

import pytest
import torch

from common.masks import Masks
from glt.edges import Edges, is_undirected

TRIANGLE = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])


def test_edges_are_row_major_and_pairs_share_an_id() -> None:
    edges = Edges(TRIANGLE, 3)
    assert edges.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert edges.pair.tolist() == [0, 1, 0, 2, 1, 2]
    assert edges.symmetric
    assert list(dict(edges.named_parameters())) == ["weight"]
    assert not edges.weight.requires_grad


def test_self_loops_and_duplicates_are_left_out() -> None:
    edges = Edges(torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, 1, 1]]), 2)
    assert edges.edge_index.tolist() == [[0, 1], [1, 0]]
    assert edges.count() == {"total": 1, "kept": 1}


def test_a_directed_graph_is_not_symmetric_and_refuses_to_be() -> None:
    one_way = torch.tensor([[0, 1], [1, 2]])
    assert not is_undirected(one_way, 3)
    assert not Edges(one_way, 3).symmetric
    with pytest.raises(ValueError, match="one-way"):
        Edges(one_way, 3, symmetric=True)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.tensor([[0, 5], [1, 0]]), ValueError, r"\[0, 2\] for 3 nodes; found values from 0 to 5"),
        (torch.tensor([[0, -1], [1, 0]]), ValueError, "found values from -1"),
        (torch.tensor([0, 1]), ValueError, r"shape \(2, E\)"),
        (torch.tensor([[0.0], [1.0]]), TypeError, "integers"),
    ],
)
def test_a_bad_edge_index_is_refused(bad: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Edges(bad, 3)


def test_zero_weights_are_no_edges() -> None:
    with pytest.raises(ValueError, match="weight 0 is no edge"):
        Edges(TRIANGLE, 3, torch.tensor([1.0, 1, 1, 1, 1, 0]))


def test_a_masked_pair_leaves_the_adjacency() -> None:
    edges = Edges(TRIANGLE, 3)
    full = edges()
    assert full is edges()
    edges.weight.data.masked_fill_(edges.pair == 1, 0)
    with torch.no_grad():
        edges.weight.mul_(1)  # any in-place write through autograd's eyes moves the version on
    assert edges().pattern.source.tolist() == [0, 1, 1, 2]
    assert edges.count(edges.weight != 0) == {"total": 3, "kept": 2}


def test_symmetric_values_are_the_mean_of_both_directions() -> None:
    edges = Edges(TRIANGLE, 3)
    edges.weight.requires_grad_(True)
    with torch.no_grad():
        edges.weight.copy_(torch.arange(1.0, 7.0))
    assert edges().values.tolist() == [2.0, 3.5, 2.0, 5.0, 3.5, 5.0]


def test_structure_ties_pairs_or_nothing() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
    groups, expand = Edges(TRIANGLE, 3).structure()(scores)
    assert groups.tolist() == [2.0, 4.0, 6.0]
    assert expand(torch.tensor([True, False, True])).tolist() == [True, False, True, True, False, True]
    alone, _ = Edges(TRIANGLE, 3, symmetric=False).structure()(scores)
    assert alone.tolist() == scores.tolist()


def test_the_fingerprint_knows_the_graph() -> None:
    mark = Edges(TRIANGLE, 3).fingerprint()
    assert mark == Edges(TRIANGLE.flip(1), 3).fingerprint()
    assert mark != Edges(TRIANGLE, 4).fingerprint()
    assert mark != Edges(TRIANGLE[:, [0, 1, 2, 3]], 3).fingerprint()


def test_masks_name_the_edges() -> None:
    edges = Edges(TRIANGLE, 3)
    assert Masks.dense({"edges.weight": edges.weight}).counts() == {"edges.weight": (6, 6)}
