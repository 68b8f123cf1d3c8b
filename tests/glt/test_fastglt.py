"""FastGLT: what drops and grows, regularisers by hand, and which gradients decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from common.apply import masked
from common.masks import Masks, prunable
from common.structure import tied
from glt.config import FastGLT, Find
from glt.edges import Edges
from glt.methods.baselines import degree_score
from glt.methods.fastglt import Denoising, denoised, fastglt, penalty
from glt.methods.search import Choice, Search
from glt.models import EDGES

Make = Callable[..., Search]


def bits(text: str) -> torch.Tensor:
    return torch.tensor([c == "1" for c in text])


def test_pairs_drop_and_grow_as_one() -> None:
    pair = tied(torch.tensor([0, 0, 1, 1, 2, 2]))
    size = torch.tensor([3.0, 1.0, 0.5, 1.0, 0.0, 0.0])  # means 2, 0.75, pruned
    growth = torch.tensor([0.0, 0.0, 1.0, 1.0, 9.0, 0.0])  # means 0, 1, 4.5
    assert torch.equal(denoised(size, bits("111100"), growth, 0.5, pair), bits("110011"))
    assert torch.equal(denoised(size, bits("111100"), growth, 0.2, pair), bits("111100"))  # a fifth of two is none
    assert torch.equal(denoised(size, bits("111100"), -growth, 0.5, pair), bits("111100"))  # it grew again


def test_the_regularisers_by_hand() -> None:
    edges = Edges(torch.tensor([[0, 1, 0, 2, 1, 2], [1, 0, 2, 0, 2, 1]]), 3)
    with torch.no_grad():
        edges.weight.copy_(torch.tensor([1.0, 3.0, 1.0, 1.0, 9.0, 9.0]))  # 01 02 10 12 20 21
    live = bits("111100")
    off = FastGLT(l1=0.0, diversity=0.0, variance=0.0)
    assert penalty(edges, live, replace(off, l1=0.5)).item() == pytest.approx(0.5 * 6)
    # node 0 hears from 1; node 1 from 0; node 2 from 0 and 1, at 3 and 1
    shares = (1 + 1 + (9 + 1) / 16) / 3
    assert penalty(edges, live, replace(off, diversity=2.0)).item() == pytest.approx(2 * shares)
    spread = math.log(3 / 4 + 1e-4)  # of 1, 3, 1, 1
    assert penalty(edges, live, replace(off, variance=1.0)).item() == pytest.approx(-spread)
    edges.weight.requires_grad_(True)
    penalty(edges, live, FastGLT()).backward()
    assert edges.weight.grad[~live].tolist() == [0.0, 0.0]
    assert bool(edges.weight.grad[live].isfinite().all())


def test_equal_masks_have_a_finite_gradient() -> None:
    edges = Edges(torch.tensor([[0, 1], [1, 0]]), 2)
    edges.weight.requires_grad_(True)
    penalty(edges, bits("11"), FastGLT()).backward()
    torch.testing.assert_close(edges.weight.grad, torch.full((2,), 1e-4))  # L1 alone


def found(search: Make, config: Find, **settings: float) -> Choice:
    """The choice of the sparsest rung."""
    *_, last = fastglt(
        search(replace(config, fastglt=FastGLT(**{"pretrain": 5, "epochs": 12, "every": 3, **settings})))
    )
    return last


def test_without_a_share_nothing_moves_and_with_one_edges_and_weights_do(search: Make, config: Find) -> None:
    still, moved = found(search, config, fraction=0.0), found(search, config, fraction=0.5)
    assert set(still.about["changed"].values()) == {0}
    assert moved.about["changed"][EDGES] > 0
    assert moved.about["changed"]["net.convs.0.lin.weight"] > 0
    once = found(search, config, epochs=1)  # pruned after the same five epochs, and left at that
    assert once.masks.distance(still.masks) == 0
    for name, count in moved.about["changed"].items():
        assert int((moved.masks[name] & ~once.masks[name]).sum()) == count
    assert moved.weights is None


def test_every_tensor_keeps_the_same_share(search: Make, config: Find) -> None:
    counts = found(search, config).masks.only("net.*").counts()
    assert counts == {"net.convs.0.lin.weight": (12, 48), "net.convs.1.lin.weight": (4, 16)}


@pytest.fixture(name="run")
def _run(search: Make, config: Find) -> Iterator[Denoising]:
    """A training under masks that lack every other pair; no dropout, so that it can be repeated."""
    config = replace(config, network=replace(config.network, dropout=0.0), fastglt=FastGLT(l1=100.0, variance=50.0))
    where = search(config)
    model = where.build()
    weight = model.edges.weight.requires_grad_(True)
    masks = Masks.dense({EDGES: weight, **prunable(model)})
    masks[EDGES] = model.edges.pair % 2 == 0
    optimizer = torch.optim.Adam([*model.net.parameters(), weight], lr=0.3)
    with masked(model, masks, dense_gradients=True) as guard:
        yield Denoising(where, model, optimizer, guard)


def test_gradients_of_the_loss_alone_are_summed_over_dead_and_live_entries(run: Denoising) -> None:
    total = {name: torch.zeros_like(p) for name, p in run.guard.parameters.items()}
    for _ in range(3):
        copy = run.search.build()
        copy.load_state_dict(run.model.state_dict())
        copy.edges.weight.requires_grad_(True)
        run.search.task.loss(copy.train()).backward()
        for name, param in copy.named_parameters():
            total[name] += param.grad.abs()
        run.train()
    dead = ~run.guard.masks[EDGES]
    assert float(total[EDGES][dead].sum()) > 0
    for name, expected in total.items():
        torch.testing.assert_close(run.sums[name], expected, rtol=1e-3, atol=1e-4)


def test_edges_grow_by_gradient_and_degree_and_from_the_mean_mask(run: Denoising) -> None:
    run.optimizer.param_groups[0]["lr"] = 0.01
    run.train()
    edges, before = run.model.edges, run.guard.masks
    mean = edges.weight.detach()[before[EDGES]].mean()
    degree = degree_score(edges.edge_index, edges.num_nodes)
    growth = run.sums[EDGES] / run.sums[EDGES].max() + degree / degree.max()
    run.denoise(0.1)
    after, weight = run.guard.masks, edges.weight.detach()
    grown, dropped = after[EDGES] & ~before[EDGES], before[EDGES] & ~after[EDGES]
    assert grown.sum() == dropped.sum() > 0
    assert growth[grown].min() >= growth[~after[EDGES]].max() - 1e-6
    torch.testing.assert_close(weight[grown], mean.expand_as(weight[grown]))
    assert not bool(weight[dropped].any())
    assert not any(bool(total.any()) for total in run.sums.values())


def test_edge_masks_do_not_fall_below_zero(run: Denoising) -> None:
    lowest = []
    for _ in range(6):
        run.train()
        lowest.append(float(run.model.edges.weight.detach()[run.guard.masks[EDGES]].min()))
    assert lowest[0] > 0 == lowest[-1]  # from one, by 0.3 an epoch
