"""Every search method: exact counts, pairs, its own choice or given edges, the same bits twice, no test labels."""

import re
from dataclasses import replace

import pytest
import torch

from common.masks import Masks, prunable
from common.recipe import references
from glt.config import Find, preset
from glt.data import Graph
from glt.ladder import climb
from glt.methods import METHODS
from glt.methods.search import Choice, Search, choose, function
from glt.models import EDGES
from glt.trial import build, densities, task_of

EVERY = pytest.mark.parametrize("method", METHODS)


def searching(graph: Graph, config: Find, method: str, edges: list[torch.Tensor] | None = None) -> list[Choice]:
    """The choices of a method on all rungs, without any training of tickets."""
    config = preset(replace(config, method=method))
    dense = next(iter(climb(graph, replace(config, rungs=[1]), 0))).ticket
    model = build(graph, config, 0)
    search = Search(
        config, task_of(graph, config), lambda: build(graph, config, 0), densities(config)[1:], dense,
        Masks.dense({EDGES: model.edges.weight, **prunable(model)}), 0, edges=edges,
    )  # fmt: skip
    return list(choose(method, search))


@EVERY
def test_counts_are_exact_and_pairs_whole(graph: Graph, config: Find, method: str) -> None:
    model = build(graph, preset(replace(config, method=method)), 0)
    pairs, weights = model.edges.count()["total"], 6 * 8 + 8 * 2
    found = searching(graph, config, method)
    for choice, density in zip(found, densities(config)[1:], strict=True):
        edges = choice.masks[EDGES]
        assert model.edges.count(edges)["kept"] == round(density[EDGES] * pairs)
        assert choice.masks.only("net.*").kept == round(density["net.*"] * weights)
        assert torch.equal(edges, edges[..., model.edges.reverse])


@EVERY
def test_given_edges_are_kept_and_weights_chosen_under_them(graph: Graph, config: Find, method: str) -> None:
    shape = build(graph, preset(replace(config, method=method)), 0).edges.pair
    keep = shape % 3 > 0
    found = searching(graph, config, method, edges=[keep, keep])
    assert all(torch.equal(choice.masks[EDGES], keep) for choice in found)
    total = 6 * 8 + 8 * 2
    kept = [round(density["net.*"] * total) for density in densities(config)[1:]]
    assert [choice.masks.only("net.*").kept for choice in found] == kept


@EVERY
def test_two_searches_agree_to_the_bit(graph: Graph, config: Find, method: str) -> None:
    one, other = searching(graph, config, method), searching(graph, config, method)
    assert all(a.masks.distance(b.masks) == 0 for a, b in zip(one, other, strict=True))


@EVERY
def test_no_choice_follows_from_test_labels(graph: Graph, config: Find, method: str) -> None:
    other = replace(graph, y=torch.where(graph.test, 1 - graph.y, graph.y))
    one, two = searching(graph, config, method), searching(other, config, method)
    assert all(a.masks.distance(b.masks) == 0 for a, b in zip(one, two, strict=True))


@EVERY
def test_every_method_names_its_paper(method: str) -> None:
    papers = references(function(method))
    assert papers
    assert all(re.search(r"\b20(1[89]|2[0-6])\b", paper) for paper in papers)
    assert function(method).__doc__
