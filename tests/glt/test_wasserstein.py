"""WD-GLT: its distances, and the game between weights and edges."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from common.masks import Masks, prunable
from common.runs.errors import DivergedError
from glt.config import Find, Wasserstein
from glt.data import Graph
from glt.methods import wasserstein
from glt.methods.search import Round
from glt.methods.wasserstein import separation, train_masks
from glt.models import EDGES, WEIGHTS, GraphModel
from glt.sinkhorn import transport
from glt.tasks import NodeClassification
from glt.trial import build


def masks_of(model: GraphModel) -> Masks:
    return Masks.dense({EDGES: model.edges.weight, **prunable(model)})


def run(graph: Graph, config: Find, **changes: Any) -> Round:
    settings = replace(Wasserstein(epochs=5), **changes)
    model = build(graph, config, 0)
    return train_masks(model, masks_of(model), NodeClassification(graph), config.training, settings, 0)


def test_distances_are_summed_over_predicted_classes() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 5.0, 1.0]])
    z = logits.softmax(1)
    between = transport(z[:2], z[2:])  # nobody is in the third class
    torch.testing.assert_close(separation(logits, Wasserstein()), 2 * between, rtol=0.02, atol=0)
    assert separation(logits[:2], Wasserstein()).item() == 0.0  # one class has all nodes


def test_more_nodes_than_allowed_are_drawn() -> None:
    torch.manual_seed(0)
    logits = torch.randn(60, 2)
    whole = separation(logits, Wasserstein())
    assert torch.equal(separation(logits, Wasserstein(nodes=60)), whole)
    drawn = [separation(logits, Wasserstein(nodes=20)) for _ in range(20)]
    assert len({float(value) for value in drawn}) == 20
    assert torch.stack(drawn).mean().item() == pytest.approx(whole.item(), rel=0.1)


@pytest.mark.parametrize("inductive", [False, True])
def test_the_loss_lacks_the_distances_of_what_may_be_seen(graph: Graph, config: Find, inductive: bool) -> None:
    task, model = NodeClassification(graph, inductive=inductive), build(graph, config, 0).eval()
    settings = Wasserstein(weight=3.0)
    logits = task.outputs(model)
    known = logits[~graph.test] if inductive else logits
    found = task.loss(model, wasserstein._Apart(torch.empty(0), settings.weight, settings))
    torch.testing.assert_close(found, task.loss(model) - 3.0 * separation(known, settings))


def test_steps_along_the_distances_pull_classes_apart() -> None:
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(40, 3)).requires_grad_()
    before = separation(logits, Wasserstein())
    for _ in range(20):
        (grad,) = torch.autograd.grad(separation(logits, Wasserstein()), logits)
        logits.data.add_(20 * grad)
    assert separation(logits, Wasserstein()).item() > 5 * before.item()


def gradient(graph: Graph, config: Find, model: GraphModel) -> torch.Tensor:
    """Of the plain loss to the edges of a fresh model."""
    model.edges.weight.requires_grad_()
    (grad,) = torch.autograd.grad(NodeClassification(graph).loss(model.train()), model.edges.weight)
    model.edges.weight.requires_grad_(False)
    return grad


def test_edges_climb_within_their_bounds(graph: Graph, config: Find) -> None:
    """Without noise and distances, the first step moves every edge along the loss's own gradient, up to 1."""
    config = replace(config, network=replace(config.network, dropout=0.0))
    grad = gradient(graph, config, build(graph, config, 0))
    scores = run(graph, config, epochs=1, noise=0.0, weight=0.0, step=10.0).scores[EDGES]
    torch.testing.assert_close(scores.float(), (1 + 10.0 * grad).clamp(0, 1))
    assert bool((scores < 0.999).any())
    far = run(graph, config, epochs=3, weight=0.0, step=1e6).scores[EDGES]
    assert set(far.round(decimals=5).tolist()) <= {0.0, 1.0}


def test_every_node_has_a_say(graph: Graph, config: Find) -> None:
    """Cross-entropy reaches the edges within two hops of labelled nodes; the distances reach all."""
    train = torch.zeros_like(graph.train)
    train[graph.train.nonzero()[:2, 0]] = True
    few = replace(graph, train=train)
    config = replace(config, network=replace(config.network, dropout=0.0))

    def moved(weight: float) -> torch.Tensor:
        scores = run(few, config, epochs=1, noise=0.0, weight=weight, step=100.0).scores[EDGES]
        return scores < 1 - 1e-6

    assert int(moved(1.0).sum()) > int(moved(0.0).sum())


def test_equal_masks_rank_by_their_noise_not_by_their_place(graph: Graph, config: Find) -> None:
    scores = run(graph, config, weight=0.0, step=1e6).scores[EDGES]
    top = scores[scores > 0.999]
    assert top.numel() > 5
    assert top.unique().numel() == top.numel()
    order = top.argsort()
    assert not torch.equal(order, order.sort().values)


def test_pruned_entries_stay_out(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    masks = masks_of(model)
    masks[EDGES] = model.edges.pair % 3 > 0
    found = train_masks(model, masks, NodeClassification(graph), config.training, Wasserstein(epochs=5), 0)
    assert float(found.scores[EDGES][~masks[EDGES]].max()) < 1e-8
    assert float(found.scores[EDGES][masks[EDGES]].min()) > 0.5


def test_withheld_nodes_have_no_say(graph: Graph, config: Find) -> None:
    other = replace(graph, x=torch.where(graph.test.unsqueeze(1), torch.randn_like(graph.x), graph.x))
    scores: list[dict[str, torch.Tensor]] = []
    for one in (graph, other):
        model = build(one, config, 0)
        task = NodeClassification(one, inductive=True)
        settings = Wasserstein(epochs=5, weight=1.0)
        scores.append(train_masks(model, masks_of(model), task, config.training, settings, 0).scores)
    assert all(torch.equal(scores[0][name], scores[1][name]) for name in scores[0])


def test_given_edges_do_not_move(graph: Graph, config: Find) -> None:
    model = build(graph, config, 0)
    masks = masks_of(model).only(WEIGHTS)
    found = train_masks(model, masks, NodeClassification(graph), config.training, Wasserstein(epochs=3), 0)
    assert set(found.scores) == set(masks)
    assert bool((model.edges.weight == 1).all())


def test_a_round_that_never_is_finite_says_so(graph: Graph, config: Find) -> None:
    config = replace(config, training=replace(config.training, lr=1e30))
    with pytest.raises(DivergedError, match=r"the search diverged.*Lower --training\.lr"):
        run(graph, config)
