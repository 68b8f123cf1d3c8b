"""AdaGLT: what thresholds keep, on literal arrays; nested masks; gradients; how targets are met."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from common.masks import Masks
from common.runs.errors import DivergedError
from glt.config import AdaGLT, Find, preset
from glt.data import Graph
from glt.edge_thresholds import EdgeThresholds, hard, nested
from glt.layer_edges import LayerEdges
from glt.methods import adaglt
from glt.methods.search import Search
from glt.models import EDGES, WEIGHTS
from glt.trial import build, densities, task_of

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # the edges lead to 1, 0, 2, 1
GCN = preset(Find("cora", method="adaglt")).adaglt


def thresholds(settings: AdaGLT = GCN, *, symmetric: bool = True, seen: torch.Tensor | None = None) -> EdgeThresholds:
    torch.manual_seed(0)
    edges = LayerEdges(PATH, 3, 2, symmetric=symmetric)
    return EdgeThresholds(edges, 4, replace(settings, hidden=5), seen)


def test_forwards_a_step_backwards_a_sigmoid() -> None:
    margins = torch.tensor([-0.3, -1e-6, 0.0, 1e-6, 0.2], requires_grad=True)
    passed = hard(margins)
    assert passed.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    (grad,) = torch.autograd.grad(passed.sum(), margins)
    share = 1 / (1 + np.exp(-margins.detach().double().numpy() / 0.1))
    np.testing.assert_allclose(grad.numpy(), share * (1 - share) / 0.1, rtol=1e-5)


def test_what_a_layer_drops_stays_dropped() -> None:
    masks = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]], requires_grad=True)
    found = nested(masks)
    assert found.tolist() == [[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]]
    (grad,) = torch.autograd.grad(found[2].sum(), masks)
    assert grad.tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 1]]  # where the other layers would let it pass


@pytest.mark.parametrize("model", ["gcn", "gat", "gin", "sage"])
def test_thresholds_start_two_deviations_below_the_mean(model: str) -> None:
    settings = preset(Find("cora", method="adaglt", model=model)).adaglt
    found = thresholds(settings, symmetric=False)
    margins = found.margins(torch.tensor([-2.5, -1.5, 0.0, -2.001]))
    assert (margins > 0).tolist() == [[False, True, True, False]] * 2
    torch.testing.assert_close(margins[0, 2].item(), 2 * (settings.spread or 0), rtol=1e-4, atol=0)


def test_an_edge_meets_the_threshold_of_its_target_or_of_both_ends() -> None:
    settings = replace(GCN, coefficient=1.0, linear=0.5, spread=1.0)
    level = [2**3 + 0.5 * 2, 0.0, -1.5]  # of t = 2, 0, -1
    for symmetric, expected in (
        (False, [-level[1], -level[0], -level[2], -level[1]]),
        (True, [-4.5, -4.5, 0.75, 0.75]),
    ):
        found = thresholds(settings, symmetric=symmetric)
        with torch.no_grad():
            found.threshold[1] = torch.tensor([2.0, 0.0, -1.0])
        assert found.margins(torch.zeros(4))[1].tolist() == pytest.approx(expected)


def test_pairs_share_score_and_fate() -> None:
    found = thresholds()
    values, margins = found(torch.randn(3, 4))
    assert torch.equal(values, values[:, [1, 0, 3, 2]])
    assert torch.equal(margins, margins[:, [1, 0, 3, 2]])
    apart = thresholds(symmetric=False)(torch.randn(3, 4))[1]
    assert not torch.equal(apart, apart[:, [1, 0, 3, 2]])


def test_edges_that_score_alike_are_no_danger() -> None:
    found = EdgeThresholds(LayerEdges(PATH[:, :2], 2, 2), 4, replace(GCN, hidden=5))
    values, margins = found(torch.randn(2, 4))
    (values.sum() + margins.sum()).backward()
    assert bool(values.isfinite().all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in found.parameters())


def test_what_may_not_be_seen_has_no_say() -> None:
    found = thresholds(symmetric=False, seen=torch.tensor([0, 1]))
    x = torch.randn(3, 4)
    with torch.no_grad():
        found.threshold[0] = torch.tensor([1.0, 3.0, 50.0])
    other = torch.cat([x[:2], torch.randn(1, 4)])
    assert torch.equal(found(x)[1][:, :2], found(other)[1][:, :2])
    margins = found.margins(torch.zeros(4))[0]
    usual = found.margins(torch.zeros(4))[0, 2]  # leads to node 2, which gets the mean threshold, 2
    assert margins[1] > usual > margins[0]
    found.penalty().backward()
    assert found.threshold.grad is not None
    assert found.threshold.grad[:, 2].abs().sum() == 0


def searching(graph: Graph, config: Find, **changes: object) -> Search:
    config = preset(replace(config, method="adaglt", adaglt=AdaGLT(epochs=8, hidden=16)))
    config = replace(config, adaglt=replace(config.adaglt, **changes))
    make: Callable[[], object] = lambda: build(graph, config, 0)  # noqa: E731
    return Search(config, task_of(graph, config), make, densities(config)[1:], None, Masks(), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("symmetric", [True, False])
def test_edges_are_nested_over_depth_and_counted_over_all_layers(graph: Graph, config: Find, symmetric: bool) -> None:
    config = replace(config, symmetric=symmetric, network=replace(config.network, depth=3))
    search = searching(graph, config)
    edges = search.build().edges
    for choice, density in zip(adaglt.adaglt(search), search.densities, strict=True):
        mask = choice.masks[EDGES]
        assert mask.shape == (3, edges.edge_index.size(1))
        assert bool((mask[1:] <= mask[:-1]).all())
        assert int(mask.sum()) / (2 if symmetric else 1) == round(density[EDGES] * edges.count()["total"])
        assert choice.masks.only(WEIGHTS).density == pytest.approx(density[WEIGHTS], abs=0.003)
        assert choice.weights is None  # rewound to the initial ones


def test_the_best_of_the_nearest_epochs_is_kept() -> None:
    found, target = adaglt.Found(), {EDGES: 0.5, WEIGHTS: 0.25}
    shares, accuracies = [0.9, 0.5, 0.492, 0.507, 0.3], [1.0, 0.6, 0.8, 0.7, 0.9]
    for epoch, (share, accuracy) in enumerate(zip(shares, accuracies, strict=True), 1):
        scores = {"net.w": torch.full((1,), float(epoch))}
        assert adaglt._keep(found, scores, {EDGES: share, WEIGHTS: 0.25}, accuracy, target, epoch)
    assert (found.epoch, found.learned[EDGES], found.scores["net.w"].item()) == (3, 0.492, 3.0)
    assert not adaglt._keep(found, scores, {EDGES: 0.5}, float("nan"), target, 6)


def test_a_search_learns_nothing_of_withheld_nodes(graph: Graph, config: Find) -> None:
    config = replace(config, task=replace(config.task, inductive=True))
    other = replace(graph, x=torch.where(graph.test.unsqueeze(1), torch.randn_like(graph.x), graph.x))
    one, two = (adaglt.train(searching(each, config), 1) for each in (graph, other))
    new = graph.test[searching(graph, config).build().edges.edge_index].any(0)
    assert (one.epoch, one.learned, one.penalties) == (two.epoch, two.learned, two.penalties)
    assert torch.equal(one.scores[EDGES][:, ~new], two.scores[EDGES][:, ~new])
    assert not torch.equal(one.scores[EDGES][:, new], two.scores[EDGES][:, new])
    assert all(torch.equal(one.scores[name], two.scores[name]) for name in one.scores if name != EDGES)


def test_penalties_push_towards_the_target(graph: Graph, config: Find) -> None:
    target = {EDGES: 0.5, WEIGHTS: 0.5}
    pushed = adaglt._steered({EDGES: 1.0, WEIGHTS: 1.0}, {EDGES: 0.9, WEIGHTS: 0.1}, target, 0.5)
    assert pushed == pytest.approx({EDGES: np.exp(0.2), WEIGHTS: np.exp(-0.2)})
    assert adaglt._steered({EDGES: 2.0, WEIGHTS: 3.0}, {WEIGHTS: 1.0}, target, 0.0) == {EDGES: 2.0, WEIGHTS: 3.0}
    long = {"epochs": 80, "lr": 0.05}
    free = adaglt.train(searching(graph, config, **long, edges_penalty=0.0, weights_penalty=0.0), 1)
    steered = adaglt.train(searching(graph, config, **long, steering=0.5), 1)
    assert free.learned[WEIGHTS] > steered.learned[WEIGHTS]
    assert abs(steered.learned[WEIGHTS] - 0.25) < 0.1


def test_a_group_that_stays_whole_is_not_searched(graph: Graph, config: Find) -> None:
    for group, density in (("edges_density", 1.0), ("weights_density", 1.0)):
        search = searching(graph, replace(config, **{group: density}))
        found = adaglt.train(search, 1)
        whole, other = (EDGES, WEIGHTS) if group == "edges_density" else (WEIGHTS, EDGES)
        assert set(found.learned) == {other}
        choice = next(adaglt.adaglt(search))
        assert choice.masks.only(whole).density == 1.0


def test_pretraining_comes_first(graph: Graph, config: Find) -> None:
    one, other = (adaglt.train(searching(graph, config, pretrain=pretrain), 1) for pretrain in (0, 3))
    assert not torch.equal(one.scores["net.convs.0.lin.weight"], other.scores["net.convs.0.lin.weight"])


def test_a_dead_layer_is_revived(graph: Graph, config: Find) -> None:
    found = adaglt.train(searching(graph, config, weights_penalty=1e6, steering=0.0, lr=5.0, epochs=4), 1)
    assert all(bool((score >= 0).any()) for name, score in found.scores.items() if name != EDGES)


def test_a_search_that_never_is_finite_says_so(graph: Graph, config: Find) -> None:
    with pytest.raises(DivergedError, match=r"the search diverged.*Lower --adaglt\.lr"):
        adaglt.train(searching(graph, config, lr=1e30), 1)


def test_settings_must_be_filled() -> None:
    with pytest.raises(ValueError, match=r"adaglt\.spread is not set; call glt\.config\.preset"):
        thresholds(AdaGLT())
