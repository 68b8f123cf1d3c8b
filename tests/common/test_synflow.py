"""Synaptic flow: conserved between layers, never cutting a network, and clear about what it cannot do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from common import scores
from common.allocate import prune
from common.masks import prunable

CHAINS = {
    "linear": (lambda: [nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 6, bias=False), nn.ReLU(),
                        nn.Linear(6, 2, bias=False)], (1, 4)),
    "conv": (lambda: [nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 4, 2, stride=2, bias=False), nn.ReLU(),
                      nn.Flatten(), nn.Linear(16, 3, bias=False)], (1, 2, 6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_synflow_is_conserved_from_layer_to_layer(chain: str) -> None:
    torch.manual_seed(2)
    layers, shape = CHAINS[chain]
    model = nn.Sequential(*layers()).double()
    found = scores.synflow((torch.zeros(shape, dtype=torch.float64),))(model, dict(model.named_parameters()), None)
    positive = copy.deepcopy(model)
    for p in positive.parameters():
        p.data.abs_()
    flow = positive(torch.ones(shape, dtype=torch.float64)).sum().item()
    assert len(found) == 3
    assert [float(score.sum()) for score in found.values()] == pytest.approx([flow] * 3, rel=1e-12)


def test_synflow_in_rounds_never_cuts_a_network_that_one_shot_cuts() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 50, bias=False), nn.ReLU(), nn.Linear(50, 2, bias=False))
    model.get_parameter("2.weight").data.mul_(1e-3)
    params, inputs = dict(model.named_parameters()), (torch.zeros(1, 50),)
    masks = scores.synflow_masks(model, params, inputs, density=4 / 2600, rounds=50)
    assert masks.kept == 4
    assert min(kept for kept, _ in masks.counts().values()) >= 1
    by_size = prune(scores.magnitude(model, params), 4 / 2600)
    assert by_size.counts()["2.weight"][0] == 0
    on = masks["0.weight"].float().T @ masks["2.weight"].float().T  # a path from input to output remains
    assert bool((on > 0).any())


def test_synflow_stays_within_masks() -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))
    params, inputs = dict(model.named_parameters()), (torch.zeros(1, 6),)
    within = prune(scores.random(0)(model, params, None), 0.5)
    masks = scores.synflow_masks(model, params, inputs, 0.25, rounds=5, within=within)
    assert masks.kept == 12
    assert (masks & within).kept == 12


def test_synflow_says_what_it_cannot_do() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    params = prunable(model)
    with pytest.raises(TypeError, match="as a tuple; found a Tensor"):
        scores.synflow(torch.zeros(1, 2))  # type: ignore[arg-type]
    with pytest.raises(KeyError, match=r"no parameter '0\.wieght'; the nearest is '0\.weight'"):
        scores.synflow((torch.zeros(1, 2),))(model, {"0.wieght": params["0.weight"]}, None)
    with pytest.raises(ValueError, match="rounds=0"):
        scores.synflow_masks(model, params, (torch.zeros(1, 2),), 0.5, rounds=0)
    params["0.weight"].data.fill_(3e38)
    with pytest.raises(ValueError, match="double precision"):
        scores.synflow((torch.zeros(1, 2),))(model, params, None)
