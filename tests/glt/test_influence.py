"""Influence of edges: the Fisher information written out, and what taking one away really changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glt.config import Find, preset
from glt.graph import Graph
from glt.influence import influence
from glt.methods.default import edge_scores
from glt.methods.search import Search
from glt.models import GraphModel
from glt.tasks import NodeClassification
from glt.trial import build


def exact(model: GraphModel, task: NodeClassification) -> Tensor:
    """A gradient a node and class, weighed by the class's probability."""
    model.edges.weight.requires_grad_(True)
    logits = task.node_outputs(model)
    likely, total = logits.softmax(1).detach(), torch.zeros_like(model.edges.weight)
    for node, row in enumerate(logits.log_softmax(1)):
        for kind, value in enumerate(row):
            total += likely[node, kind] * torch.autograd.grad(value, model.edges.weight, retain_graph=True)[0] ** 2
    return total


@pytest.mark.parametrize("name", ["gcn", "gat"])
def test_influence_is_the_diagonal_of_the_fisher_information(graph: Graph, config: Find, name: str) -> None:
    task, model = NodeClassification(graph), build(graph, preset(replace(config, model=name)), 0)
    found, expected = influence(model, task, draws=3000, seed=1), exact(model, task)
    assert (found - expected).abs().max() < 0.1 * expected.max()
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99
    assert torch.equal(found, influence(model, task, draws=3000, seed=1))


def test_a_smaller_weight_of_an_edge_changes_predictions_by_half_its_influence(graph: Graph, config: Find) -> None:
    task, model = NodeClassification(graph), build(graph, config, 0)
    expected, before = exact(model, task), task.outputs(model).double().log_softmax(1)
    for edge in expected.argsort(descending=True)[:3].tolist():
        with torch.no_grad():
            model.edges.weight[edge] -= 0.05
            after = task.outputs(model).double().log_softmax(1)
            model.edges.weight[edge] += 0.05
        changed = (before.exp() * (before - after)).sum()
        assert changed.item() == pytest.approx(expected[edge].item() / 2 * 0.05**2, rel=0.15)


def test_the_model_is_left_as_it_was(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    needed = model.edges.weight.requires_grad
    influence(model, NodeClassification(graph), draws=2)
    assert model.training
    assert model.edges.weight.requires_grad == needed
    assert all(param.grad is None for param in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_edges_within_stars_come_before_influence(search: Callable[..., Search], config: Find) -> None:
    config = replace(config, default=replace(config.default, agreement=0.12))
    model, searched = search(config).build(), search(config)
    scores = edge_scores(model, searched)
    said = influence(model, searched.task, draws=config.default.draws, seed=searched.seed)
    hangs = scores > 1
    assert 0 < int(hangs.sum()) < hangs.numel()
    both = torch.zeros(int(model.edges.pair.max()) + 1).index_add_(0, model.edges.pair, said)[model.edges.pair]
    assert torch.equal(scores[~hangs].argsort(stable=True), both[~hangs].argsort(stable=True))


def test_edges_of_withheld_nodes_are_judged_as_they_arrive(search: Callable[..., Search], config: Find) -> None:
    """By the same network they get the same scores, though training may not see them."""
    model = search(config).build()
    withheld = replace(config, task=replace(config.task, inductive=True))
    assert torch.equal(edge_scores(model, search(withheld)), edge_scores(model, search(config)))
    assert not torch.equal(
        search(withheld).task.node_outputs(model), search(config).task.node_outputs(model)
    )  # as training sees it


def test_both_directions_of_an_edge_have_one_score(search: Callable[..., Search], config: Find) -> None:
    model = search(config).build()
    scores = edge_scores(model, search(config))
    reverse = {(s, t): value for s, t, value in zip(*model.edges.edge_index.tolist(), scores.tolist(), strict=True)}
    assert all(reverse[t, s] == value for (s, t), value in reverse.items())
    assert scores.min() > 0
