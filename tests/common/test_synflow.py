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


def chain(scale: float, shift: float) -> nn.Sequential:
    """One weight of 2, a batch norm of that scale, shift, mean 1 and deviation 2, and one weight of 3."""
    norm = nn.BatchNorm1d(1, eps=0.0)
    model = nn.Sequential(nn.Linear(1, 1, bias=False), norm, nn.ReLU(), nn.Linear(1, 1, bias=False)).double()
    values = {"0.weight": 2.0, "1.weight": scale, "1.bias": shift, "3.weight": 3.0}
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).fill_(value)
    norm.running_mean = torch.tensor([1.0], dtype=torch.float64)
    norm.running_var = torch.tensor([4.0], dtype=torch.float64)
    return model


@pytest.mark.parametrize(("scale", "shift"), [(5.0, 7.0), (-5.0, 7.0), (5.0, -7.0), (-5.0, -7.0)])
def test_synflow_runs_in_eval_mode_with_the_sizes_of_what_it_does_not_score(scale: float, shift: float) -> None:
    model = chain(scale, shift).train()
    params = {name: model.get_parameter(name) for name in ("0.weight", "3.weight")}
    found = scores.synflow((torch.zeros(1, 1, dtype=torch.float64),))(model, params, None)
    hidden = (2 - 1) / 2 * 5 + 7  # by the running statistics, and positive whatever the signs
    assert found["0.weight"].item() == pytest.approx(2 * 5 / 2 * 3)
    assert found["3.weight"].item() == pytest.approx(3 * hidden)
    assert model.training
