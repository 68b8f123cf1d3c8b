"""GEBT: when a ticket emerges, from which weights it starts, and the updates of ADMM by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from common.masks import Masks
from common.ticket import Ticket
from glt.config import EarlyBird, Find, Network, preset
from glt.data import load
from glt.methods.earlybird import Graph, earlybird
from glt.methods.search import Choice, Search
from glt.models import EDGES
from glt.trial import build, densities, task_of

Make = Callable[..., Search]


def drawn(search: Make, config: Find, **settings: float) -> Choice:
    """The choice of the sparsest rung."""
    *_, last = earlybird(search(replace(config, earlybird=EarlyBird(**settings))))
    return last


def test_the_ticket_is_that_of_the_first_settled_epoch(search: Make, config: Find) -> None:
    found = drawn(search, config, epochs=60, threshold=0.3, edges_lr=0.01)
    emerged = found.about["emerged"]
    assert 5 < emerged < 60
    assert list(found.about["distances"]) == ["network", "graph"]
    assert sum(found.about["distances"].values()) / 2 < 0.3
    before = drawn(search, config, epochs=emerged - 1, threshold=0.3, edges_lr=0.01)
    same = drawn(search, config, epochs=emerged, threshold=0, edges_lr=0.01)  # no threshold: the last epoch's
    assert (before.about["emerged"], before.about["epochs"]) == (None, emerged - 1)
    assert same.about["emerged"] is None
    assert found.masks.distance(same.masks) == 0
    assert all(torch.equal(tensor, same.weights[name]) for name, tensor in found.weights.items())
    assert not torch.equal(found.weights["net.convs.0.lin.weight"], before.weights["net.convs.0.lin.weight"])


def test_no_ticket_is_drawn_in_the_first_epochs(search: Make, config: Find) -> None:
    assert drawn(search, config, threshold=1.0, epochs=30).about["emerged"] == 6
    assert drawn(search, config, threshold=1.0, epochs=30, after=11).about["emerged"] == 12


def test_weights_are_those_of_the_epoch_pruned_and_edges_weigh_one(search: Make, config: Find) -> None:
    found = drawn(search, config, epochs=8)
    initial = search(config).build().state_dict()
    for name, mask in found.masks.only("net.*").items():
        assert torch.equal(found.weights[name] != 0, mask)
        assert not torch.equal(found.weights[name][mask], initial[name][mask])
    assert bool((found.weights[EDGES] == 1).all())


def test_admm_by_hand(search: Make, config: Find) -> None:
    """A heavy penalty pushes what the target lacks by the learning rate a step, in either direction alike."""
    config = replace(config, earlybird=EarlyBird(rho=1e9, edges_lr=0.01))
    where = search(config)
    model = where.build()
    graph = Graph(where, 0, model)
    kept = round(0.8 * model.edges.count()["total"])
    start, first = graph.values.detach().clone(), graph.target.clone()
    assert (first != 0).sum() == 2 * kept
    assert torch.equal(first[first != 0], start[first != 0])
    graph.step()
    after, missing = graph.values.detach(), first == 0
    torch.testing.assert_close(after[missing], start[missing] - 0.01)
    assert torch.equal(after, after[model.edges.reverse])
    assert torch.equal(graph.target, graph.sparse(after))  # the dual was zero
    assert torch.equal(graph.dual, after - graph.target)
    after, dual = after.clone(), graph.dual.clone()
    graph.step()
    assert torch.equal(graph.target, graph.sparse(graph.values.detach() + dual))
    assert torch.equal(graph.dual, dual + graph.values.detach() - graph.target)
    assert not torch.equal(graph.target != 0, first != 0)  # what was left out has a dual of one by now, and is back


def test_only_the_network_settles_where_edges_are_given(search: Make, config: Find) -> None:
    keep = search(config).build().edges.pair % 3 > 0
    for choice in earlybird(search(config, edges=[keep, keep])):
        assert list(choice.about["distances"]) == ["network"]
        assert torch.equal(choice.masks[EDGES], keep)


@pytest.mark.data
def test_a_ticket_emerges_on_cora_within_the_published_epochs() -> None:
    """Of 100 epochs the paper names 9 to 26; 20 % of the edges and 50 % of the weights go."""
    network = Network(hidden=16)
    config = preset(Find("cora", method="earlybird", rounds=1, edges_density=0.8, weights_density=0.5, network=network))
    graph = load("cora")
    whole = Ticket(Masks(), {})
    where = Search(
        config, task_of(graph, config), lambda: build(graph, config, 0), densities(config)[1:], whole, Masks(), 0
    )
    (found,) = earlybird(where)
    assert 9 <= found.about["emerged"] <= 26
    assert found.masks.only("net.*").kept == round(0.5 * (1433 * 16 + 16 * 7))
