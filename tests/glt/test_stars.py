"""Stars: literal graphs, likeness and need, one edge a hanging node, either direction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glt.stars import stars

WHEEL = torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [2, 3], [3, 4]])  # a hub, two rim edges, a tail


def both(pairs: torch.Tensor) -> torch.Tensor:
    return torch.cat([pairs, pairs.flip(1)]).T


def test_the_hub_with_most_to_gain_comes_first_and_the_rest_hangs_where_it_can() -> None:
    value = stars(both(WHEEL), 5, torch.ones(12), torch.ones(5))
    assert value.tolist() == [1, 1, 1, 0, 0, 1] * 2  # 0 takes 1, 2, 3; then 3, or 4, takes what is left


def test_need_decides_between_hubs_and_orders_what_hangs() -> None:
    path = both(torch.tensor([[0, 1], [1, 2], [2, 3]]))
    value = stars(path, 4, torch.ones(6), torch.tensor([0.1, 1.0, 0.1, 0.5]))
    # node 2 gains 1.5 from 1 and 3, node 1 only 0.2; then 1 takes 0
    assert value[:3].tolist() == pytest.approx([0.1, 1.0, 0.5])


def test_unlike_neighbours_are_never_joined() -> None:
    like = torch.tensor([0.9, 0.2, 0.9, 0.9, 0.9, 0.1] * 2)
    value = stars(both(WHEEL), 5, like, torch.ones(5), least=0.3)
    assert value[1] == 0
    assert value[5] == 0
    assert (value > 0).sum() % 2 == 0


def test_one_way_edges_count_as_edges() -> None:
    value = stars(WHEEL.T, 5, torch.ones(6), torch.ones(5))
    assert value.tolist() == [1, 1, 1, 0, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**31))
def test_every_node_with_a_like_neighbour_is_in_a_star_and_hangs_once(nodes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(np.triu(rng.random((nodes, nodes)) < 0.4, 1))
    like, need = rng.random(len(pairs)), rng.uniform(0.1, 1, nodes)
    edges = both(torch.from_numpy(pairs))
    value = stars(edges, nodes, torch.from_numpy(np.tile(like, 2)), torch.from_numpy(need)).numpy()
    assert np.array_equal(value[: len(pairs)], value[len(pairs) :])
    kept = value[: len(pairs)] > 0
    assert kept.sum() <= max(nodes - 1, 0)  # each edge hangs one node, and no node hangs twice: a forest
    reached = set(pairs[kept].ravel().tolist())
    assert reached == set(pairs[like > 0.3].ravel().tolist())
