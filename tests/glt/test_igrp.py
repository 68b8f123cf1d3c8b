"""IGRP: scores against plain autograd, shots in equal ratios, one budget across edges and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from common.masks import Masks, prunable
from common.scoped import seeded
from glt.config import IGRP, Find
from glt.data import Graph
from glt.methods import igrp as module
from glt.methods._epoch import epoch
from glt.methods.igrp import igrp, joint, ranked
from glt.methods.search import Search
from glt.models import EDGES
from glt.training import adam
from glt.trial import build, task_of

Make = Callable[..., Search]


def using(config: Find, **settings: object) -> Find:
    return replace(config, igrp=IGRP(**settings))


def by_hand(search: Search, edges: Tensor | float = 1.0) -> list[tuple[float, dict[str, Tensor]]]:
    """Validation accuracy and first-order scores of every epoch of a training on some of the edges."""
    model, found = search.build(), []
    model.edges.weight.data *= edges
    params = {EDGES: model.edges.weight, **prunable(model)}
    with seeded(search.seed):
        optimizer = adam([{"params": list(model.net.parameters())}], search.config.training)
        for _ in range(search.config.training.epochs):
            epoch(search, model, optimizer)
            value = search.task.evaluate(model)["val"]
            model.edges.weight.requires_grad_(True)
            grads = torch.autograd.grad(search.task.loss(model.eval()), list(params.values()))
            model.edges.weight.requires_grad_(False)
            found.append((value, {n: (p * g).abs().detach() for (n, p), g in zip(params.items(), grads, strict=True)}))
    return found


@pytest.mark.parametrize("top", [1, 3, 6, 99])
def test_scores_are_averaged_over_the_best_epochs_the_first_on_ties(search: Make, config: Find, top: int) -> None:
    where = search(replace(using(config, top=top), training=replace(config.training, epochs=12, lr=0.03)))
    epochs = by_hand(where)
    values = [value for value, _ in epochs]
    assert values.index(max(values)) > 0
    assert len(set(values)) < 12  # there are ties
    best = sorted(range(len(epochs)), key=lambda k: (-epochs[k][0], k))[:top]
    for name, score in ranked(where, where.last).items():
        expected = sum(epochs[k][1][name] for k in best) / len(best)
        torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-7)


def test_higher_orders_score_otherwise_and_pruned_entries_never_count(search: Make, config: Find) -> None:
    where = search(config)
    masks = Masks(where.last)
    masks[EDGES] = where.build().edges.pair % 3 > 0
    scores = [ranked(search(using(config, order=order)), masks) for order in (1, 2, 3)]
    for found in scores:
        assert bool((found[EDGES] == -torch.inf).eq(~masks[EDGES]).all())
    expected = torch.stack([each[EDGES] for _, each in by_hand(search(config), masks[EDGES])])
    one = ranked(search(using(config, top=99)), masks)[EDGES][masks[EDGES]]
    torch.testing.assert_close(one, expected.mean(0)[masks[EDGES]], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(scores[0]["net.convs.0.lin.weight"], scores[1]["net.convs.0.lin.weight"])
    assert not torch.allclose(scores[1]["net.convs.0.lin.weight"], scores[2]["net.convs.0.lin.weight"])


def test_shots_go_down_in_equal_ratios_each_from_the_initial_weights(
    search: Make, config: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Masks] = []

    def watched(part: Search, masks: Masks) -> dict[str, Tensor]:
        seen.append(masks)
        return ranked(part, masks)

    monkeypatch.setattr(module, "ranked", watched)
    where = search(using(config, shots=3))
    *_, choice = igrp(where)
    edges = where.build().edges
    total = edges.count()["total"]
    ladder = [*seen[3:], choice.masks]  # the second density: 0.64 of the edges, 0.25 of the weights
    assert [edges.count(m[EDGES])["kept"] for m in ladder] == [round(0.64 ** (k / 3) * total) for k in range(4)]
    assert [m.only("net.*").kept for m in ladder] == [round(0.25 ** (k / 3) * 64) for k in range(4)]
    assert all(bool((after[n] <= before[n]).all()) for before, after in pairwise(ladder) for n in after)


def test_one_budget_takes_the_best_of_pairs_and_weights(search: Make, config: Find) -> None:
    where = search(config)
    part = replace(where, densities=[{EDGES: 0.5, "net.*": 0.25}])
    pair = where.build().edges.pair
    pairs = int(pair.max()) + 1
    kept = round(0.5 * pairs) + round(0.25 * 64)
    weights = {n: torch.full(m.shape, 0.9) for n, m in where.last.items() if n != EDGES}
    masks = joint(part, {EDGES: 0.5 + 1e-4 * pair, **weights}, where.last)  # a pair sums up to 1 and more
    assert where.build().edges.count(masks[EDGES])["kept"] == min(pairs, kept)
    assert masks.only("net.*").kept == kept - min(pairs, kept)
    masks = joint(part, {EDGES: 0.4 + 1e-4 * pair, **weights}, where.last)  # and to 0.8 up to 0.9
    best = (2 * (0.4 + 1e-4 * torch.arange(pairs)) > 0.9).sum()
    assert best == 0
    assert masks.only("net.*").kept == 64
    assert where.build().edges.count(masks[EDGES])["kept"] == kept - 64
    assert set(pair[masks[EDGES]].tolist()) == set(range(pairs - kept + 64, pairs))


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_total_of_a_joint_budget_is_exact(search: Make, config: Find, shots: int, symmetric: bool) -> None:
    config = replace(using(config, budget="joint", shots=shots), symmetric=symmetric)
    where = search(config)
    edges = where.build().edges
    alone = igrp(search(replace(config, igrp=IGRP(shots=shots))))
    for choice, apart, density in zip(igrp(where), alone, where.densities, strict=True):
        count = edges.count(choice.masks[EDGES])
        kept = round(density[EDGES] * count["total"]) + round(density["net.*"] * 64)
        assert count["kept"] + choice.masks.only("net.*").kept == kept
        assert choice.masks.only("net.*").kept != apart.masks.only("net.*").kept
        assert torch.equal(choice.masks[EDGES], choice.masks[EDGES][edges.reverse])


def test_weights_keep_their_own_budget_where_edges_are_given(search: Make, config: Find) -> None:
    keep = search(config).build().edges.pair % 3 > 0
    *_, choice = igrp(search(using(config, budget="joint"), edges=[keep, keep]))
    assert torch.equal(choice.masks[EDGES], keep)
    assert choice.masks.only("net.*").kept == 16


def test_what_the_loss_does_not_see_is_pruned_at_random(search: Make, config: Find, graph: Graph) -> None:
    """Two parts without an edge between them; all training nodes are in the second."""
    late = torch.arange(60) >= 30
    apart = graph.edge_index[:, late[graph.edge_index[0]] == late[graph.edge_index[1]]]
    halves = replace(graph, edge_index=apart, train=graph.train & late)
    edges = build(halves, config, 0).edges
    whole = Masks({**search(config).last, EDGES: torch.ones_like(edges.pair, dtype=torch.bool)})
    found = []
    for seed in (0, 1):
        where = replace(
            search(config), task=task_of(halves, config), build=lambda: build(halves, config, 0), last=whole, seed=seed
        )
        scores = ranked(where, whole)[EDGES]
        unseen = ~late[edges.edge_index[0]]
        assert 0 < float(scores[unseen].max()) < 1e-25 < float(scores[~unseen].median())
        pairs = edges.structure()(scores)[0][edges.pair[unseen].unique()]
        assert not torch.equal(pairs.argsort(descending=True), torch.arange(pairs.numel()))
        found.append(pairs.argsort())
    assert not torch.equal(*found)
