"""DGLT: what pooling says of edges on graphs drawn by hand, mass that stays, weights outside that fade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from glt.config import Dual, Find
from glt.edges import Edges
from glt.methods._pooling import Pooling, aggregated
from glt.methods.dual import dual
from glt.methods.search import Choice, Search
from glt.models import EDGES

Make = Callable[..., Search]


def pooling(pairs: dict[tuple[int, int], float], nodes: int) -> tuple[Pooling, Edges, torch.Tensor]:
    """Of an undirected graph, given as pairs with their scores."""
    ends = torch.tensor([[a, b] for a, b in pairs] + [[b, a] for a, b in pairs]).T
    edges = Edges(ends, nodes)
    score = torch.tensor([pairs[min(e), max(e)] for e in map(tuple, edges.edge_index.T.tolist())])
    return Pooling(edges, torch.Generator().manual_seed(0)), edges, score


def order(edges: Edges, rank: torch.Tensor) -> list[tuple[int, int]]:
    """The pairs in the order in which they are condensed."""
    found = sorted(zip(rank.tolist(), edges.edge_index.T.tolist(), strict=True))
    return [(a, b) for _, (a, b) in found if a < b]


def test_two_levels_of_a_small_graph_by_hand() -> None:
    """Two squares, 0123 and 4567, each with a diagonal, and two edges between them."""
    left = {(0, 1): 0.9, (1, 2): 0.3, (2, 3): 0.8, (0, 3): 0.4, (0, 2): 0.5}
    right = {(4, 5): 0.95, (5, 6): 0.35, (6, 7): 0.85, (4, 7): 0.45, (4, 6): 0.55}
    pool, edges, score = pooling(left | right | {(3, 4): 0.1, (2, 5): 0.2}, 8)
    live = torch.ones_like(score, dtype=torch.bool)
    first = order(edges, pool.level(score, live))
    assert pool.cluster.unique().numel() == 4
    # beside a better one between the same two clusters; then the last of these; then the bonds
    assert first == [
        (3, 4), (1, 2), (5, 6), (0, 3), (4, 7), (2, 5), (0, 2), (4, 6), (2, 3), (6, 7), (0, 1), (4, 5)
    ]  # fmt: skip
    second = order(edges, pool.level(score, live))
    assert pool.cluster.unique().numel() == 2
    # within a cluster without having joined it; beside a better one; between; bonds
    assert second == [
        (1, 2), (5, 6), (0, 3), (4, 7), (3, 4), (2, 5), (0, 2), (4, 6), (2, 3), (6, 7), (0, 1), (4, 5)
    ]  # fmt: skip


def test_edges_within_a_cluster_go_before_less_alike_ones_between_clusters() -> None:
    pool, edges, score = pooling({(0, 1): 0.9, (1, 2): 0.7, (2, 3): 0.8, (0, 2): 0.6, (3, 4): 0.1}, 5)
    live = torch.ones_like(score, dtype=torch.bool)
    assert order(edges, pool.level(score, live))[0] == (0, 2)  # beside the better 1-2
    assert order(edges, pool.level(score, live)) == [(0, 2), (3, 4), (1, 2), (2, 3), (0, 1)]
    assert pool.cluster.unique().numel() == 2
    dead = live & ~((edges.edge_index == 4).any(0))
    assert pool.level(score, dead) is not None
    assert pool.cluster.unique().numel() == 2  # a dead edge joins nothing


def test_a_level_matches_as_long_as_there_is_anything_to_match_even_on_a_path_of_equals() -> None:
    nodes = 3001
    pool, _, score = pooling({(i, i + 1): 0.5 for i in range(nodes - 1)}, nodes)
    pool.level(score, torch.ones_like(score, dtype=torch.bool))
    sizes = torch.bincount(pool.cluster)
    assert int(sizes.max()) == 2
    alone = (sizes == 1).nonzero().squeeze(1)
    assert int(alone.diff().min()) > 1  # no two neighbours are left alone


def test_survivors_take_over_what_both_ends_condense() -> None:
    edges = Edges(torch.tensor([[0, 0, 0, 1, 1, 2, 3, 2], [1, 2, 3, 0, 2, 0, 0, 1]]), 4)  # 0-1, 0-2, 0-3, 1-2
    kept = torch.tensor([bool({a, b} in ({0, 1}, {0, 3})) for a, b in edges.edge_index.T.tolist()])
    found = aggregated(edges.edge_index, 4, kept)
    of = {tuple(e): w for e, w in zip(edges.edge_index.T.tolist(), found.tolist(), strict=True)}
    assert (of[0, 1], of[1, 0]) == (1.75, 1.75)  # (3 / 2 + 2 / 1) / 2
    assert (of[0, 3], of[3, 0]) == (1.25, 1.25)  # (3 / 2 + 1 / 1) / 2
    assert (of[0, 2], of[1, 2]) == (0.0, 0.0)
    assert found.sum() == 8 - 2  # node 2 keeps none of its two


def transformed(search: Make, config: Find, **settings: object) -> Choice:
    """The choice of the sparsest rung."""
    *_, last = dual(search(replace(config, dual=Dual(**settings))))
    return last


def test_the_weights_of_the_ticket_are_random_and_nested(search: Make, config: Find) -> None:
    short = list(dual(search(replace(config, dual=Dual(epochs=4)))))
    longer = list(dual(search(replace(config, dual=Dual(epochs=9)))))
    for one, other in zip(short, longer, strict=True):
        assert one.masks.only("net.*").distance(other.masks.only("net.*")) == 0
    assert all(bool((short[1].masks[n] <= short[0].masks[n]).all()) for n in short[0].masks if n != EDGES)


def test_what_is_outside_the_ticket_fades_only_under_the_penalty(search: Make, config: Find) -> None:
    grown = transformed(search, config, epochs=150)
    free = transformed(search, config, epochs=150, step=1e-9, ceiling=1e-9)
    assert grown.about["left"] < 0.02 < 0.2 < free.about["left"]
    assert grown.about["strength"] == 10.0
    for found in (grown, free):
        outside = [found.weights[n][~mask].abs().max().item() for n, mask in found.masks.only("net.*").items()]
        assert max(outside) == pytest.approx(found.about["left"])
    inside = grown.masks["net.convs.0.lin.weight"]
    initial = search(config).build().state_dict()["net.convs.0.lin.weight"]
    assert not torch.equal(grown.weights["net.convs.0.lin.weight"][inside], initial[inside])


def test_edges_leave_level_by_level_and_their_weight_stays(search: Make, config: Find) -> None:
    found = transformed(search, config, epochs=8)
    weight, mask = found.weights[EDGES], found.masks[EDGES]
    assert torch.equal(weight != 0, mask)
    fed = torch.zeros(60, dtype=torch.bool)
    edges = search(config).build().edges
    fed[edges.edge_index[0, mask]] = True
    assert weight.sum().item() == pytest.approx(float(fed[edges.edge_index[0]].sum()))
    assert 60 / 8 <= found.about["clusters"] < 60 / 4
    plain = transformed(search, config, epochs=8, aggregate=False).weights[EDGES]
    assert set(plain.tolist()) == {0.0, 1.0}
    assert transformed(search, config, epochs=8, levels=1).about["clusters"] >= 30
    hasty = transformed(search, config, epochs=1)  # all levels before the one epoch
    assert hasty.about["clusters"] < 60 / 2
    assert edges.count(hasty.masks[EDGES])["kept"] == round(0.64 * edges.count()["total"])
